"""What submit_many puts into a queue is, to the byte, what apply_async puts there, whatever the options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery, Task, signals
from celery._state import _task_stack
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st
from kombu import Exchange, Queue
from redis import Redis

from locked_retry import LockedTask, Outcome, submit_many
from locked_retry.adapter.messages import Messages, short_repr

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
ARGUMENTS: tuple[tuple[Any, ...], ...] = ((1, "plain"), ("quo\"te's", "50 % of \\ %(id)s"), ("ünï\n\0", None))
ARGUMENTS += ((["x" * 2000], {"a": (1, 2.5)}), (Decimal("1.10"), NOW), (float("inf"), True))


class Overridden(LockedTask):
    """Someone's own task class, whose messages differ from each other."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, headers={"tenant": str(args[0])}, **options)


class Sending(Celery):  # type: ignore[misc]
    """Someone's own application, whose messages differ from each other."""

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().send_task(name, args, kwargs, **options, headers={"tenant": str(args[0])})


@pytest.fixture
def app(redis: Redis, shared_server: Any) -> Iterator[Celery]:
    one = Celery("producer", broker=shared_server.url, task_cls=LockedTask, set_as_current=False)
    one.conf.broker_transport_options = {"socket_timeout": 5}
    one.conf.task_create_missing_queues = True
    one.now = lambda: NOW  # type: ignore[method-assign]
    yield one
    one.close()


def plain(a: Any, b: Any, c: Any = 0) -> None:
    """A body that is never run here."""


def _without_what_differs(raw: str) -> str:
    """The message without its delivery tag, and which submission it is."""
    payload = json.loads(raw)
    new = payload["headers"].get("lr_new")
    return raw.replace(payload["properties"]["delivery_tag"], "TAG").replace(f', "lr_new": "{new}"', "")


def published(redis: Redis) -> dict[str, list[str]]:
    """All queue lists, oldest message first, with delivery tags blotted out."""
    found = {}
    for key in redis.scan_iter(_type="list"):
        raws = [raw.decode() for raw in reversed(redis.lrange(key, 0, -1))]  # type: ignore[arg-type]
        found[key.decode()] = [_without_what_differs(raw) for raw in raws]
    return found


def compare(redis: Redis, app: Celery, task: Any, options: dict[str, Any]) -> int:
    """Publish all arguments twice each, both ways; returns how many of the messages Celery had to build."""
    leftovers = [*redis.scan_iter("*lr:sub:*"), *redis.scan_iter(_type="list")]
    if leftovers:
        redis.delete(*leftovers)
    calls = [(args, {"c": n} if n % 2 else {}, f"id-{n}") for n, args in enumerate(ARGUMENTS * 2)]
    for args, kwargs, task_id in calls:
        if isinstance(task, str):
            app.send_task(task, args, kwargs, task_id=task_id, **options)
        else:
            task.apply_async(args, kwargs, task_id=task_id, **options)
    wanted = published(redis)
    assert sum(map(len, wanted.values())) >= len(calls)
    redis.delete(*wanted)
    built = []
    record = Messages._record
    Messages._record = lambda self, call, *more: built.append(call) or record(self, call, *more)  # type: ignore[func-returns-value,assignment,misc]
    try:
        answers = submit_many([(task, *call[:2], {**options, "task_id": call[2]}) for call in calls], app=app)
    finally:
        Messages._record = record  # type: ignore[method-assign]
    assert {a.outcome for a in answers} == {Outcome.ACCEPTED}, answers[0]
    assert published(redis) == wanted
    return len(built)


FAST: list[dict[str, Any]] = [
    {},
    {"priority": 3},
    {"priority": 9, "queue": "other"},
    {"queue": "other", "routing_key": "elsewhere"},
    {"serializer": "pickle"},
    {"compression": "zlib"},
    {"serializer": "pickle", "compression": "bzip2", "priority": 7},
    {"countdown": 5},
    {"countdown": 0.25, "expires": 30},
    {"eta": NOW + timedelta(hours=1)},
    {"eta": NOW.astimezone(timezone(timedelta(hours=2)))},
    {"expires": NOW + timedelta(days=1)},
    {"time_limit": 10, "soft_time_limit": 5.5},
    {"shadow": '50 % "shadow"'},
    {"ignore_result": True},
    {"group_id": "g", "group_index": 3},
    {"root_id": "r", "parent_id": "p"},
    {"reply_to": "me"},
    {"retries": 1},
    {"delivery_mode": 1},
    {"message_id": "m", "user_id": "u"},
    {"retry": False, "add_to_parent": False},
]
SLOW: list[dict[str, Any]] = [
    {"headers": {"tenant": "a"}},
    {"argsrepr": "<hidden>", "kwargsrepr": "<hidden>"},
    {"stamped_headers": ["who"], "who": "me"},
    {"retry_policy": {"max_retries": 1}},
    {"queue": Queue("object", Exchange("object"), routing_key="object")},
]


@pytest.mark.parametrize("options", FAST, ids=str)
@pytest.mark.parametrize("lock", [None, "order:{c}"])
def test_fast_options_give_the_same_messages(
    redis: Redis, app: Celery, options: dict[str, Any], lock: str | None
) -> None:
    """Celery builds the first message and the template; the other ten are rendered."""
    task = app.task(name="plain", shared=False, lock=lock)(plain)
    assert compare(redis, app, task, options) == 2


@pytest.mark.parametrize("options", SLOW, ids=str)
def test_other_options_are_left_to_celery(redis: Redis, app: Celery, options: dict[str, Any]) -> None:
    assert compare(redis, app, app.task(name="plain", shared=False)(plain), options) >= 2 * len(ARGUMENTS)


