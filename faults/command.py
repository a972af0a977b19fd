"""Faults at exact Redis commands: what a worker meets when the network fails at the worst moment of a protocol step.

Which command is said by globs on its name, script, key, argument and connection, and by `nth`, `every` or `first`;
without these, each one. They need the embedded proxy: a real Toxiproxy knows no commands. docs/reference/commands.md
says what "before" and "after" promise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import Ability, Evidence, Fault, FaultError, Hit, Link, On, PingResult, Undo
from taskchaos.faults.bounds import Choice, Text, Whole
from taskchaos.faults.command_api import CommandClient, FiringReport, RuleState
from taskchaos.faults.draw import Draw, NotDrawn
from taskchaos.faults.network import silenced
from taskchaos.faults.toxiproxy import NotFound, ToxiproxyError
from taskchaos.faults.watch import Watch

#: How an operation's number is found in a command or its reply: by its task id.
OPERATION = r"op-(\d{1,18})"
#: So many of the newest hits are told.
MOST_HITS = 256

#: What a random schedule draws from: how a command is cut, which of them are met, and for how long.
HOWS = ("reset", "close", "silence", "truncate")
EVERY = (2, 3, 4)
HOLD_S = (1.0, 3.0)
#: What a Redis in trouble answers.
ERRORS = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MISCONF Errors writing to the AOF file: No space left on device",
)

#: What may be said of the commands that are met; 0, and no text, say nothing.
_NAME = r"[A-Za-z0-9*?|._-]+"
COMMANDS = Text("names of Redis commands, separated by commas", empty=True, like=rf"{_NAME}( *, *{_NAME})*")
GLOB = Text("a glob (* and ?)", empty=True)
COUNT = Whole(0, 1_000_000)
#: How late a command, or its reply, may be made.
LATE = Whole(1, 60_000)

_numbers = count(1)


@dataclass
class CommandFault(Fault):
    """Base: a rule in the proxy. Names of commands may be several, separated by commas."""

    on = On.COMMAND

    link: Link
    command: Annotated[str, COMMANDS] = ""
    script: Annotated[str, GLOB] = ""
    key: Annotated[str, GLOB] = ""
    argument: Annotated[str, GLOB] = ""
    connection: Annotated[str, GLOB] = ""
    nth: Annotated[int, COUNT] = 0
    every: Annotated[int, COUNT] = 0
    first: Annotated[int, COUNT] = 0
    times: Annotated[int, COUNT] = 0
    _rule: str = field(default="", init=False)
    _state: RuleState | None = field(default=None, init=False)  # as the proxy last said
    _watch: Watch | None = field(default=None, init=False)

    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.COMMANDS})
    drawn: ClassVar[Draw | NotDrawn] = Draw(HOLD_S, {"every": EVERY, "how": HOWS})

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        given = [name for name in ("nth", "every", "first") if values[name]]
        return f"only one of nth, every and first can be given, not {' and '.join(given)}" if len(given) > 1 else ""

    @property
    def target(self) -> str:
        return self.link.name

    @property
    def api(self) -> CommandClient:
        """The proxy that the link goes through."""
        return CommandClient.beside(self.link.api)

    def undo(self) -> Undo:
        return Undo("remove the rules of the proxy", self.link.name)

    def inject(self) -> None:
        self._watch = Watch(self.link, {})
        try:
            self._add()
        except ToxiproxyError as error:
            raise FaultError(f"{self.kind} on {self.target}: {error}") from error

    @abstractmethod
    def _add(self) -> None:
        """Add the rule."""

    @abstractmethod
    def _deed(self) -> str:
        """What becomes of a command that it meets, in words."""

    def _add_rule(self, at: str, action: str, **members: int | str | bool) -> None:
        self._rule = f"{self.kind}_{next(_numbers)}"  # before the call: a lost answer must not leave a rule behind
        self.api.add_rule(
            self.link.name,
            name=self._rule,
            at=at,
            action=action,
            command=self._commands(),
            script=self.script,
            key=self.key,
            argument=self.argument,
            connection=self.connection,
            nth=self.nth,
            every=self.every,
            first=self.first,
            times=self.times,
            capture=self._capture(),
            **members,
        )

    def _capture(self) -> str:
        """How the operations are found that a command is about."""
        return OPERATION

    def _commands(self) -> list[str]:
        return [name.strip() for name in self.command.split(",") if name.strip()]

    # Did it fire?

    def _look(self) -> RuleState | None:
        """The rule as the proxy has it; None if it has none."""
        if not self._rule:
            return None
        try:
            self._state = self.api.rule(self.link.name, self._rule)
        except NotFound:
            return None
        return self._state

    def _firings(self) -> list[FiringReport]:
        """On connections of the role: a rule without a command fires on the harness's own PINGs as well."""
        return [f for f in self._state.firings if f.client not in self.link.probes] if self._state else []

    def prove(self) -> Evidence | None:
        return Evidence(self.in_all()) if self._look() is not None and self._firings() else None

    def in_all(self) -> str:
        rule, mine = self._state, self._firings()
        if rule is None or not mine:
            return ""
        last, fired = mine[-1], rule.fired - len(rule.firings) + len(mine)
        times = "once" if fired == 1 else f"{fired} times"
        return f"fired {times}, last on {last.command} (journal {last.index}, connection {last.connection})"

    @property
    def in_force(self) -> bool:
        return self._state is not None

    def missing(self) -> str:
        rule, role, what = self._state, self.link.role, " or ".join(self._commands()) or "command"
        if rule is None or self._watch is None:
            return f"{super().missing()}: the rule is not in the proxy"
        if not rule.seen:
            if not self._watch.met().connections:
                return self._watch.nothing()
            where = f" to script {self.script}" * bool(self.script) + f" with key {self.key}" * bool(self.key)
            advice = "name the command that the subject sends in Subject.commands"
            return f"no {what}{where} came from {role} while it was in force: {advice}"
        if rule.fired:
            return f"it fired {rule.fired} times, and never on a connection of {role}"
        came = f"{what} came {'once' if rule.seen == 1 else f'{rule.seen} times'}"
        wanted = self.nth or self.every
        if rule.seen < wanted:
            return f"{came}, the fault waits for the {ordinal(wanted)}: hold it for longer or aim at an earlier one"
        return f"{came}, and no reply to the one that the fault waits for: hold it for longer"

    def unused(self) -> str:
        return self._watch.unused() if self._watch is not None and self._state is not None else ""

    def holds(self) -> bool:
        """A rule that has done all that it was to do stays in the proxy as well: its firings are evidence."""
        rule = self._look()
        if rule is None or rule.state != "over":
            return rule is not None
        limit = self.times or self.first or (1 if self.nth else 0)
        return 0 < limit <= rule.fired

    def hits(self) -> tuple[Hit, ...]:
        met = [(firing, int(op)) for firing in self._firings() for op in firing.captured]
        return tuple(Hit(op, firing.time_ns, f"{firing.command}, {self._deed()}") for firing, op in met[-MOST_HITS:])

    # Taking it back.

    def heal(self) -> None:
        if not self._rule:
            return
        try:
            self._state = self.api.end_rule(self.link.name, self._rule) or self._state
        except ToxiproxyError as error:
            raise FaultError(f"healing {self.kind} on {self.target}: {error}") from error

    def healed(self) -> bool:
        if self._rule in {rule.name for rule in self.api.rules(self.link.name)}:
            return False
        return self.link.ping().result is PingResult.PONG or silenced(self.link.api.proxy(self.link.name))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


