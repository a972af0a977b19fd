"""A rule: which commands it is about, which of their occurrences it takes, and what happens to those."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from re import Pattern, compile

from taskchaos.faults.proxy.redis.capture import Capture
from taskchaos.faults.proxy.redis.commands import keys_of, text
from taskchaos.faults.proxy.redis.meeting import Meeting
from taskchaos.faults.proxy.redis.server_state import CommandTally
from taskchaos.faults.proxy.tcp.ordered_writer import Barrier, OrderedWriter

KEPT_FIRINGS = 256


class Place(StrEnum):
    """BEFORE: the command is not executed (or later). AFTER: it has been executed, and its reply is in hand."""

    BEFORE = "before"
    AFTER = "after"


class Action(StrEnum):
    """What happens to a request or to a reply."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"
    DELAY = "delay"
    ERROR = "error"
    TRUNCATE = "truncate"
    HOLD = "hold"
    MEET = "meet"


#: The command goes on in the end, and whatever is behind it.
WAITS = frozenset({Action.DELAY, Action.HOLD, Action.MEET})
#: These end the connection: nothing behind such a command may reach the server.
CUTS = frozenset({Action.RESET, Action.CLOSE, Action.TRUNCATE})


class Scope(StrEnum):
    """Where occurrences are counted: over the proxy's connections, on each alone, or over all rules of a group."""

    PROXY = "proxy"
    CONNECTION = "connection"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Match:
    """Globs; an empty one matches everything. `commands` are names in upper case, any of which may be a glob too."""

    commands: tuple[str, ...] = ()
    script: str = ""
    key: str = ""
    argument: str = ""
    connection: str = ""


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule as it was asked for. At most one of `nth`, `every`, `first` is not 0; 0 is "not asked for"."""

    name: str
    match: Match
    at: Place
    action: Action
    delay_ms: int = 0
    error: str = ""
    mute: bool = False
    nth: int = 0
    every: int = 0
    first: int = 0
    times: int = 0
    scope: Scope = Scope.PROXY
    group: str = ""
    after_ms: int = 0
    for_ms: int = 0
    capture: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that a rule acted. `index` is that of the command; `time_ns` is CLOCK_MONOTONIC.

    met: the index of the command that it was let go with; 0: none.
    """

    index: int
    proxy: str
    connection: int
    client: str
    command: str
    time_ns: int
    captured: tuple[str, ...]
    met: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """A command as rules look at it. `connection` are the names by which its connection may be called."""

    name: bytes
    arguments: list[bytes]
    script: tuple[str, ...]
    connection: tuple[str, ...]
    number: int


def _glob(pattern: str) -> Callable[[str], object]:
    compiled: Pattern[str] = compile(translate(pattern))
    return compiled.match


class Matcher:
    """A `Match` made ready. Names of commands are compared first, and that is all that most commands cost."""

    def __init__(self, match: Match) -> None:
        plain = [name for name in match.commands if not set(name) & set("*?[")]
        self._any_command = not match.commands
        self._names = frozenset(name.encode() for name in plain)
        self._globs = [_glob(name) for name in match.commands if name not in plain]
        self._script = _glob(match.script) if match.script else None
        self._key = _glob(match.key) if match.key else None
        self._argument = _glob(match.argument) if match.argument else None
        self._connection = _glob(match.connection) if match.connection else None

    @property
    def names(self) -> frozenset[bytes] | None:
        """The commands that can match; None if that cannot be told beforehand."""
        return None if self._any_command or self._globs else self._names

    def __call__(self, facts: Facts) -> bool:
        if not self._any_command and facts.name not in self._names and not self._named(facts.name):
            return False
        if self._script is not None and not any(self._script(name) for name in facts.script):
            return False
        if self._connection is not None and not any(self._connection(name) for name in facts.connection):
            return False
        if self._key is not None and not any(self._key(text(key)) for key in keys_of(facts.name, facts.arguments)):
            return False
        return self._argument is None or any(self._argument(text(each)) for each in facts.arguments[1:])

    def _named(self, name: bytes) -> bool:
        return any(glob(text(name)) for glob in self._globs)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Something that waits to be released."""

    writer: OrderedWriter
    barrier: Barrier


@dataclass(slots=True, eq=False)
class CommandRule:
    """A rule at work. `active` says that its time has come and is not over. `meeting`: where its commands meet."""

    spec: RuleSpec
    tally: CommandTally
    meeting: Meeting
    active: bool = True
    over: bool = False
    fired: int = 0
    firings: deque[Firing] = field(default_factory=lambda: deque(maxlen=KEPT_FIRINGS))
    held: list[Held] = field(default_factory=list)
    matches: Matcher = field(init=False)
    captures: Capture = field(init=False)
    _by_connection: dict[int, CommandTally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.become(self.spec)

    def become(self, spec: RuleSpec) -> None:
        """Work with other settings; what has been counted stays counted."""
        self.spec = spec
        self.matches = Matcher(spec.match)
        self.captures = Capture(spec.capture)

    def due(self, facts: Facts) -> bool:
        """Count this command if it matches; whether it is one that the rule takes."""
        if not self.active or not self.matches(facts):
            return False
        spec = self.spec
        self.tally.seen += 1
        seen = self.tally.seen
        if spec.scope is Scope.CONNECTION:
            own = self._by_connection.setdefault(facts.number, CommandTally())
            own.seen += 1
            seen = own.seen
        taken = (
            seen == spec.nth
            if spec.nth
            else seen % spec.every == 0
            if spec.every
            else seen <= spec.first
            if spec.first
            else True
        )
        if not taken or (spec.times and self.tally.due >= spec.times):
            return False
        self.tally.due += 1
        return True

    def forget(self, number: int) -> None:
        """A connection is gone."""
        self._by_connection.pop(number, None)

    def hold(self, writer: OrderedWriter, barrier: Barrier) -> None:
        self.held.append(Held(writer, barrier))

    def holds(self, barrier: Barrier) -> bool:
        """Whether this still waits."""
        return any(each.barrier is barrier for each in self.held)

    def let_go(self, barrier: Barrier) -> None:
        """Let go of one thing held."""
        for each in [each for each in self.held if each.barrier is barrier]:
            self.held.remove(each)
            each.writer.open(barrier)

    def lose(self, writer: OrderedWriter) -> None:
        """What is held at this writer is gone."""
        self.held = [each for each in self.held if each.writer is not writer]

    def release(self) -> int:
        """Let go of everything held. Returns how much it was."""
        held, self.held = self.held, []
        for each in held:
            each.writer.open(each.barrier)
        return len(held)
