"""The kombu transport: kombu's own Redis transport, except that queues with acknowledgements are fetched by turns.

What stays kombu's: connecting (URLs, TLS, Sentinel, database numbers, global_keyprefix), publishing, fanout, remote
control, events, and queues consumed without acknowledgement (reply queues). What is replaced: BRPOP, the `unacked`
bookkeeping and the restore at shutdown. `driver_type` stays "redis".
"""

# kombu is partly annotated, and not for being subclassed: what does not fit its annotations is let pass in this file.
# mypy: disable-error-code="misc,assignment,union-attr,no-untyped-call,no-any-return,attr-defined"

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from functools import cached_property
from typing import Any

from celery import bootsteps
from celery.concurrency import solo
from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps, loads
from redis import Redis
from redis.exceptions import ResponseError

from locked_retry.adapter import releases
from locked_retry.adapter.bury import fail
from locked_retry.adapter.delivery import deliver, reason_for
from locked_retry.adapter.lease_guard import LeaseGuard
from locked_retry.adapter.poller import Poller
from locked_retry.adapter.queue_order import QueueOrder
from locked_retry.adapter.watchdog import Watchdog
from locked_retry.broker.connection import FAILURES, Connection, readable
from locked_retry.broker.turns import Claim, DeadLettered, Keys, Script, SettlementKind, call
from locked_retry.log import Event, say
from locked_retry.options import Options
from locked_retry.worker.engine import Engine
from locked_retry.worker.lease_keeper import LeaseKeeper
from locked_retry.worker.session import Session

#: How often the messages that plain Celery workers left in `unacked` are looked for: each visibility_timeout, within
#: these bounds. It is a round trip that the loop waits for.
SHORTEST_SWEEP_S, LONGEST_SWEEP_S = 5.0, 30.0

#: Sessions whose channel closed while Celery goes on (it rebuilds its consumer): the next channel takes them over.
_left: dict[str, list[Session]] = {}
_left_lock = threading.Lock()


#: Celery's consumers in this process: they know whether their worker is ending or only rebuilds its connection.
consumers: weakref.WeakSet[Any] = weakref.WeakSet()


def stopping() -> bool:
    """Whether the worker is ending: neither merely building its consumer again, nor running."""
    signalled = any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate))
    return signalled or any(c.controller.blueprint.state in (bootsteps.CLOSE, bootsteps.TERMINATE) for c in consumers)


def _failing() -> bool:
    """Whether the worker ends because its loop raised: Celery gives it this exit code then, and no other time."""
    return any(c.controller.exitcode == EX_FAILURE for c in list(consumers))


def _unwatching(base: Any, channel: Any) -> Any:
    class Connection(base):
        @property
        def open(self) -> bool:
            return self._sock is not None

        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            if self._sock is not None and channel.connection is not None:
                channel.connection.cycle.unwatch_socket(self._sock)
            super().disconnect(*args, **kwargs)

    return Connection


