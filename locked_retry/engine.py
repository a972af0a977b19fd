"""The two connections of a worker: one for turns, one for the doorbell. Sends, reads, reconnects; decides nothing.

Doorbell: Redis tells a client that has `CLIENT TRACKING` on when a key changes that it has read. Asking `EXISTS` for
all queue lists either finds messages or arms one push for the first message to arrive in any of them, from whatever
producer, at whatever priority. Nothing is popped, so a lost push loses nothing (a turn every `idle_s` finds it).

A failure of either connection stays here. It is not raised into Celery, whose 5.7 consumer would be rebuilt, forget
what it has queued, or exit (celery#9054 and its series). The turn that has no answer is repeated, after a pause, until
it has one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from locked_retry.options import Options
from locked_retry.session import Session
from locked_retry.store import Claim, Keys, Kind, Script, Turn, read_answer, turn_arguments

logger = logging.getLogger("locked_retry")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
#: Connections fail with these; anything else is a bug and is raised.
FAILURES = (RedisError, OSError)


@dataclass(eq=False, slots=True)
class Line:
    """A connection as kombu's poller knows it (`client.connection`)."""

    connection: Any = None


@dataclass(eq=False)
class Engine:
    """Turns and doorbell of one channel. All methods but `wake` belong to the thread of the loop."""

    channel: Any
    session: Session
    keys: Keys
    options: Options
    turn_line: Line = field(default_factory=Line)
    bell_line: Line = field(default_factory=Line)
    in_flight: bool = False
    down_until_s: float = 0.0
    _failures: int = 0
    _bell_armed: bool = False
    _bell_asked: bool = False
    _bell_keys: tuple[str, ...] = ()
    _queues: tuple[str, ...] = ()
    _thread: int = 0
    _waking: bool = False

    def __post_init__(self) -> None:
        self._script = Script.load("turn")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.get_ident()
        self.session.wake = self.wake

    # --- called from anywhere

    def wake(self) -> None:
        """Make the loop come round soon. A byte in a pipe, when it sleeps in another thread."""
        if threading.get_ident() != self._thread and not self._waking:
            self._waking = True
            with contextlib.suppress(OSError):
                os.write(self._writer, b"1")

    # --- called by the poller

    @property
    def wake_fd(self) -> int:
        """The end of the pipe to watch."""
        return self._reader

    def on_wake(self) -> None:
        """The pipe is readable."""
        self._waking = False
        with contextlib.suppress(OSError):
            os.read(self._reader, 4096)

    def pump(self) -> None:
        """Send what is worth sending. Called on each round of the loop; never raises for a failing connection."""
        self._thread = threading.get_ident()
        now_s = time.monotonic()
        if now_s < self.down_until_s:
            return
        try:
            self._turn(now_s)
            self._bell(now_s)
        except FAILURES as error:
            self.failed(error)

    def wait_s(self) -> float:
        """How long the loop may sleep if no socket becomes readable."""
        now_s = time.monotonic()
        if now_s < self.down_until_s:
            return self.down_until_s - now_s
        if self.in_flight:
            return max(0.0, self.session.resent_at_s + self.options.reply_timeout_s - now_s) + 0.001
        return self.session.wait_s(now_s)

    def room(self) -> int:
        """How many more messages may be held now."""
        qos = self.channel.qos
        if not qos.can_consume():
            return 0
        if "can_consume" in vars(qos):  # worker_disable_prefetch replaced it: it answers for one message at a time
            return 1
        room = self.session.limit(qos.prefetch_count) - len(self.session.held)
        free = qos.can_consume_max_estimate()
        return max(0, room if free is None else min(room, free))

    def _turn(self, now_s: float) -> None:
        if self.in_flight:
            late = now_s - self.session.resent_at_s > self.options.reply_timeout_s
            if late and not self.turn_line.connection.can_read(timeout=0):  # else the loop is, not Redis
                raise TimeoutError(f"no answer for {self.options.reply_timeout_s:g} s")
            return
        if self.session.pending is not None:
            self.session.metrics.replays += 1
            self._send(self.session.pending, now_s)
            return
        queue_keys, self._queues = self.channel.turn_queue_keys()
        turn = self.session.next_turn(now_s, self.room(), queue_keys, len(self._queues))
        if turn is not None:
            self.session.sent_at_s = now_s
            self._send(turn, now_s)

    def _send(self, turn: Turn, now_s: float, whole: bool = False) -> None:
        self.session.resent_at_s = now_s
        connection = self.channel.cycle_connect(self.turn_line, "TURN")
        command = ("EVAL", self._script.text) if whole else ("EVALSHA", self._script.sha)
        connection.send_command(*command, *turn_arguments(self.keys, turn), check_health=False)
        self.in_flight = True

    def on_turn_readable(self) -> None:
        """The answer of a turn is there (or the connection ended)."""
        try:
            try:
                reply = self.turn_line.connection.read_response(disable_decoding=True)
            except NoScriptError:
                assert self.session.pending is not None
                self._send(self.session.pending, time.monotonic(), whole=True)
                return
            if not self.in_flight:
                raise ConnectionError("the server spoke out of turn")
        except FAILURES as error:
            self.failed(error)
            return
        self.in_flight = False
        if self._failures:
            logger.warning("locked_retry: Redis answers again")
        self._failures = 0
        answer = read_answer(reply)
        for claim in self.session.answered(answer, time.monotonic()):
            self._deliver(claim)
        for one in answer.buried:
            self.channel.buried(one)

    def _deliver(self, claim: Claim) -> None:
        queues = self._queues
        queue = queues[(claim.key_number - 1) % len(queues)] if claim.key_number and queues else ""
        self.channel.deliver(claim, queue, self.session.sent_at_s)

    # --- the doorbell

    def _bell(self, now_s: float) -> None:
        keys = tuple(self.channel.turn_queue_keys()[0])
        if not keys or self.session.hungry or (self._bell_armed and keys == self._bell_keys):
            return
        if self._bell_asked and keys == self._bell_keys:
            return
        fresh = self.bell_line.connection is None or self.bell_line.connection._sock is None
        connection = self.channel.cycle_connect(self.bell_line, "BELL")
        if fresh:
            connection.send_command("CLIENT", "TRACKING", "ON", check_health=False)
            connection.read_response()
        self._bell_keys, self._bell_asked, self._bell_armed = keys, True, False
        connection.send_command("EXISTS", *keys, check_health=False)

    def on_bell_readable(self) -> None:
        """The answer to EXISTS, or the push that one of the lists changed."""
        connection = self.bell_line.connection
        try:
            if self._bell_asked:
                found = connection.read_response()
                self._bell_asked = False
                self._bell_armed = not found
                if found:
                    self.session.ring()
            while connection.can_read(timeout=0):
                connection.read_response(push_request=True)
                self._bell_armed = False
                self.session.ring()
        except FAILURES as error:
            self.failed(error)

    # --- failure and end

    def failed(self, error: BaseException) -> None:
        """Close both connections and pause; the pending turn stays."""
        self._failures += 1
        self.session.metrics.failures += 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
        pause_s *= random.uniform(0.5, 1.0)
        self.down_until_s = time.monotonic() + pause_s
        level = logging.WARNING if self._failures in (1, 10, 100) else logging.DEBUG
        logger.log(level, "locked_retry: %s; again in %.2f s (failure %d)", error, pause_s, self._failures)
        self.disconnect()

    def disconnect(self) -> None:
        """Drop both connections."""
        self.in_flight = self._bell_asked = self._bell_armed = False
        for line in (self.turn_line, self.bell_line):
            if line.connection is not None:
                with contextlib.suppress(*FAILURES):
                    line.connection.disconnect()

    def finish(self, give_back: bool) -> None:
        """The channel closes. With `give_back` all that is held is returned, in one last turn that is waited for."""
        try:
            if give_back:
                self.session.give_back_all()
                self._last_turns()
            else:
                self.session.forget_unstarted()
        except FAILURES as error:
            logger.warning("locked_retry: the last turn failed (%s); leases will end by themselves", error)
        self.disconnect()
        self.session.wake = _nothing
        os.close(self._reader)
        os.close(self._writer)

    def _last_turns(self) -> None:
        for _ in range(3):
            if self.session.pending is None:
                if not self.session.outbox:
                    return
                self.session._flush_at_s = 0.0
                self.session.sent_at_s = time.monotonic()
                self.session.next_turn(time.monotonic(), 0, (), 0)
            if not self.in_flight:
                assert self.session.pending is not None
                self._send(self.session.pending, time.monotonic())
            try:
                reply = self.turn_line.connection.read_response(disable_decoding=True)
            except NoScriptError:
                assert self.session.pending is not None
                self._send(self.session.pending, time.monotonic(), whole=True)
                reply = self.turn_line.connection.read_response(disable_decoding=True)
            self.in_flight = False
            answer = read_answer(reply)
            for claim in self.session.answered(answer, time.monotonic()):
                self.session.end(claim.fence, Kind.REQUEUE, "worker shutdown")
            for one in answer.buried:
                self.channel.buried(one)


def _nothing() -> None:
    """A session between two channels wakes nobody."""
