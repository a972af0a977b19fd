"""What rules do to a connection, at a command's boundary.

A cut takes its turn: every command before the one it is for has been executed and answered, and none after it reaches
the server. A request that is withheld keeps its place among the replies.
"""

from asyncio import TimerHandle
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from .capture import distinct
from .commands import ENDS
from .gate import Barrier, Gate
from .journal import CUT, SWALLOWED, Exchange, outcome_of
from .rule import CUTS, Action, Facts, Place, Rule

if TYPE_CHECKING:
    from .conversation import Conversation

#: uvloop's timers count whole milliseconds.
TIMER_GRAIN_S = 0.001
_DISCARD = b"*1\r\n$7\r\nDISCARD\r\n"


class Deeds:
    """The hands of one conversation."""

    def __init__(self, conversation: "Conversation") -> None:
        self.then_after: dict[int, Rule] = {}  # commands that a second rule waits for, by index
        self.muted_by: Rule | None = None
        self.block: dict[Place, Rule] = {}  # what is to happen to the MULTI block that is being built
        self._captured: list[str] = []  # of the commands that were chosen for it
        self._talk = conversation
        self._fence: Barrier | None = None
        self._fenced_by: Rule | None = None
        self._fence_follows: Rule | None = None  # a fence is due at the end of the large request that passes
        self._timers: set[TimerHandle] = set()

    def choose(self, exchange: Exchange, facts: Facts, rules: list[Rule], *, in_block: bool) -> None:
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
    def prevents(rule: Rule) -> bool:
        """Whether a rule at `before` leaves no reply for another one at `after`."""
        return rule.spec.action not in (Action.DELAY, Action.HOLD)

    @staticmethod
    def withholds(rule: Rule) -> bool:
        """Whether the reply does not reach the client."""
        return rule.spec.action in (Action.SILENCE, Action.ERROR)

    # Requests.

    def request(self, exchange: Exchange, rule: Rule, frame: bytes, last: bool, answered: bool) -> bool:
        """Do to a request what the rule says; whether the rest of a large one is to be dropped."""
        if rule.spec.at is Place.AFTER:
            self._talk.up.write(frame)
            if not answered:
                exchange.action = None  # nobody will ever know when it has been executed
            elif rule.spec.action in CUTS:
                self._fence_follows = rule
                if last:
                    self.request_ended()
            return False
        if rule.spec.action in (Action.DELAY, Action.HOLD):
            self._talk.fire(rule, exchange)
            self._wait(rule, self._talk.up)
            self._talk.up.write(frame)
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
            self._fence = self._talk.up.block(fence=True)
            self._fenced_by, self._fence_follows = self._fence_follows, None

    def _withhold(self, exchange: Exchange, rule: Rule, frame: bytes, answered: bool) -> None:
        talk, spec = self._talk, rule.spec
        if spec.action in CUTS:
            exchange.instead = b""
            if not answered:
                talk.queue.append(exchange)
            if spec.action is Action.TRUNCATE:
                talk.up.write(half(frame))
            talk.up.block(fence=True)
            talk.settle()
            return
        talk.fire(rule, exchange)
        if exchange.command == b"EXEC" and not spec.mute:
            # Nothing of the block is executed, and the server does not stay in the middle of it.
            exchange.discarded = True
            talk.up.write(_DISCARD)
            return
        if spec.action is Action.ERROR and answered:
            exchange.instead = error_reply(spec.error)
            talk.settle()
            return
        if answered:
            talk.queue.pop()
        talk.finished(exchange, SWALLOWED)
        if spec.mute:
            talk.up.then(self._mute(talk.up, rule))

    # Replies.

    def reply(self, exchange: Exchange, rule: Rule, frame: bytes) -> bool:
        """Do to a reply what the rule says; whether the rest of a large one is to be dropped."""
        talk, spec = self._talk, rule.spec
        exchange.captured = distinct((*exchange.captured, *rule.captures((frame,))))
        if not exchange.discarded:
            if spec.action in CUTS:
                if spec.action is Action.TRUNCATE:
                    talk.down.write(half(frame))
                self.end_now(rule, exchange)
                return True
            talk.fire(rule, exchange)
        match spec.action:
            case Action.DELAY | Action.HOLD:
                self._wait(rule, talk.down)
                talk.down.write(frame)
                talk.finished(exchange, outcome_of(frame[:64]))
                return False
            case Action.ERROR:
                reply = error_reply(spec.error)
                talk.down.write(reply)
                talk.finished(exchange, spec.error.split(None, 1)[0])
            case _:
                talk.finished(exchange, SWALLOWED)
                if spec.mute:
                    talk.down.then(self._mute(talk.down, rule))
        return True

    def end_now(self, rule: Rule, exchange: Exchange) -> None:
        """Close or reset the connection, when what came before has reached the client's socket."""
        talk = self._talk
        talk.over = True
        talk.fire(rule, exchange)
        talk.finished(exchange, CUT)
        talk.down.then(lambda: self._cut(reset=rule.spec.action is Action.RESET))

    def _cut(self, *, reset: bool) -> None:
        self._talk.over = True
        self._talk.up.drop()
        self._talk.connection.cut(reset=reset)

    # What lasts.

    def _wait(self, rule: Rule, gate: Gate) -> None:
        """A barrier that opens after the rule's delay, or when it is released."""
        barrier = gate.block()
        rule.hold(gate, barrier)
        if rule.spec.action is Action.DELAY:
            self._later(rule.spec.delay_ms / 1000, lambda: rule.let_go(barrier))

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

        timer = self._talk.connection.loop.call_later(delay_s, ring)
        self._timers.add(timer)

    def _mute(self, gate: Gate, rule: Rule) -> "Mute":
        self.muted_by = rule
        return Mute(gate)

    def disarm(self, rule: Rule) -> None:
        """The rule is gone: take down its fence; close what it has muted, since bytes are missing there for good."""
        if self._fence is not None and self._fenced_by is rule and not self._talk.over:
            self._talk.up.open(self._fence)
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
    """Called in its turn, it makes a gate drop all that follows."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __call__(self) -> None:
        self._gate.muted = True


def half(frame: bytes) -> bytes:
    """The first half of a frame: at least one byte, never all of them."""
    return frame[: max(1, min(len(frame) // 2, len(frame) - 1))]


def error_reply(message: str) -> bytes:
    return b"-" + message.encode() + b"\r\n"