@dataclass
class ReplyLost(CommandFault):
    """Redis has executed the command and its reply never arrives. `how`: reset, close, silence or truncate.

    With silence the connection stays open and carries no reply any more, until the fault is healed: then it is closed.
    """

    kind: ClassVar[str] = "reply_lost"
    summary: ClassVar[str] = "a command is executed and its reply is lost (how: reset, close, silence, truncate)"
    how: Annotated[str, Choice(HOWS)] = "reset"

    def _add(self) -> None:
        self._add_rule("after", self.how, **({"mute": True} if self.how == "silence" else {}))

    def _deed(self) -> str:
        return f"reply lost ({self.how})"


@dataclass
class CutBefore(CommandFault):
    """The command never reaches Redis. `how`: reset, close, silence or truncate."""

    kind: ClassVar[str] = "cut_before"
    summary: ClassVar[str] = "a command is cut off before it is executed (how: reset, close, silence, truncate)"
    how: Annotated[str, Choice(HOWS)] = "reset"

    def _add(self) -> None:
        self._add_rule("before", self.how, **({"mute": True} if self.how == "silence" else {}))

    def _deed(self) -> str:
        return f"not executed ({self.how})"


@dataclass
class ErrorReply(CommandFault):
    """The command is answered with an error. `at` before: it is not executed; after: it is, though told not."""

    kind: ClassVar[str] = "error_reply"
    summary: ClassVar[str] = "a command is answered with an error text (at: before or after its execution)"
    drawn: ClassVar[Draw] = Draw(HOLD_S, {"every": EVERY, "error": ERRORS, "at": ("before", "after")})
    error: Annotated[str, Text()] = ERRORS[0]
    at: Annotated[str, Choice(("before", "after"))] = "before"

    def _add(self) -> None:
        self._add_rule(self.at, "error", error=self.error)

    def _deed(self) -> str:
        return f"answered {self.error.split()[0]}, {'not ' if self.at == 'before' else ''}executed"


@dataclass
class ReplyLate(CommandFault):
    """The command is executed at once, and its reply comes `delay_ms` later."""

    kind: ClassVar[str] = "reply_late"
    summary: ClassVar[str] = "a command is executed at once and its reply comes delay_ms later"
    drawn: ClassVar[Draw] = Draw(HOLD_S, {"every": EVERY, "delay_ms": range(100, 1501)})
    delay_ms: Annotated[int, LATE] = 1000

    def _add(self) -> None:
        self._add_rule("after", "delay", delay=self.delay_ms)

    def _deed(self) -> str:
        return f"reply {self.delay_ms} ms late"


@dataclass
class RequestLate(CommandFault):
    """The command reaches Redis `delay_ms` late: a lease may have ended by then."""

    kind: ClassVar[str] = "request_late"
    summary: ClassVar[str] = "a command reaches Redis delay_ms late"
    drawn: ClassVar[Draw] = Draw(HOLD_S, {"every": EVERY, "delay_ms": range(100, 1501)})
    delay_ms: Annotated[int, LATE] = 1000

    def _add(self) -> None:
        self._add_rule("before", "delay", delay=self.delay_ms)

    def _deed(self) -> str:
        return f"{self.delay_ms} ms late"
