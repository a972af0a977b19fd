"""What rules do to a connection, at a command's boundary.

A cut takes its turn: every command before the one it is for has been executed and answered, and none after it reaches
the server. A request that is withheld keeps its place among the replies.
"""

from asyncio import TimerHandle
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from taskchaos.faults.proxy.redis.capture import distinct
from taskchaos.faults.proxy.redis.commands import ENDS
from taskchaos.faults.proxy.redis.journal import CUT, SWALLOWED, Exchange, outcome_of
from taskchaos.faults.proxy.redis.meeting import Guest
from taskchaos.faults.proxy.redis.rules import CUTS, WAITS, Action, CommandRule, Facts, Place
from taskchaos.faults.proxy.tcp.ordered_writer import Barrier, OrderedWriter

if TYPE_CHECKING:
    from taskchaos.faults.proxy.redis.session import RedisSession

#: uvloop's timers count whole milliseconds.
TIMER_GRAIN_S = 0.001
_DISCARD = b"*1\r\n$7\r\nDISCARD\r\n"


class RuleActions:
    """What the rules do to the requests and replies of one session."""

    def __init__(self, session: "RedisSession") -> None:
        self.then_after: dict[int, CommandRule] = {}  # commands that a second rule waits for, by index
        self.muted_by: CommandRule | None = None
        self.block: dict[Place, CommandRule] = {}  # what is to happen to the MULTI block that is being built
        self._captured: list[str] = []  # of the commands that were chosen for it
        self._session = session
        self._fence: Barrier | None = None
        self._fenced_by: CommandRule | None = None
        self._fence_follows: CommandRule | None = None  # a fence is due at the end of the large request that passes
        self._timers: set[TimerHandle] = set()

    def choose(self, exchange: Exchange, facts: Facts, rules: list[CommandRule], *, in_block: bool) -> None:
        """Let the first rule that is due act on this command, or on the EXEC of its block. All rules count it."""
        chosen = self.block if in_block or facts.name in ENDS else {}
        for rule in rules:
            if rule.due(facts) and chosen.setdefault(rule.spec.at, rule) is rule:
                self._captured.extend(rule.captures(facts.arguments))
        if facts.name == b"DISCARD":
            chosen.clear()
            self._captured.clear()
        if in_block or not chosen:
            return
        self.block = {}
        exchange.captured, self._captured = distinct(self._captured), []
        before, after = chosen.get(Place.BEFORE), chosen.get(Place.AFTER)
        exchange.action = before or after
        if before is not None and after is not None and not self.prevents(before):
            self.then_after[exchange.index] = after

    @staticmethod
    def prevents(rule: CommandRule) -> bool:
        """Whether a rule at `before` leaves no reply for another one at `after`."""
        return rule.spec.action not in WAITS

    @staticmethod
    def withholds(rule: CommandRule) -> bool:
        """Whether the reply does not reach the client."""
        return rule.spec.action in (Action.SILENCE, Action.ERROR)

    # Requests.

    def request(self, exchange: Exchange, rule: CommandRule, frame: bytes, last: bool, answered: bool) -> bool:
        """Do to a request what the rule says; whether the rest of a large one is to be dropped."""
        if rule.spec.at is Place.AFTER:
            self._session.up.write(frame)
            if not answered:
                exchange.action = None  # nobody will ever know when it has been executed
            elif rule.spec.action in CUTS:
                self._fence_follows = rule
                if last:
                    self.request_ended()
            return False
        if rule.spec.action in WAITS:
            if rule.spec.action is Action.MEET:
                self._meet(rule, exchange)
            else:
                self._session.fire(rule, exchange)
                self._wait(rule, self._session.up)
            self._session.up.write(frame)
            following = self.then_after.pop(exchange.index, None)
            exchange.action = following
            if following is not None and following.spec.action in CUTS:
                self._fence_follows = following
                if last:
                    self.request_ended()
            return False
        self._withhold(exchange, rule, frame, answered)
        return True

    @property
    def fence_due(self) -> bool:
        """Whether nothing may pass behind the large request that passes now."""
        return self._fence_follows is not None

    def request_ended(self) -> None:
        """The request that is cut from those behind it has passed to its end."""
        if self._fence_follows is not None:
            self._fence = self._session.up.block(final=True)
            self._fenced_by, self._fence_follows = self._fence_follows, None

    def _withhold(self, exchange: Exchange, rule: CommandRule, frame: bytes, answered: bool) -> None:
        session, spec = self._session, rule.spec
        if spec.action in CUTS:
            exchange.instead = b""
            if not answered:
                session.queue.append(exchange)
            if spec.action is Action.TRUNCATE:
                session.up.write(half(frame))
            session.up.block(final=True)
            session.settle()
            return
        session.fire(rule, exchange)
        if exchange.command == b"EXEC" and not spec.mute:
            # Nothing of the block is executed, and the server does not stay in the middle of it.
            exchange.discarded = True
            session.up.write(_DISCARD)
            return
        if spec.action is Action.ERROR and answered:
            exchange.instead = error_reply(spec.error)
            session.settle()
            return
        if answered:
            session.queue.pop()
        session.finished(exchange, SWALLOWED)
        if spec.mute:
            session.up.then(self._mute(session.up, rule))

    # Replies.

    def reply(self, exchange: Exchange, rule: CommandRule, frame: bytes) -> bool:
        """Do to a reply what the rule says; whether the rest of a large one is to be dropped."""
        session, spec = self._session, rule.spec
        exchange.captured = distinct((*exchange.captured, *rule.captures((frame,))))
        if not exchange.discarded:
            if spec.action in CUTS:
                if spec.action is Action.TRUNCATE:
                    session.down.write(half(frame))
                self.end_now(rule, exchange)
                return True
            session.fire(rule, exchange)
        match spec.action:
            case Action.DELAY | Action.HOLD:
                self._wait(rule, session.down)
                session.down.write(frame)
                session.finished(exchange, outcome_of(frame[:64]))
                return False
            case Action.ERROR:
                reply = error_reply(spec.error)
                session.down.write(reply)
                session.finished(exchange, spec.error.split(None, 1)[0])
            case _:
                session.finished(exchange, SWALLOWED)
                if spec.mute:
                    session.down.then(self._mute(session.down, rule))
        return True

    def end_now(self, rule: CommandRule, exchange: Exchange) -> None:
        """Close or reset the connection, when what came before has reached the client's socket."""
        session = self._session
        session.over = True
        session.fire(rule, exchange)
        session.finished(exchange, CUT)
        session.down.then(lambda: self._cut(reset=rule.spec.action is Action.RESET))

    def _cut(self, *, reset: bool) -> None:
        self._session.over = True
        self._session.up.drop()
        self._session.connection.cut(reset=reset)

    # What lasts.

    def _wait(self, rule: CommandRule, writer: OrderedWriter) -> None:
        """A barrier that opens after the rule's delay, or when it is released."""
        barrier = writer.block()
        rule.hold(writer, barrier)
        if rule.spec.action is Action.DELAY:
            self._later(rule.spec.delay_ms / 1000, lambda: rule.let_go(barrier))

    def _meet(self, rule: CommandRule, exchange: Exchange) -> None:
        """A barrier that opens when another connection has sent a command about the same, or after the rule's delay."""
        if rule.spec.capture and not exchange.captured:
            return  # it is about nothing
        barrier = self._session.up.block()
        rule.hold(self._session.up, barrier)

        def go_on() -> None:
            rule.let_go(barrier)

        guest = Guest(
            self._session,
            exchange.captured,
            exchange.index,
            waits=lambda: rule.holds(barrier) and not self._session.left,
            met=lambda index: self._session.fire(rule, exchange, index),
            go_on=go_on,
        )
        pair = rule.meeting.enter(guest)
        if pair is None:

            def give_up() -> None:
                rule.meeting.leave(guest)
                go_on()

            self._later(rule.spec.delay_ms / 1000, give_up)
            return

        def go_on_together() -> None:
            for one in pair:
                one.go_on()

        self._session.connection.loop.call_soon(go_on_together)  # not at once: this one is not yet behind its barrier

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Act after the delay and never before: a timer may ring up to a millisecond early."""
        due_s = monotonic() + delay_s

        def ring() -> None:
            self._timers.discard(timer)
            left_s = due_s - monotonic()
            if left_s > 0:
                self._later(max(left_s, TIMER_GRAIN_S), action)
            else:
                action()

        timer = self._session.connection.loop.call_later(delay_s, ring)
        self._timers.add(timer)

    def _mute(self, writer: OrderedWriter, rule: CommandRule) -> "Mute":
        self.muted_by = rule
        return Mute(writer)

    def disarm(self, rule: CommandRule) -> None:
        """The rule is gone: take down its fence; close what it has muted, since bytes are missing there for good."""
        if self._fence is not None and self._fenced_by is rule and not self._session.over:
            self._session.up.open(self._fence)
            self._fence = None
        if self._fence_follows is rule:
            self._fence_follows = None
        self.block = {place: other for place, other in self.block.items() if other is not rule}
        self.then_after = {index: other for index, other in self.then_after.items() if other is not rule}
        if self.muted_by is rule:
            self._cut(reset=False)

    def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class Mute:
    """Called in its turn, it makes a writer drop all that follows."""

    def __init__(self, writer: OrderedWriter) -> None:
        self._writer = writer

    def __call__(self) -> None:
        self._writer.muted = True


def half(frame: bytes) -> bytes:
    """The first half of a frame: at least one byte, never all of them."""
    return frame[: max(1, min(len(frame) // 2, len(frame) - 1))]


def error_reply(message: str) -> bytes:
    return b"-" + message.encode() + b"\r\n"