def test_callbacks_are_the_same(redis: Redis, app: Celery) -> None:
    task = app.task(name="plain", shared=False)(plain)
    compare(redis, app, task, {"link": [task.si(1, 2)], "link_error": task.si(3, 4), "chain": [task.si(5, 6)]})


@pytest.mark.parametrize(
    "settings",
    [
        {"priority": 6, "queue": "mine", "serializer": "pickle", "compression": "zlib", "expires": 9.0},
        {"base": Task, "typing": False, "ignore_result": True, "time_limit": 7},
        {"lock": staticmethod(lambda a, b, c: f'"{c}"')},
    ],
    ids=["publishing", "plain Celery", "lock function"],
)
def test_options_of_the_task_are_the_same(redis: Redis, app: Celery, settings: dict[str, Any]) -> None:
    assert compare(redis, app, app.task(name="plain", shared=False, **settings)(plain), {}) == 2
    compare(redis, app, app.tasks["plain"], {"priority": 1, "expires": 3})


@pytest.mark.parametrize(
    "settings",
    [
        {"task_serializer": "pickle", "task_compression": "zlib", "task_ignore_result": True},
        {"task_default_priority": 6, "task_default_queue": "main", "timezone": "Europe/Berlin"},
        {"task_routes": {"pla*": {"queue": "routed", "priority": 3}}, "task_repr_maxlevels": 1},
        {"broker_transport_options": {"global_keyprefix": "pre:", "priority_steps": [0, 5], "sep": ":"}},
        {"broker_transport_options": {"queue_order_strategy": "priority"}, "enable_utc": False},
    ],
    ids=["body", "defaults", "routes", "prefix", "local time"],
)
def test_settings_of_the_application_are_the_same(redis: Redis, app: Celery, settings: dict[str, Any]) -> None:
    app.conf.update(settings)
    task = app.task(name="plain", shared=False)(plain)
    assert compare(redis, app, task, {"priority": 5}) == 2
    compare(redis, app, task, {"countdown": 4})
    assert compare(redis, app, "known.elsewhere", {"priority": 5}) == 2


def test_a_message_goes_to_all_its_queues(redis: Redis, app: Celery) -> None:
    """And one for none, which Celery loses without a word."""
    topics = Exchange("topics", "topic")
    queues = [Queue(name, topics, routing_key=key) for name, key in (("all", "#"), ("red", "red.*"), ("blue", "blue"))]
    app.conf.task_queues = queues
    with app.connection_for_write() as connection:
        for queue in queues:
            queue(connection.default_channel).declare()
    task = app.task(name="plain", shared=False)(plain)
    compare(redis, app, task, {"queue": "red", "exchange": "topics", "routing_key": "red.1"})
    assert {key: len(raws) for key, raws in published(redis).items()} == {"all": 12, "red": 12}
    (answer,) = submit_many([(task, (1, 2), {}, {"exchange": "nowhere", "routing_key": "x"})], app=app)
    assert answer.outcome is Outcome.REFUSED and "no queue is bound" in answer.reason


def test_the_user_has_a_say_in_each_message(redis: Redis, app: Celery) -> None:
    """Routers that are functions, task classes with an apply_async of their own, receivers of before_task_publish."""
    own = app.task(name="own", shared=False, base=Overridden)(plain)
    assert compare(redis, app, own, {}) == 2 * len(ARGUMENTS)
    task = app.task(name="plain", shared=False)(plain)

    def stamp(headers: Any = None, body: Any = None, **_: Any) -> None:
        headers["stamp"] = repr(body[0])

    signals.before_task_publish.connect(stamp)
    try:
        assert compare(redis, app, task, {}) == 2 * len(ARGUMENTS)
    finally:
        signals.before_task_publish.disconnect(stamp)
    assert '"stamp": "(1, \'plain\')"' in published(redis)["celery"][0]
    redis.flushall()
    app.conf.update(task_routes=[lambda name, args, kwargs, options, task: {"queue": f"queue-{len(kwargs)}"}])
    assert compare(redis, app, task, {}) == 2 * len(ARGUMENTS)
    assert set(published(redis)) == {"queue-0", "queue-1"}


def test_an_application_may_send_in_its_own_way(redis: Redis, shared_server: Any) -> None:
    with Sending("producer", broker=shared_server.url, set_as_current=False) as app:
        assert compare(redis, app, app.task(name="plain", shared=False)(plain), {}) == 2 * len(ARGUMENTS)


def test_a_task_that_submits_is_the_parent(redis: Redis, app: Celery) -> None:
    """Parent and root are those of the task that submits, its priority is inherited if that is set."""
    app.conf.task_inherit_parent_priority = True
    task = app.task(name="plain", shared=False)(plain)
    task.push_request(id="parent", root_id="root", called_directly=False, delivery_info={"priority": 4}, children=[])
    _task_stack.push(task)
    try:
        assert compare(redis, app, task, {}) == 2
        assert len(task.request.children) == 2 * len(ARGUMENTS)  # apply_async's; thousands would weigh on its result
    finally:
        _task_stack.pop()
        task.pop_request()
    headers = json.loads(published(redis)["celery\x06\x163"][5])["headers"]
    assert (headers["root_id"], headers["parent_id"]) == ("root", "parent")


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers()))


@given(st.lists(values, max_size=5).map(tuple), st.integers(1, 60), st.integers(1, 3))
def test_the_short_repr_is_celerys(args: tuple[Any, ...], most: int, levels: int) -> None:
    assert short_repr(args, args, most, levels) == saferepr(args, most, levels)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), st.integers(1, 60))
def test_the_short_repr_of_keywords_is_celerys(kwargs: dict[str, Any], most: int) -> None:
    assert short_repr(kwargs, kwargs.values(), most, 3) == saferepr(kwargs, most, 3)