class QoS(kombu_redis.QoS):
    """Deliveries of a turn are settled by the session; the rest (basic_get) is kombu's."""

    def append(self, message: Any, delivery_tag: str) -> None:
        engine = self.channel.engine
        if engine is not None and delivery_tag in engine.session.held:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self.channel.session_end(delivery_tag, SettlementKind.OK):
            virtual.QoS.ack(self, delivery_tag)  # the slot is free whatever becomes of the connection
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        session = self.channel.turn_session
        held = session.held.get(delivery_tag) if session is not None else None
        reason = reason_for(self.channel, held.claim) if held is not None and held.settle is None else ""
        if self.channel.session_end(delivery_tag, SettlementKind.REQUEUE if requeue else SettlementKind.DEAD, reason):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().reject(delivery_tag, requeue=requeue)

    def restore_unacked(self, client: Any = None) -> None:
        """The session gives back what it holds; here only what basic_get fetched is kombu's to restore."""
        if self.channel.took_turns:
            self._delivered.clear()
        else:
            super().restore_unacked(client)

    def restore_visible(self, start: int = 0, num: Any = 10, interval: int = 10) -> None:
        """What plain workers left behind. Rare, as leases end by themselves; one look if none."""
        now_s = time.monotonic()
        engine = self.channel.engine
        if now_s < getattr(self, "_foreign_at_s", 0.0) or (engine is not None and engine.troubled):
            return
        self._foreign_at_s = now_s + min(LONGEST_SWEEP_S, max(SHORTEST_SWEEP_S, self.visibility_timeout))
        ceiling, index = time.time() - self.visibility_timeout, self.channel.global_keyprefix + self.unacked_index_key
        if Redis(connection_pool=self.channel.pool).zrange(index, 0, ceiling, byscore=True, offset=0, num=1):
            super().restore_visible(start, num, 1)

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """One script call where kombu WATCHes the whole `unacked` hash until nobody else writes to it."""
        channel, prefix = self.channel, self.channel.global_keyprefix
        name = tag.decode() if isinstance(tag, bytes) else tag
        with channel.conn_or_acquire(client) as redis:
            record = redis.hget(self.unacked_key, name)
            if record is None:
                redis.zrem(self.unacked_index_key, name)
                return
            message, exchange, routing_key = loads(record.decode() if isinstance(record, bytes) else record)
            message["headers"]["redelivered"] = True
            message["properties"].setdefault("delivery_info", {})["redelivered"] = True
            pri = channel._get_message_priority(message, reverse=False)
            lists = [prefix + channel._q_for_pri(q, pri) for q in channel._lookup(exchange, routing_key)]
            keys = [prefix + self.unacked_key, prefix + self.unacked_index_key, *lists]
            bodies = [dumps(message)] * len(lists)
            try:
                call(redis, Script.load("restore"), [len(keys), *keys, name, record, *bodies], prefixed=bool(prefix))
            except ResponseError as error:  # one of its queues is no list: others wait behind it
                say(Event.SWEEP_FAILED, error=error)


