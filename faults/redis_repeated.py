"""What is done to Redis again and again while it holds: its scripts are forgotten, a slow script runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import FaultError, Server, ServerConnection, wait_for
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import Draw
from taskchaos.faults.loop import Loop
from taskchaos.faults.redis_answers import AnswerFault, errors, setting
from taskchaos.faults.redis_process import RECONNECT_S

EVERY = Whole(10, 10_000)
_JOIN_S = 5.0


@dataclass
class RepeatedFault(AnswerFault):
    """Base: a thread does it each `every_ms`, until it is healed or the server refuses."""

    #: What the server counts it as, such as script|flush.
    command: ClassVar[str]
    every_ms: Annotated[int, EVERY] = 200
    _loop: Loop | None = field(default=None, init=False)
    _done_before: int = field(default=0, init=False)

    def act(self, server: Server) -> None:
        """Do it once. Raises FaultError."""
        raise NotImplementedError

    def way_back(self) -> str:
        return f"nothing: it ends with the harness ({self.command.replace('|', ' ').upper()})"

    def begin(self) -> None:
        self._done_before = self._done()
        server = self.server
        self.act(server)  # what is refused is told here
        self._loop = Loop(self.kind, partial(self.act, server), self.every_ms / 1000)
        self._loop.start()

    @property
    def _goes_on(self) -> bool:
        return self._loop is not None and self._loop.running

    @property
    def _trouble(self) -> str:
        return self._loop.trouble if self._loop else ""

    def _done(self) -> int:
        """How often the server says that it was done. Before Redis 7 it does not tell subcommands apart."""
        figures = self.server.figures("commandstats")
        whole, each = f"cmdstat_{self.command.partition('|')[0]}", f"cmdstat_{self.command}"
        return sum(int(found["calls"]) for name, found in figures.items() if name in (whole, each))

    def there(self) -> bool:
        return self._goes_on and self._done() > self._done_before

    def missing(self) -> str:
        return f"it ended by itself: {self._trouble}" if self._trouble else super().missing()

    def heal(self) -> None:
        if self._loop is not None:
            self._loop.end(0)
        self.end()
        if self._loop is not None and not self._loop.end(_JOIN_S):
            raise FaultError(f"{self.kind}: {self.target} does not answer, and it cannot be ended")

    def end(self) -> None:
        """Nothing is left of it."""


@dataclass
class RedisScriptFlush(RepeatedFault):
    """SCRIPT FLUSH: a restart or a failover without one. Who calls by EVALSHA is told NOSCRIPT and has to send it.

    Who sends the whole script each time cannot tell; that it did so counts as well.
    """

    kind: ClassVar[str] = "redis_script_flush"
    summary: ClassVar[str] = "SCRIPT FLUSH each `every_ms`: scripts that are called by their hash are not there"
    drawn: ClassVar[Draw] = Draw((0.3, 2.0), starves=False, after_s=RECONNECT_S)
    command: ClassVar[str] = "script|flush"

    def act(self, server: Server) -> None:
        server.ask("SCRIPT", "FLUSH")

    def count(self) -> int:
        calls = self.server.figures("commandstats").get("cmdstat_eval", {"calls": 0})["calls"]
        return errors(self.server.figures("errorstats"), "NOSCRIPT") + int(calls)

    def told(self, met: int) -> str:
        return f"{self.target} was sent {met} scripts that it had forgotten"


@dataclass
class RedisBusy(RepeatedFault):
    """Somebody's slow script runs, and everybody else is answered BUSY. It writes nothing, so it can be killed.

    Each `every_ms` it is killed and begun again, because a busy Redis does not say what it has counted. after_ms: how
    long it keeps others waiting before it answers BUSY (busy-reply-threshold, lua-time-limit before Redis 7).
    """

    kind: ClassVar[str] = "redis_busy"
    summary: ClassVar[str] = "a slow script keeps Redis: others are answered BUSY after `after_ms`; SCRIPT KILL ends it"
    command: ClassVar[str] = "script|kill"
    every_ms: Annotated[int, EVERY] = 400
    after_ms: Annotated[int, Whole(1, 10_000)] = 50
    _threshold: tuple[str, str] = field(default=("", ""), init=False)
    _counted: int = field(default=0, init=False)
    _own: int = field(default=0, init=False)  # answered to us
    _slow: ServerConnection | None = field(default=None, init=False)
    _killer: ServerConnection | None = field(default=None, init=False)

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        if values["after_ms"] < values["every_ms"]:
            return ""
        return f"after_ms has to be below every_ms, {values['every_ms']}, not {values['after_ms']}: nobody is told"

    def remember(self) -> None:
        """The name of the setting, and what it was."""
        names = (name for name in ("busy-reply-threshold", "lua-time-limit") if not self._threshold[0])
        for name in names:
            if was := setting(self.server, name):
                self._threshold = (name, was)

    def way_back(self) -> str:
        return f"SCRIPT KILL; CONFIG SET {self._threshold[0]} {self._threshold[1]}"

    def begin(self) -> None:
        self.server.ask("CONFIG", "SET", self._threshold[0], self.after_ms)
        self._counted = self._before or 0
        self._slow, self._killer = self.server.connect(), self.server.connect()  # a busy server takes no connection
        self._loop = Loop(self.kind, partial(self.act, self.server), 0.0, at_once=True)
        self._loop.start()

    def act(self, server: Server) -> None:
        """Run it for `every_ms`, and read the counters before anybody else runs one."""
        assert self._slow is not None and self._loop is not None
        self._slow.send("EVAL", "while true do end", 0)
        self._loop.wait(self.every_ms / 1000)
        if not wait_for(self._kill, _JOIN_S):
            raise FaultError(f"{server.name} did not run the slow script")
        with suppress(FaultError):  # that it was killed
            self._slow.read()
        self._counted = errors(server.figures("errorstats"), "BUSY")

    def _kill(self) -> bool:
        """SCRIPT KILL; whether there was a script to be killed."""
        assert self._killer is not None
        self._killer.send("SCRIPT", "KILL")
        try:
            self._killer.read()
        except FaultError as error:
            if "NOTBUSY" not in str(error):
                raise
            return False
        return True

    def count(self) -> int:
        if self._before is None:
            return errors(self.server.figures("errorstats"), "BUSY")
        return self._counted - self._own

    def there(self) -> bool:
        """Whether a PING is answered BUSY; between two scripts none is."""
        return self._goes_on and wait_for(self._busy, 1.0)

    def _busy(self) -> bool:
        try:
            self.server.ask("PING")
        except FaultError as error:
            if "BUSY" not in str(error):
                raise
            self._own += 1
            return True
        return False

    def told(self, met: int) -> str:
        return f"{self.target} answered BUSY {met} times"

    def end(self) -> None:
        if self._loop is not None:
            self._loop.end(_JOIN_S)
        if not self.server.running():
            return
        for connection in filter(None, (self._killer, self._slow)):
            if connection is self._killer and self._trouble:
                self._kill()  # one that was begun and never killed
            connection.close()
        self._slow = self._killer = None
        if self._threshold[0]:
            self.server.ask("CONFIG", "SET", *self._threshold)
