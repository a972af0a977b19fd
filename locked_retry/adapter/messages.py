"""Messages exactly as Celery publishes them, without publishing, and fast where many are alike.

Celery itself builds them: a task is sent through a producer whose channel only records. For tasks with the same options
one recorded message becomes a template, and of the others only what can differ is computed: id, delivery tag,
arguments, their repr, the lock's name. A template is used if it reproduces the recorded message to the byte, and if
nothing of the user's has a say in single messages (a router that is a function, a receiver of `before_task_publish`,
an `apply_async` of their own, ...). Else Celery builds each message, at its own speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from celery import Celery, signals
from celery.app.routes import MapRoute, Router
from celery.canvas import Signature
from celery.utils.saferepr import saferepr
from kombu import serialization
from kombu.compression import compress
from kombu.messaging import Producer
from kombu.utils.json import dumps
from kombu.utils.uuid import uuid

from locked_retry.adapter import releases

#: Options of these types are told apart by their repr; with any other Celery builds each message.
_PLAIN = frozenset((str, int, float, bool, type(None), datetime))
_FLAT = frozenset((int, float, bool, type(None), str))
_NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class NotAMessage(ValueError):
    """No message can be made of this: no task, or a destination that is no queue."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the receivers of `after_task_publish` are told."""

    body: Any
    headers: Mapping[str, Any]
    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Message:
    """`raw` as it goes into each of `lists` (names as they are in Redis)."""

    task: str
    task_id: str
    raw: str
    lists: tuple[str, ...]
    published: Published | None = None

    def announce(self) -> None:
        """Celery's signal that it was published."""
        told = self.published
        if told is not None and signals.after_task_publish.receivers:
            places = {"exchange": told.exchange, "routing_key": told.routing_key}
            signals.after_task_publish.send(self.task, body=told.body, headers=told.headers, **places)


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller wants to be run. `apply` is Celery's `apply_async` of it."""

    name: str
    task: Any  # None: not registered here
    apply: Callable[..., Any]
    args: Any
    kwargs: Any
    options: Mapping[str, Any]

    @classmethod
    def read(cls, app: Celery, item: Any) -> Call:
        """From a signature or `(task or name, args[, kwargs[, options]])`. Raises NotAMessage."""
        if isinstance(item, Signature):
            if item.get("subtask_type"):
                raise NotAMessage(f"a {item['subtask_type']} is not one task: use its apply_async")
            name, args, kwargs, options = item["task"], item["args"], item["kwargs"], item["options"]
        elif isinstance(item, tuple) and 2 <= len(item) <= 4:
            task, args, kwargs, options = (*item, {}, {})[:4]
            name = getattr(task, "name", task)
        else:
            raise NotAMessage(f"not a signature, nor (task, args[, kwargs[, options]]): {item!r:.100}")
        task = app.tasks.get(name)
        return cls(name, task, task.apply_async if task else partial(app.send_task, name), args, kwargs, options)