class ChannelMixin:
    """What a turn-taking channel adds to kombu's, with or without Sentinel."""

    QoS = QoS
    engine: Engine | None = None
    _keyed: tuple[list[str], tuple[str, ...]] = ([], ())
    _sorted_out: tuple[list[str], tuple[str | None, ...]] = ([], ())
    keeper: LeaseKeeper | None = None
    took_turns = False
    listen_after_s = 0.0
    socket_timeout = 5.0
    socket_connect_timeout = 2.0
    socket_keepalive = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._turn_queues: list[str] = []
        super().__init__(*args, **kwargs)

    # --- consuming

    def basic_consume(self: Any, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:
        fanout = queue in self._fanout_queues
        result = super().basic_consume(queue, no_ack=no_ack, callback=callback, consumer_tag=consumer_tag, **kwargs)
        if not no_ack and not fanout and self.ack_emulation and queue not in self._turn_queues:
            self._turn_queues.append(queue)
            self._update_queue_cycle()
            if self.engine is None:
                self._begin()
        return result

    def _size(self: Any, queue: str) -> int:
        """kombu asks when a queue is declared; one that is no list must not keep a worker from serving the others."""
        try:
            return int(super()._size(queue))
        except ResponseError as error:
            say(Event.BROKEN_QUEUE, quiet=True, list=queue, error=error)
            return 0

    def _begin(self: Any) -> None:
        options = Options.read(self.connection.client.transport_options)
        keys = Keys(self.global_keyprefix + options.namespace)
        with _left_lock:
            waiting = _left.get(self._place(), [])
            session = waiting.pop() if waiting else Session(options)
        self.took_turns = True
        order = QueueOrder(self.queue_order_strategy, options.queue_weights)
        self._watchdog = Watchdog(session, self)
        self.engine = Engine(self, session, keys, options, order)
        if any(consumer.pool.is_green or isinstance(consumer.pool, solo.TaskPool) for consumer in consumers):
            self.engine.blocking = True
            session.herd.in_loop = any(isinstance(consumer.pool, solo.TaskPool) for consumer in consumers)
            self.keep_leases()
        self.connection.cycle.watch(self)
        say(Event.STARTED, worker=session.worker, prefix=keys.prefix, lease_s=options.lease_s, held=len(session.held))

    def guard_tasks(self: Any) -> None:
        """From now on end exclusive tasks when their leases do, until the worker ends."""
        session = self.turn_session
        if session is not None and session.guard is None:
            session.guard = LeaseGuard(session)
            session.guard.start()

    def keep_leases(self: Any) -> None:
        """From now on renew also beside the loop, until the channel closes."""
        if self.engine is not None and self.keeper is None:
            self.keeper = LeaseKeeper(self.engine.session, self, self.engine.keys)
            self.keeper.start()

    def _place(self: Any) -> str:
        client = self.connection.client
        return f"{client.hostname}:{client.port}/{client.virtual_host}:{self.global_keyprefix}"

    def _basic_cancel(self: Any, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        result = super()._basic_cancel(consumer_tag)
        if queue in self._turn_queues and queue not in self._active_queues:
            self._turn_queues.remove(queue)
            if not self._turn_queues and self.engine is not None:
                self.engine.pump()  # somebody else has to listen
        return result

    @property
    def active_queues(self: Any) -> list[str]:
        """The queues left to kombu's BRPOP: those without acknowledgements. Asked on each round of the loop."""
        known = (*self._active_queues, None, *self._turn_queues, None, *self.active_fanout_queues)
        if known != self._sorted_out[1]:
            self._sorted_out = [q for q in super().active_queues if q not in self._turn_queues], known
        return self._sorted_out[0]

    def turn_queue_keys(self: Any, order: QueueOrder | None = None) -> tuple[list[str], tuple[str, ...]]:
        """The lists to claim from (for each priority every queue), and the queues' names; in the order of a turn."""
        queues = tuple(self._turn_queues) if order is None else order.next(self._turn_queues)
        if queues != self._keyed[1]:  # each round of the loop asks
            keys = [self.global_keyprefix + self._q_for_pri(q, pri) for pri in self.priority_steps for q in queues]
            self._keyed = keys, queues
        return self._keyed

    def lists_of(self: Any, queue: str) -> list[tuple[int, str]]:
        """The lists of a queue in Redis, each with its priority, best first."""
        return [(pri, self.global_keyprefix + self._q_for_pri(queue, pri)) for pri in self.priority_steps]

    def cycle_connect(self: Any, line: Any, kind: str) -> Any:
        """The line's connection, connected and watched."""
        if line.connection is None:
            line.connection = releases.connection_from(self.async_pool)
            self.connection.cycle.watch_line(self, line, kind)
        elif not line.connection.open:
            line.connection.connect()
            self.connection.cycle.watch_line(self, line, kind)
        return line.connection

    def deliver(self: Any, claim: Claim, queue: str, claimed_at_s: float) -> None:
        """Hand a claimed message to its consumer. What cannot be handed over goes back, or is kept as dead."""
        deliver(self, claim, queue, claimed_at_s)

    def room(self: Any, session: Session) -> int:
        """How many more messages may be held now."""
        qos = self.qos
        if not qos.can_consume():
            return 0
        if "can_consume" in vars(qos):  # worker_disable_prefetch replaced it: it answers for one message at a time
            return 1
        room = session.limit(qos.prefetch_count) - (len(session.held) - len(session.storing))
        free = qos.can_consume_max_estimate()
        return max(0, room if free is None else min(room, free))

    def look_after(self: Any, now_s: float) -> None:
        """What nobody works on any more is given back."""
        self._watchdog.look(now_s)

    def hear(self: Any) -> None:
        """Take in the broadcasts that have arrived: where tasks run in the loop, one may be about the next of them."""
        self.connection.cycle.hear()

    def known_tasks(self: Any) -> list[Any]:
        """What each application that is served here has registered."""
        return [consumer.app.tasks for consumer in list(consumers)]

    def buried(self: Any, one: DeadLettered) -> None:
        """A message became a dead letter in this worker's turn: fail its task as Celery would."""
        for consumer in consumers:
            fail(one, consumer, self)
            break

    def session_end(self: Any, tag: str, kind: SettlementKind, reason: str = "") -> bool:
        """Settle a delivery of this channel; True also if its lease was lost meanwhile (nothing is left to do)."""
        session = self.turn_session
        if session is None:
            return False
        return session.end(tag, kind, reason) or tag.isdigit()

    @property
    def turn_session(self: Any) -> Session | None:
        if self.engine is not None:
            self._kept_session = self.engine.session
        return getattr(self, "_kept_session", None)

    # --- failing and closing

    @cached_property
    def subscription(self: Any) -> Connection:
        """How that to the broadcasts has failed; its connection is kombu's."""
        return Connection(longest_pause_s=1.0)

    def _receive(self: Any) -> Any:
        """Broadcasts are best effort: a broken subscription is made again instead of taking the consumer down.

        redis-py would do that at once, and wait for the first broadcast: in the loop.
        """
        try:
            if not readable(self.subclient.connection):
                return None
            delivered = super()._receive()
            self.subscription.answered()
            return delivered
        except FAILURES as error:
            self.listen_failed(error)
            return None

    def _put_fanout(self: Any, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        """So are the worker's heartbeats: Celery 5.7 publishes them in the loop and repeats them until Redis answers.

        The loop would stand still for that long: nothing begins, no time limit is enforced, no turn is repeated.
        """
        if not str(routing_key).startswith("worker."):
            super()._put_fanout(exchange, message, routing_key, **kwargs)
            return
        channels = [getattr(consumer.task_consumer, "channel", None) for consumer in list(consumers)]
        engines = [channel.engine for channel in channels if channel is not None and channel.engine is not None]
        try:
            if not any(engine.troubled for engine in engines):
                super()._put_fanout(exchange, message, routing_key, **kwargs)
        except FAILURES as error:
            say(Event.HEARTBEAT_LOST, error=error)

    def listen_failed(self: Any, error: BaseException) -> None:
        """Drop the subscription; the poller subscribes again in a second."""
        say(Event.REMOTE_CONTROL_LOST, quiet=not self.subscription.failed(error), error=error)
        self._in_listen = None
        self.listen_after_s = time.monotonic() + 1.0
        connection = getattr(self.subclient, "connection", None)
        if connection is not None:
            with contextlib.suppress(*FAILURES):
                connection.disconnect()

    def close(self: Any) -> None:
        """Give back what is held when the worker ends; keep it when Celery only rebuilds its consumer. Never raises."""
        engine, self.engine = self.engine, None
        if self.keeper is not None:
            self.keeper.stop()
        if engine is not None:
            self._kept_session = engine.session
            self.connection.cycle.unwatch(self, engine)
            ending = stopping()
            engine.finish(give_back=ending, orderly=not _failing())
            if ending and engine.session.guard is not None:
                engine.session.guard.stop()
            if not ending:
                with _left_lock:
                    _left.setdefault(self._place(), []).append(engine.session)
        try:
            super().close()
        except FAILURES as error:
            say(Event.CLOSE_FAILED, error=error)
            with contextlib.suppress(*FAILURES):
                super().close()

    def _connparams(self: Any, asynchronous: bool = False) -> Any:
        """kombu's; the loop's connections are no longer watched when they end.

        kombu means to see to that, but does so when the socket is closed already. A pool process that was forked since
        has a copy, so that epoll goes on reporting the old connection, under a number that soon is another's. (Celery
        makes a new epoll when a connection fails; here the worker goes on with the one it has.)
        """
        params = super()._connparams(asynchronous=asynchronous)
        params.setdefault("protocol", 3)  # the wake-up needs push messages
        if asynchronous:
            params["connection_class"] = _unwatching(params["connection_class"], self)
        return params


class Channel(ChannelMixin, kombu_redis.Channel):
    """A channel of redis:// and rediss:// URLs."""


class Transport(kombu_redis.Transport):
    """`broker_transport = "locked_retry.adapter.transport:Transport"`."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self.cycle.run_in(loop, self.on_readable)
        super().register_with_event_loop(connection, loop)
        releases.keep_polling(self.cycle, loop)


class SentinelChannel(ChannelMixin, kombu_redis.SentinelChannel):
    """A channel of sentinel:// URLs."""


class SentinelTransport(Transport):
    """`broker_transport = "locked_retry.adapter.transport:SentinelTransport"`: the primary that the Sentinels name."""

    default_port = 26379
    Channel = SentinelChannel
