"""Redis was started again and is not ready: it reads what it had, and answers LOADING to everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import Ability, Evidence, FaultError, wait_for
from taskchaos.faults.bounds import Whole
from taskchaos.faults.redis_answers import errors
from taskchaos.faults.redis_process import RedisKilled

#: What is written into the append-only file, and deleted again, so that reading it takes long enough.
_FILL = (
    "if redis.replicate_commands then redis.replicate_commands() end "
    "for number = 1, tonumber(ARGV[1]) do redis.call('set', KEYS[1], number) end redis.call('del', KEYS[1])"
)
_KEY = "taskchaos:load"
#: It looks at its clients after each 1024 commands, so this is also how long it takes to answer.
_DELAY_US = 20
_COMMANDS_PER_S = 11_000


@dataclass
class RedisLoading(RedisKilled):
    """SIGKILL, and a start that takes as long as one with a large append-only file.

    most_s: how long it can be held at most.
    """

    kind: ClassVar[str] = "redis_loading"
    summary: ClassVar[str] = "SIGKILL to Redis; started again, it reads its file for as long as it holds (LOADING)"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.OWN_SERVER})
    most_s: Annotated[int, Whole(1, 120)] = 8
    _begun: bool = field(default=False, init=False)
    _seen: bool = field(default=False, init=False)

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        if not isfinite(hold_s) or hold_s <= values["most_s"]:
            return ""
        return f"hold_s has to be at most most_s, {values['most_s']}, not {hold_s:g}: by then it has read all"

    def end(self) -> None:
        self.server.ask("EVAL", _FILL, 1, _KEY, self.most_s * _COMMANDS_PER_S)
        super().end()

    def prove(self) -> Evidence | None:
        if self._pid and not self._begun:
            self._begun = True  # not before it is known to be down: whom that met has to be explained
            self.server.start(load_delay_us=_DELAY_US)
        self._seen = self.holds()
        refused = errors(self.server.figures("errorstats"), "LOADING") if self._seen else 0
        seen = f"{self.target} answered LOADING {refused} times"
        return Evidence(seen, forgot_since_ns=self._written_ns) if refused > 0 else None

    @property
    def in_force(self) -> bool:
        return self._seen

    def missing(self) -> str:
        return (
            "it was loading, and nobody met it: hold it for longer, or offer more" if self._seen else super().missing()
        )

    def holds(self) -> bool:
        """Whether it says that it is loading; it says nothing for a while when it has just begun."""
        try:
            return bool(self._pid) and self.server.running() and bool(self.server.figures("persistence")["loading"])
        except FaultError:
            return False

    def _says_how_it_is(self) -> bool:
        try:
            return bool(self.server.figures("persistence"))
        except FaultError:
            return False

    def heal(self) -> None:
        super().heal()
        if self._pid:
            wait_for(self._says_how_it_is, self.heal_deadline_s)  # it may only just have been started
            try:
                self.server.ask("CONFIG", "SET", "key-load-delay", 0)
            except FaultError:
                if self.holds():  # Redis 6.2 lets nobody change that while it is loading
                    self.server.kill()
                    super().heal()

    def healed(self) -> bool:
        return super().healed() and not self.holds()