class _Recorded(BaseException):
    """Leaves Celery's publish before anybody is told: receivers, events, the parent. (It catches Exception there.)"""

    def __init__(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        self.message, self.exchange, self.routing_key = message, exchange, routing_key


class _RecordingChannel:
    """kombu's channel, except that nothing is published."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **_: Any) -> None:
        self._channel._inplace_augment_message(message, exchange, routing_key)
        raise _Recorded(message, exchange, routing_key)


class _Recorder(Producer):
    body: Any = None
    settings: Mapping[str, Any] = {}

    def publish(self, body: Any, **settings: Any) -> Any:  # type: ignore[override]
        self.body, self.settings = body, settings
        # A retry would go on with another channel, which publishes.
        return super().publish(body, **{**settings, "retry": False})  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Template:
    """`text` is %-formatted with what differs."""

    text: str
    lists: tuple[str, ...]
    body: Callable[[Any, Any], str]
    repr_limits: tuple[int, int, int]
    check: Callable[..., Any] | None
    lock_name: Callable[[Any, Any], str] | None

    def render(self, task_id: str, tag: str, args: Any, kwargs: Any) -> str:
        if self.check is not None:
            self.check(*(args or ()), **(kwargs or {}))
        args, kwargs = args or (), kwargs or {}
        most_args, most_kwargs, levels = self.repr_limits
        return self.text % {
            "id": quoted(task_id),
            "tag": tag,
            "body": self.body(args, kwargs),
            "argsrepr": quoted(short_repr(args, args, most_args, levels)),
            "kwargsrepr": quoted(short_repr(kwargs, kwargs.values(), most_kwargs, levels)),
            "lr_lock": quoted(self.lock_name(args, kwargs)) if self.lock_name is not None else "",
        }


def short_repr(value: Any, inside: Any, most: int, levels: int) -> str:
    """Celery's saferepr, ten times as fast where it equals repr: flat, short, nothing to be escaped."""
    if all(type(each) in _FLAT for each in inside):
        text = repr(value)
        if len(text) < most and '"' not in text and "\\" not in text:
            return text
    return str(saferepr(value, most, levels))


def _is_celerys(function: Any, *modules: str) -> bool:
    """Whether it is the function defined there, not one of the user's, nor one that wraps it."""
    return getattr(function, "__globals__", {}).get("__name__") in modules


@dataclass
class Messages:
    """The messages of one application on one channel. Times (countdown, expires) count from `begin`."""

    app: Celery
    channel: Any
    #: Lists that Redis drops when unused (x-expires of their queue): how long after the last message, in ms.
    expiry_ms: dict[str, int] = field(default_factory=dict)
    _templates: dict[tuple[str, str], _Template | None] = field(default_factory=dict)
    _alike: bool = False

    def __post_init__(self) -> None:
        self._recorder = _Recorder(_RecordingChannel(self.channel), auto_declare=False)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """What follows is published now."""
        self._templates.clear()
        publish = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
        router, amqp = self.app.amqp.router, self.app.amqp
        self._alike = (
            not any(signal.receivers for signal in publish)
            and type(router) is Router
            and all(type(route) is MapRoute for route in router.routes)
            and _is_celerys(self.app.send_task, "celery.app.base")
            and _is_celerys(amqp.create_task_message, "celery.app.amqp")
            and _is_celerys(amqp.send_task_message, "celery.app.amqp")
        )

    def build(self, call: Call, task_id: str) -> Message:
        """The message of a task. Raises what `apply_async` raises, and NotAMessage."""
        options = call.options
        if "task_id" in options:
            options = {name: value for name, value in options.items() if name != "task_id"}
        if self._alike and all(type(value) in _PLAIN for value in options.values()):
            key = call.name, repr(options) if options else ""
            if key not in self._templates:
                self._templates[key] = None  # a template is worth its making when a second one comes
                return self._record(call, task_id, options)[0]
            template = self._templates[key]
            if template is None:
                template = self._templates[key] = self._template(call, options)
            if template is not None:
                raw = template.render(task_id, uuid(), call.args, call.kwargs)
                return Message(call.name, task_id, raw, template.lists)
        return self._record(call, task_id, options)[0]

    def _record(self, call: Call, task_id: str, options: Mapping[str, Any]) -> tuple[Message, dict[str, Any]]:
        ours = {"task_id": task_id, "producer": self._recorder, "connection": None}
        quiet = self._alike and _is_all_celerys(call.task)
        if quiet:  # the result backend is not told: it would subscribe to each result, one round trip each
            ours["ignore_result"] = True
        try:
            call.apply(call.args, call.kwargs, **{**options, **ours})
        except _Recorded as recorded:
            found = recorded
        else:
            raise NotAMessage("its apply_async published nothing")
        message = found.message
        message["headers"].pop("lr_new", None)  # whoever submits in batches is answered for an id that is used again
        if quiet:
            message["headers"]["ignore_result"] = options.get(
                "ignore_result", getattr(call.task, "ignore_result", releases.IGNORE_RESULT)
            )
        published = Published(self._recorder.body, message["headers"], found.exchange, found.routing_key)
        raw, lists = dumps(message), self._lists(message, found.exchange, found.routing_key)  # type: ignore[no-untyped-call]
        return Message(call.name, task_id, raw, lists, published), message

    def _lists(self, message: dict[str, Any], exchange: str, routing_key: str) -> tuple[str, ...]:
        channel = self.channel
        if exchange and channel.typeof(exchange).type == "fanout":
            raise NotAMessage(f"exchange {exchange!r} is a fanout: nothing is queued there")
        queues = channel._lookup(exchange, routing_key)
        if not queues:
            raise NotAMessage(f"no queue is bound to exchange {exchange!r} with {routing_key!r}")
        priority, prefix = channel._get_message_priority(message, reverse=False), channel.global_keyprefix
        expiries_ms = releases.expiries_ms(channel)
        for queue in expiries_ms.keys() & set(queues):
            for step in channel.priority_steps:
                self.expiry_ms[prefix + channel._q_for_pri(queue, step)] = int(expiries_ms[queue])
        return tuple(prefix + channel._q_for_pri(queue, priority) for queue in sorted(queues))

    # --- templates

    def _template(self, call: Call, options: Mapping[str, Any]) -> _Template | None:
        task, amqp, probe = call.task, self.app.amqp, uuid()
        if not _is_all_celerys(task):
            return None
        recorded, message = self._record(call, probe, options)
        headers, properties = message["headers"], message["properties"]
        locked = getattr(task, "lock", None) is not None
        slots = {name: uuid() for name in ("body", "argsrepr", "kwargsrepr", "lr_lock", "tag")}
        marked = {**message, "body": slots["body"], "headers": {**headers}, "properties": {**properties}}
        marked["headers"].update((name, slots[name]) for name in ("argsrepr", "kwargsrepr"))
        if locked:
            marked["headers"]["lr_lock"] = slots["lr_lock"]
        marked["properties"]["delivery_tag"] = slots["tag"]
        text = dumps(marked).replace("%", "%%").replace(f'"{probe}"', "%(id)s")  # type: ignore[no-untyped-call]
        for name, mark in slots.items():
            bare = name in ("body", "tag")  # nothing in them that JSON would escape
            text = text.replace(mark if bare else f'"{mark}"', f"%({name})s")
        template = _Template(
            text=text,
            lists=recorded.lists,
            body=self._body_of(self._recorder.settings),
            repr_limits=(amqp.argsrepr_maxsize, amqp.kwargsrepr_maxsize, releases.repr_levels(self.app.conf)),
            check=getattr(task, "__header__", None) if getattr(task, "typing", False) else None,
            lock_name=task.lock_name if locked else None,
        )
        same = template.render(probe, properties["delivery_tag"], call.args, call.kwargs) == recorded.raw
        return template if same else None

    def _body_of(self, settings: Mapping[str, Any]) -> Callable[[Any, Any], str]:
        serializer, compression = settings["serializer"], settings["compression"]
        encode, encoding = self.channel.encode_body, self.channel.body_encoding

        def body(args: Any, kwargs: Any) -> str:
            _, _, data = serialization.dumps((args, kwargs, _NO_EMBED), serializer=serializer)  # type: ignore[no-untyped-call]
            if compression:
                data, _ = compress(data, compression)  # type: ignore[no-untyped-call]
            return str(encode(data, encoding)[0])

        return body


def _is_all_celerys(task: Any) -> bool:
    """Whether nothing of the user's makes a difference between two messages of this task."""
    if task is None:
        return True
    inherited = [vars(base)["apply_async"] for base in type(task).__mro__ if "apply_async" in vars(base)]
    return (
        all(_is_celerys(each, "celery.app.task", "locked_retry.task") for each in (task.apply_async, *inherited))
        and _is_celerys(task.shadow_name, "celery.app.task")
        and getattr(task, "_dump_pydantic_arguments", None) is None
    )
