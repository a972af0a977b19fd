"""Faults at exact Redis commands: what a worker meets when the network fails at the worst moment of a protocol step.

Which command is said by globs on its name, script, key, argument and connection, and by `nth`, `every` or `first`;
without these, each one. They need the embedded proxy: a real Toxiproxy knows no commands. docs/reference/commands.md
says what "before" and "after" promise.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

from faults.base import Ability, Evidence, Fault, FaultError, Link, PingResult, Undo
from faults.command_api import CommandClient
from faults.toxiproxy import NotFound, ToxiproxyError

_numbers = count(1)


@dataclass
class CommandFault(Fault):
    """Base: a rule in the proxy. Names of commands may be several, separated by commas."""

    link: Link
    command: str = ""
    script: str = ""
    key: str = ""
    argument: str = ""
    connection: str = ""
    nth: int = 0
    every: int = 0
    first: int = 0
    times: int = 0
    _rule: str = field(default="", init=False)

    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.COMMANDS})
    #: A rule fires when its command comes; the schedule's hold says how long that may take.
    proof_deadline_s: ClassVar[float] = 60.0

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
        try:
            self._add()
        except ToxiproxyError as error:
            raise FaultError(f"{self.kind} on {self.target}: {error}") from error

    @abstractmethod
    def _add(self) -> None:
        """Add the rule."""

    def _add_rule(self, at: str, action: str, **members: int | str | bool) -> None:
        self._rule = f"{self.kind}_{next(_numbers)}"  # before the call: a lost answer must not leave a rule behind
        self.api.add_rule(
            self.link.name,
            name=self._rule,
            at=at,
            action=action,
            command=[name.strip() for name in self.command.split(",") if name.strip()],
            script=self.script,
            key=self.key,
            argument=self.argument,
            connection=self.connection,
            nth=self.nth,
            every=self.every,
            first=self.first,
            times=self.times,
            **members,
        )

    def prove(self) -> Evidence | None:
        if not self._rule:
            return None
        try:
            rule = self.api.rule(self.link.name, self._rule)
        except NotFound:
            return None
        if not rule.fired:
            return None
        last = rule.firings[-1]
        times = "once" if rule.fired == 1 else f"{rule.fired} times"
        return Evidence(f"fired {times}, last on {last.command} (journal {last.index}, connection {last.connection})")

    def heal(self) -> None:
        if not self._rule:
            return
        try:
            self.api.remove_rule(self.link.name, self._rule)
        except ToxiproxyError as error:
            raise FaultError(f"healing {self.kind} on {self.target}: {error}") from error

    def healed(self) -> bool:
        there = {rule.name for rule in self.api.rules(self.link.name)}
        return self._rule not in there and self.link.ping().result is PingResult.PONG


@dataclass
class ReplyLost(CommandFault):
    """Redis has executed the command and its reply never arrives. `how`: reset, close, silence or truncate.

    With silence the connection stays open and carries no reply any more, until the fault is healed: then it is closed.
    """

    kind: ClassVar[str] = "reply_lost"
    summary: ClassVar[str] = "a command is executed and its reply is lost (how: reset, close, silence, truncate)"
    how: str = "reset"

    def _add(self) -> None:
        self._add_rule("after", self.how, **({"mute": True} if self.how == "silence" else {}))


@dataclass
class CutBefore(CommandFault):
    """The command never reaches Redis. `how`: reset, close, silence or truncate."""

    kind: ClassVar[str] = "cut_before"
    summary: ClassVar[str] = "a command is cut off before it is executed (how: reset, close, silence, truncate)"
    how: str = "reset"

    def _add(self) -> None:
        self._add_rule("before", self.how, **({"mute": True} if self.how == "silence" else {}))


@dataclass
class ErrorReply(CommandFault):
    """The command is answered with an error. `at` before: it is not executed; after: it is, though told not."""

    kind: ClassVar[str] = "error_reply"
    summary: ClassVar[str] = "a command is answered with an error text (at: before or after its execution)"
    error: str = "OOM command not allowed when used memory > 'maxmemory'."
    at: str = "before"

    def _add(self) -> None:
        self._add_rule(self.at, "error", error=self.error)


@dataclass
class ReplyLate(CommandFault):
    """The command is executed at once, and its reply comes `delay_ms` later."""

    kind: ClassVar[str] = "reply_late"
    summary: ClassVar[str] = "a command is executed at once and its reply comes delay_ms later"
    delay_ms: int = 1000

    def _add(self) -> None:
        self._add_rule("after", "delay", delay=self.delay_ms)


@dataclass
class RequestLate(CommandFault):
    """The command reaches Redis `delay_ms` late: a lease may have ended by then."""

    kind: ClassVar[str] = "request_late"
    summary: ClassVar[str] = "a command reaches Redis delay_ms late"
    delay_ms: int = 1000

    def _add(self) -> None:
        self._add_rule("before", "delay", delay=self.delay_ms)
