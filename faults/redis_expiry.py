"""Redis ends no key by itself: what has expired is there until somebody looks at it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar

from taskchaos.faults.base import Ability, Evidence, Undo
from taskchaos.faults.draw import Draw
from taskchaos.faults.redis_process import RECONNECT_S, ServerFault

#: A key of ours in a database that nobody uses. Redis looks ten times a second: one that is left for longer tells.
_PROBE, _DATABASE, _EXPIRES_MS, _LEFT_S = "taskchaos:expiry", 15, 20, 0.5


@dataclass
class RedisExpiryOff(ServerFault):
    """Active expiry is off, as it nearly is where a great many keys expire at once. Access still ends a key.

    A lease that has ended counts as ended for whoever asks Redis for it. Who waits to be told (keyspace events), or
    counts keys, waits for ever.
    """

    kind: ClassVar[str] = "redis_expiry_off"
    summary: ClassVar[str] = "Redis ends no key by itself (DEBUG SET-ACTIVE-EXPIRE 0), only when somebody looks at it"
    drawn: ClassVar[Draw] = Draw((0.3, 2.0), starves=False, after_s=RECONNECT_S)
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.DEBUG})
    _since_s: float | None = field(default=None, init=False)

    def undo(self) -> Undo:
        return Undo("DEBUG SET-ACTIVE-EXPIRE 1", self.target)

    def inject(self) -> None:
        self.await_clients()
        self.server.ask("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        probe = self.server.connect()
        try:
            for words in (("SELECT", _DATABASE), ("SET", _PROBE, "", "PX", _EXPIRES_MS)):
                probe.send(*words)
                probe.read()
        finally:
            probe.close()
        self._since_s = time.monotonic()

    def prove(self) -> Evidence | None:
        """It is there, and so are keys that somebody has set to expire."""
        keys = self._keys(0) if self.holds() else 0
        if keys <= 0:
            return None
        return Evidence(f"{self.target} has {keys} keys of others that expire, and leaves what has expired")

    def missing(self) -> str:
        return "no key that expires was there: offer more" if self.holds() else super().missing()

    def holds(self) -> bool:
        """Whether our key is there although it has expired long ago."""
        overdue = self._since_s is not None and time.monotonic() - self._since_s > _LEFT_S
        return overdue and self._keys(_DATABASE) > 0

    def _keys(self, database: int) -> int:
        """How many keys of a database expire, or have expired and are still there."""
        return int(self.server.figures("keyspace").get(f"db{database}", {"expires": 0})["expires"])

    def heal(self) -> None:
        if self.server.running():
            self.server.ask("DEBUG", "SET-ACTIVE-EXPIRE", 1)

    def healed(self) -> bool:
        """Redis has ended our key by itself."""
        return not self._keys(_DATABASE) and not self.server.whole()
