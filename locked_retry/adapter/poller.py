"""kombu's poller, which also looks after the connections of the engines."""

# kombu is partly annotated, and not for being subclassed: what does not fit its annotations is let pass in this file.
# mypy: disable-error-code="misc,assignment,union-attr,no-untyped-call,no-any-return,attr-defined"

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from kombu.transport import redis as kombu_redis

from locked_retry.broker.connection import FAILURES, readable
from locked_retry.log import Event, say
from locked_retry.worker.engine import Engine

#: The file descriptors of an engine: its two connections, and its pipe.
KINDS = frozenset(("TURN", "BELL", "WAKE"))
#: Those, and the subscription to broadcasts, are in the poller from when they are connected until they are not.
ONCE = KINDS | {"LISTEN"}
#: How often to look for an answer when nothing but timers runs (the worker ends).
LOOK_S = 0.2


class Poller(kombu_redis.MultiChannelPoller):
    """Adds three KINDS of file descriptors per channel. They are read whatever the prefetch."""

    hub: Any = None
    _alarm: Any = None
    _reader: Any = None  # what the hub calls for a socket of these

    def run_in(self, hub: Any, on_readable: Callable[[int], object]) -> None:
        """From now on this hub watches, and calls."""
        self.hub, self._reader = hub, on_readable

    @property
    def fds(self) -> dict[int, Any]:
        """What kombu has the hub watch again on every round, by a system call each: without what it watches already."""
        found = super().fds
        if self.hub is None:
            return found
        readers = self.hub.readers
        return {
            fd: place for fd, place in found.items() if place[1] not in ONCE or readers.get(fd) != (self._reader, (fd,))
        }

    def _engine_of(self, fileno: int) -> tuple[Engine, str] | None:
        found = self._fd_to_chan.get(fileno)
        if found is not None and found[1] in KINDS and found[0].engine is not None:
            return found[0].engine, found[1]
        return None

    def _dispatch(self, engine: Engine, kind: str) -> None:
        {"TURN": engine.on_turn_readable, "BELL": engine.bell.on_readable, "WAKE": engine.on_wake}[kind]()
        engine.pump()
        self.arm()

    def on_readable(self, fileno: int) -> Any:
        found = self._engine_of(fileno)
        if found is not None:
            self._dispatch(*found)
            return True
        # What was forgotten meanwhile makes kombu fail, not since 5.7.
        return super().on_readable(fileno) if fileno in self._fd_to_chan else None

    def handle_event(self, fileno: int, event: int) -> Any:
        found = self._engine_of(fileno)
        if found is None:
            return super().handle_event(fileno, event) if fileno in self._fd_to_chan else None
        self._dispatch(*found)
        return None  # not "a message was delivered": the caller goes on polling until its own time is up

    def on_poll_start(self) -> None:
        super().on_poll_start()
        wait_s = None
        for channel in list(self._channels):
            if channel.engine is not None:
                channel.engine.pump()
                one_s = channel.engine.wait_s()
                wait_s = one_s if wait_s is None else min(wait_s, one_s)
        self.wait_s = wait_s
        if self.hub is not None and wait_s is not None:
            self._wake_hub_in(wait_s)

    wait_s: float | None = None
    _alarm_at_s = 0.0

    def arm(self) -> None:
        """Something has come up in the loop's own thread: it must not sleep past it.

        At once: kombu's hub decides how long to sleep before it calls `on_poll_start`, and after what was given to
        `call_soon` (Celery's acknowledgements, for one); what these give to it in their turn waits until it has slept.
        """
        engines = [channel.engine for channel in list(self._channels) if channel.engine is not None]
        if self.hub is not None and engines:
            self._wake_hub_in(min(engine.wait_s() for engine in engines))

    def _wake_hub_in(self, wait_s: float) -> None:
        """The hub sleeps until a socket is readable or a timer is due: have one due."""
        at_s = time.monotonic() + wait_s
        now_s = time.monotonic()
        pending = self._alarm is not None and not self._alarm.canceled and self._alarm_at_s > now_s
        if pending and self._alarm_at_s <= at_s + 0.001:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self.hub.call_later(wait_s, self._on_alarm)
        self._alarm_at_s = at_s

    def _on_alarm(self) -> None:
        """Takes turns also while the worker ends: the loop is over then, but prefork's shutdown still fires timers."""
        for channel in list(self._channels):
            engine = channel.engine
            if engine is not None:
                if engine.answer_waits():
                    engine.on_turn_readable()
                engine.pump()
                self._wake_hub_in(min(engine.wait_s(), LOOK_S) if engine.in_flight else engine.wait_s())

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """Without an event loop: sleep no longer than the next turn may be put off."""
        for channel in list(self._channels):
            if channel.engine is not None:
                channel.engine.pump()
                wait_s = channel.engine.wait_s()
                timeout = wait_s if timeout is None else min(timeout, wait_s)
        return super().get(callback, timeout)

    def hear(self) -> None:
        """Take in what subscriptions have received, without waiting. What fails there is the loop's to see."""
        for fd, (channel, kind) in list(self._fd_to_chan.items()):
            if kind == "LISTEN":
                with contextlib.suppress(*FAILURES):
                    if readable(channel.subclient.connection):
                        self.on_readable(fd)

    def watch(self, channel: Any) -> None:
        """Listen to the engine's wake-up pipe."""
        fd = channel.engine.wake_fd
        self._fd_to_chan[fd] = (channel, "WAKE")
        self.poller.register(fd, self.eventflags)

    def watch_line(self, channel: Any, line: Any, kind: str) -> None:
        """Listen to a connection that was just made."""
        sock = line.connection._sock
        self._fd_to_chan[sock.fileno()] = (channel, kind)
        self._chan_to_sock[(channel, line, kind)] = sock
        with contextlib.suppress(ValueError):  # closed: the worker ends by an error, and sends its last turn
            self.poller.register(sock, self.eventflags)

    def unwatch_socket(self, sock: Any) -> None:
        """Forget a socket that is about to be closed."""
        with contextlib.suppress(AttributeError, KeyError, ValueError, OSError):
            self.poller.unregister(sock)

    def unwatch(self, channel: Any, engine: Engine) -> None:
        """Forget an engine."""
        if self.hub is not None:
            self.hub.remove(engine.wake_fd)
        else:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self.poller.unregister(engine.wake_fd)
        self._fd_to_chan.pop(engine.wake_fd, None)

    def _on_connection_disconnect(self, connection: Any) -> None:
        for key in list(self._chan_to_sock):
            _, line, kind = key
            if kind in ("TURN", "BELL") and line.connection is connection:
                sock = self._chan_to_sock.pop(key)
                for fd, (channel, one) in list(self._fd_to_chan.items()):
                    if channel is key[0] and one == kind and sock.fileno() in (-1, fd):
                        del self._fd_to_chan[fd]
        super()._on_connection_disconnect(connection)

    def maybe_restore_messages(self) -> None:
        """Look after what plain workers left, also on channels whose queues are all fetched by turns."""
        for channel in list(self._channels):
            if channel.engine is not None or channel.active_queues:
                try:
                    channel.qos.restore_visible(num=channel.unacked_restore_limit)
                except FAILURES as error:
                    say(Event.SWEEP_FAILED, error=error)

    def maybe_check_subclient_health(self) -> None:
        """kombu's; what fails is subscribed to again. Before 5.7 it took the consumer down."""
        try:
            super().maybe_check_subclient_health()
        except FAILURES as error:
            say(Event.SWEEP_FAILED, error=error)

    def maybe_refresh_binding_expiry(self) -> None:
        """kombu's upkeep of each second. What Redis refuses here it refuses to turns, which say so once."""
        for channel in list(self._channels):
            try:
                channel.maybe_refresh_binding_expiry()
            except FAILURES as error:
                say(Event.SWEEP_FAILED, error=error)

    def _register_LISTEN(self, channel: Any) -> None:
        """Subscribing again after a failure must not take the worker down: it is tried again a second later."""
        if time.monotonic() < channel.listen_after_s:
            return
        try:
            super()._register_LISTEN(channel)
        except FAILURES as error:
            channel.listen_failed(error)
