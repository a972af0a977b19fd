"""The turns of a worker: sends them, reads the answers, reconnects; decides nothing.

A failure of a connection stays here. It is not raised into Celery, whose 5.7 consumer would be rebuilt, forget what it
has queued, or exit (celery#9054 and its series). The turn that has no answer is repeated, after a pause, until it has
one.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from locked_retry import clock
from locked_retry.broker.connection import FAILURES, Connection, refused_for_good, reply_from
from locked_retry.broker.herd import Role
from locked_retry.broker.turns import Answer, Claim, Keys, Script, SettlementKind, Turn, read_answer, turn_arguments
from locked_retry.log import Event, say
from locked_retry.options import Options
from locked_retry.text import describe
from locked_retry.worker.answer_log import say_answer
from locked_retry.worker.session import Session
from locked_retry.worker.wakeup import Wakeup

#: An answer that takes longer than this is taken for a Redis in trouble.
TROUBLED_S = 0.5


#: A queue that is no list is named so often.
BROKEN_EVERY_S = 60.0
#: A broker with alternates is left when it has not answered for so long.
CHANGE_OVER_S = 2.0


class ChangeOverError(ConnectionError):
    """The broker does not answer, and there is another one."""


class Order(Protocol):
    """In which order a turn looks into its queues (adapter/queue_order.py)."""

    fair: bool

    def took(self, order: Sequence[str]) -> None:
        """A turn began with the first of these."""


@dataclass(eq=False)
class Engine:
    """Turns and wake-up of one channel. All methods but `wake` belong to the thread of the loop."""

    channel: Any
    session: Session
    keys: Keys
    options: Options
    order: Order
    line: Connection = field(default_factory=lambda: Connection(longest_pause_s=1.0))
    in_flight: bool = False
    blocking: bool = False  # tasks may run in the thread of the loop
    _queues: tuple[str, ...] = ()
    _thread: int = 0
    _waking: bool = False
    _paused: set[str] = field(default_factory=set)
    _said_broken_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._script = Script.load("turn")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.get_ident()
        self.session.wake = self.wake
        self.bell = Wakeup(self.channel, self.session, self.options, self.keys)

    # --- called from anywhere

    def wake(self) -> None:
        """Make the loop come round soon: by a byte in a pipe, when it sleeps in another thread."""
        if threading.get_ident() == self._thread:
            if len(self.session.outbox) == 1 and not self.in_flight:  # else it is set, or will be with the answer
                self.channel.connection.cycle.arm()
        elif not self._waking:
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
        now_s = clock.now_s()
        self.channel.look_after(now_s)
        if now_s < self.line.down_until_s:
            return
        self.bell.leave()
        try:
            self._turn(now_s)
        except FAILURES as error:
            self.failed(error)
        else:
            self.bell.listen(now_s)

    def wait_s(self) -> float:
        """How long the loop may sleep if no socket becomes readable."""
        now_s = clock.now_s()
        if now_s < self.line.down_until_s:
            return self.line.down_until_s - now_s
        if self.in_flight:
            return max(0.0, self.session.resent_at_s + self.options.reply_timeout_s - now_s) + 0.001
        return min(self.session.wait_s(now_s), self.bell.wait_s(now_s))

    @property
    def troubled(self) -> bool:
        """Whether Redis does not answer: whoever may do without it had better not wait for it in the loop."""
        return self.line.failures > 0 or (self.in_flight and clock.now_s() - self.session.resent_at_s > TROUBLED_S)

    def answer_waits(self) -> bool:
        """Whether an answer can be read. Raises nothing: an ended connection can be read, too."""
        try:
            return self.in_flight and self.line.readable()
        except FAILURES:
            return True

    def _turn(self, now_s: float) -> None:
        if self.in_flight:
            self.line.check_answer(self.session.resent_at_s, now_s, self.options.reply_timeout_s)
            return
        if self.session.pending is not None:
            self.session.metrics.replays += 1
            self._send(self.session.pending)
            return
        room = self.channel.room(self.session)
        if self.session.rests(now_s, room):
            return
        queue_keys, self._queues = self.channel.turn_queue_keys(self.order)
        turn = self.session.next_turn(now_s, room, queue_keys, len(self._queues), self.order.fair)
        if turn is not None:
            self.order.took(self._queues)
            self.session.sent_at_s = now_s
            self._send(turn)

    def _send(self, turn: Turn, whole: bool = False) -> None:
        connection = self.channel.cycle_connect(self.line, "TURN")
        self.session.resent_at_s = clock.now_s()  # to connect takes its time, too, and is no late answer
        command = ("EVAL", self._script.text) if whole else ("EVALSHA", self._script.sha)
        connection.send_command(*command, *turn_arguments(self.keys, turn), check_health=False)
        self.in_flight = True

    def on_turn_readable(self) -> None:
        """The answer of a turn is there (or the connection ended)."""
        try:
            if not self.line.readable():
                return
            try:
                reply = reply_from(self.line.connection, disable_decoding=True)
            except NoScriptError:
                assert self.session.pending is not None
                self._send(self.session.pending, whole=True)
                return
            if not self.in_flight:
                raise ConnectionError("the server spoke out of turn")
        except FAILURES as error:
            if refused_for_good(error) and self._take_less(error):
                return
            self.failed(error)
            return
        self.in_flight = False
        if self.line.answered():
            say(Event.CONNECTION_RESTORED)
        self._take(reply, self._deliver)

    def _take_less(self, error: BaseException) -> bool:
        """Whether the refused turn can be cut down; what remains of it is sent next."""
        turn = self.session.pending
        if not self.in_flight or turn is None or not self.session.refused(describe(error), clock.now_s()):
            return False
        self.in_flight = False
        rows = " ".join(settle.row for settle in turn.settles[:3])
        say(Event.TURN_REFUSED, error=error, settles=len(turn.settles), claims=turn.want, rows=rows)
        return True

    def _take(self, reply: Any, with_claim: Callable[[Claim], object]) -> None:
        """Take in the answer of the pending turn: claims go to `with_claim`, what it buried to the channel."""
        answer = read_answer(reply)
        assert self.session.pending is not None
        say_answer(self.session.pending, answer)
        if self.session.pending.queues:
            self._say_paused(self.session.pending, answer)
            self._say_broken(answer.broken)
        if answer.claims and self.blocking and self.session.herd.blocked:
            self.bell.close()  # nobody shall call it while it runs them
        for number, claim in enumerate(self.session.answered(answer, clock.now_s())):
            if number and self.blocking:
                self.channel.hear()
            with_claim(claim)
        for one in answer.buried:
            self.channel.buried(one)

    def _say_paused(self, turn: Turn, answer: Answer) -> None:
        self.bell.silent = frozenset(answer.broken + answer.paused)
        lists = [number for number, name in enumerate(turn.queue_keys) if name in answer.paused]
        paused = {self._queues[number % turn.queues] for number in lists}
        for queue in sorted(paused ^ self._paused):
            say(Event.QUEUE_PAUSED if queue in paused else Event.QUEUE_RESUMED, queue=queue)
        self._paused = paused

    def _say_broken(self, lists: Iterable[str]) -> None:
        """Each once in a while: a turn that has no room does not come to all of them."""
        for name in lists:
            if clock.now_s() > self._said_broken_s.get(name, -BROKEN_EVERY_S) + BROKEN_EVERY_S:
                self._said_broken_s[name] = clock.now_s()
                say(Event.BROKEN_QUEUE, list=name)

    def _give_back(self, claim: Claim) -> None:
        self.session.end(claim.fence, SettlementKind.REQUEUE, "worker shutdown")

    def _deliver(self, claim: Claim) -> None:
        queues = self._queues
        queue = queues[(claim.key_number - 1) % len(queues)] if claim.key_number and queues else ""
        self.channel.deliver(claim, queue, self.session.sent_at_s)

    # --- failure and end

    def failed(self, error: BaseException) -> None:
        """Close both connections and pause; the pending turn stays.

        Raises ChangeOverError, into Celery's loop, when the broker has other URLs: its consumer then tries them.
        """
        self.session.metrics.failures += 1
        news = self.line.failed(error)
        again_in_s = self.line.down_until_s - clock.now_s()
        say(
            Event.CONNECTION_FAILED,
            quiet=not news,
            error=error,
            again_in_s=again_in_s,
            failures=self.line.failures,
            held=len(self.session.held),
        )
        self.disconnect()
        if self.line.failing_for_s > CHANGE_OVER_S and len(self.channel.connection.client.alt) > 1:
            raise ChangeOverError(f"no turn was answered for {self.line.failing_for_s:.1f} s: {describe(error)}")

    def disconnect(self) -> None:
        """Drop both connections."""
        self.in_flight = False
        self.line.close()
        self.bell.close()

    def finish(self, give_back: bool, orderly: bool = True) -> None:
        """The channel closes. With `give_back` all that is held is returned, in one last turn that is waited for.

        What a worker gives back that ends by an error is counted (`Session.give_back_all`).
        """
        try:
            if give_back:
                rows = len(self.session.held)
                self.session.give_back_all(orderly)
                self.session.herd.ends = True
                self.bell.close()
                self._last_turns()
                say(Event.GIVEN_BACK, rows=rows)
            else:
                self.session.forget_unstarted()
        except FAILURES as error:
            say(Event.GIVE_BACK_FAILED, error=error)  # leases end by themselves
        self.disconnect()
        self.session.wake = _nothing
        os.close(self._reader)
        os.close(self._writer)

    def _last_turns(self) -> None:
        for _ in range(3):
            if self.session.pending is None:
                leaves = (self.session.herd.role is not Role.NONE or self.session.looks) and not self.troubled
                if not self.session.outbox and not leaves:
                    return
                self.session.flush_now()
                self.session.sent_at_s = clock.now_s()
                self.session.next_turn(clock.now_s(), 0, (), 0)
            if not self.in_flight:
                assert self.session.pending is not None
                self._send(self.session.pending)
            try:
                reply = reply_from(self.line.connection, disable_decoding=True)
            except NoScriptError:
                assert self.session.pending is not None
                self._send(self.session.pending, whole=True)
                reply = reply_from(self.line.connection, disable_decoding=True)
            self.in_flight = False
            self._take(reply, self._give_back)


def _nothing() -> None:
    """A session between two channels wakes nobody."""
