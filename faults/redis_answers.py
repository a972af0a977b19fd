"""Redis runs, and refuses what it is asked: it is a replica, its memory is used up, a permission is gone.

All of it is Redis's own doing, brought about by its settings; no proxy writes an error. What counts as evidence are the
counters of the server itself, from the injection on.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import Evidence, FaultError, Server, Undo
from taskchaos.faults.bounds import Choice, Text, Whole
from taskchaos.faults.draw import NotDrawn
from taskchaos.faults.redis_process import ServerFault

#: Nobody listens there: a replica of it never gets as far as to drop its own data.
NOWHERE = ("127.0.0.1", 1)
#: Rules of ACL SETUSER that take something away.
TAKEN = r"-@?[a-z0-9|_-]+( +-@?[a-z0-9|_-]+)*"
#: Policies under which keys are deleted.
POLICIES = (
    *("allkeys-lru", "allkeys-lfu", "allkeys-random"),
    *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
)


@dataclass
class AnswerFault(ServerFault):
    """Base: a server that runs and answers otherwise than it should. It bites when somebody has met that."""

    _before: int | None = field(default=None, init=False)
    _seen: bool = field(default=False, init=False)

    def undo(self) -> Undo:
        self.remember()
        return Undo(self.way_back(), self.target)

    def remember(self) -> None:
        """Note what will be changed, once. Raises FaultError."""

    def way_back(self) -> str:
        """What heals it, for a person at a redis-cli."""
        raise NotImplementedError

    def inject(self) -> None:
        self.remember()
        self.await_clients()
        self._before = self.count()
        self.began_ns = time.monotonic_ns()
        self.begin()

    def begin(self) -> None:
        """Change what is to be changed. Raises FaultError."""
        raise NotImplementedError

    def there(self) -> bool:
        """Whether the server shows that it is in force. Raises FaultError."""
        raise NotImplementedError

    def count(self) -> int:
        """What the server has counted of those who met it, since it was started. Raises FaultError."""
        raise NotImplementedError

    def told(self, met: int) -> str:
        """So many have met it, in words."""
        raise NotImplementedError

    def met(self) -> int:
        """How many have met it since the injection."""
        return 0 if self._before is None else self.count() - self._before

    def prove(self) -> Evidence | None:
        if self._before is None:
            return None
        self._seen = self.there()
        met = self.met() if self._seen else 0
        return Evidence(self.told(met)) if met > 0 else None

    @property
    def in_force(self) -> bool:
        return self._seen

    def missing(self) -> str:
        if not self._seen:
            return super().missing()
        return "it was there, and nobody met it: hold it for longer, or offer more"

    def holds(self) -> bool:
        return self._before is not None and self.there()

    def heal(self) -> None:
        if self.server.running():  # a start has undone everything
            self.end()

    def end(self) -> None:
        """Change it back. Idempotent. Raises FaultError."""
        raise NotImplementedError

    def healed(self) -> bool:
        try:
            return not self.there() and not self.server.whole()
        except FaultError:
            return False


@dataclass
class RefusalFault(AnswerFault):
    """Base: commands are answered with an error, which the server counts by its first word."""

    error: ClassVar[str]

    def count(self) -> int:
        return errors(self.server.figures("errorstats"), self.error)

    def told(self, met: int) -> str:
        return f"{self.target} answered {self.error} {met} times"


def errors(errorstats: Mapping[str, Mapping[str, int]], error: str) -> int:
    """How often the server has answered with this error."""
    return int(errorstats.get(f"errorstat_{error}", {"count": 0})["count"])


@dataclass
class RedisReadOnly(RefusalFault):
    """It is made a replica of an address where nobody is, as the old primary is at a failover.

    Its data stays: a replica drops what it has when a primary sends its own, which none does. It answers reads (from
    data that may be stale), refuses writes, ends no key by itself, and blocked clients get -UNBLOCKED once.
    """

    kind: ClassVar[str] = "redis_read_only"
    summary: ClassVar[str] = "Redis is demoted: a replica of nobody, it refuses writes (READONLY); its data stays"
    error: ClassVar[str] = "READONLY"

    def way_back(self) -> str:
        return "REPLICAOF NO ONE"

    def begin(self) -> None:
        self.server.ask("REPLICAOF", *NOWHERE)

    def there(self) -> bool:
        return str(self.server.figures("replication")["role"]) == "slave"

    def end(self) -> None:
        self.server.ask("REPLICAOF", "NO", "ONE")


@dataclass
class RedisAcl(AnswerFault):
    """A permission of the default user is taken away and given back: somebody "hardens" a running system.

    without: what is taken away, in the words of ACL SETUSER, such as -@write or -evalsha.
    """

    kind: ClassVar[str] = "redis_acl"
    summary: ClassVar[str] = "a permission (`without`) is taken from Redis's default user, and given back (NOPERM)"
    drawn: ClassVar[NotDrawn] = NotDrawn(
        "NOPERM is an answer for good: whoever meets it may give up what it was about, and say so"
    )
    without: Annotated[str, Text("rules that take something away, such as -@write -evalsha", like=TAKEN)] = "-@write"
    _were: list[str] = field(default_factory=list, init=False)

    def remember(self) -> None:
        if not self._were:
            self._were = [word for word in self._rules() if word[0] in "+-"]

    def way_back(self) -> str:
        return shlex.join(["ACL", *self._undoing()])

    def begin(self) -> None:
        self.server.ask("ACL", "SETUSER", "default", *self.without.split())

    def there(self) -> bool:
        return [word for word in self._rules() if word[0] in "+-"] != self._were

    def count(self) -> int:
        """Refusals by ACL, which a script's are, too; those are no NOPERM on every server."""
        entries = self.server.ask("ACL", "LOG", 128)
        return sum(int(_field(entry, "count")) for entry in entries if _text(_field(entry, "reason")) == "command")

    def told(self, met: int) -> str:
        return f"{self.target} refused {met} commands for want of a permission ({self.without})"

    def end(self) -> None:
        if self._were:
            self.server.ask("ACL", *self._undoing())

    def _undoing(self) -> list[str]:
        return ["SETUSER", "default", "nocommands", *self._were]

    def _rules(self) -> list[str]:
        """Those of the default user, as the server tells them: user default on nopass ~* &* +@all."""
        users = [_text(line).split() for line in self.server.ask("ACL", "LIST")]
        return next((words[2:] for words in users if words[1] == "default"), [])


def setting(server: Server, name: str) -> str:
    """A setting as it is now; "" if the server has none of this name. Raises FaultError."""
    answer = server.ask("CONFIG", "GET", name)
    values = list(answer.values()) if isinstance(answer, Mapping) else answer[1::2]
    return _text(values[0]) if values else ""


def _text(said: object) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _field(entry: object, name: str) -> Any:
    """Of a map, which is a list of names and values in the older protocol."""
    if isinstance(entry, Mapping):
        return next(value for key, value in entry.items() if _text(key) == name)
    assert isinstance(entry, list)
    names = [_text(key) for key in entry[::2]]
    return entry[1::2][names.index(name)]


@dataclass
class SettingFault(AnswerFault):
    """Base: settings that somebody has changed under load."""

    _were: dict[str, str] = field(default_factory=dict, init=False)
    _set: dict[str, str] = field(default_factory=dict, init=False)

    def settings(self) -> dict[str, str]:
        """What is set, in an order in which it can be. May look at the server. Raises FaultError."""
        raise NotImplementedError

    def remember(self) -> None:
        if not self._set:
            self._set = self.settings()
            self._were = {name: setting(self.server, name) for name in self._set}

    def way_back(self) -> str:
        return "; ".join(f"CONFIG SET {name} {shlex.quote(value)}" for name, value in self._were.items())

    def begin(self) -> None:
        for name, value in self._set.items():
            self.server.ask("CONFIG", "SET", name, value)

    def there(self) -> bool:
        return any(setting(self.server, name) != was for name, was in self._were.items())

    def end(self) -> None:
        for name, value in reversed(self._were.items()):
            self.server.ask("CONFIG", "SET", name, value)


@dataclass
class RedisOutOfMemory(SettingFault):
    """Its memory is used up, and nothing may be evicted: what needs more is refused."""

    kind: ClassVar[str] = "redis_out_of_memory"
    summary: ClassVar[str] = "Redis's maxmemory is below what it uses, under noeviction: writes are refused (OOM)"

    def settings(self) -> dict[str, str]:
        return {"maxmemory-policy": "noeviction", "maxmemory": "1"}

    def count(self) -> int:
        return errors(self.server.figures("errorstats"), "OOM")

    def told(self, met: int) -> str:
        return f"{self.target} answered OOM {met} times"


@dataclass
class RedisEvicting(SettingFault):
    """Its memory is used up, and its policy lets it delete keys: no set-up for tasks, and common.

    short_kb: how much less it may use than it does. Under a policy of all keys anything may be gone, whenever it was
    acknowledged: that is the set-up's doing and told as such (`forgot_since_ns`). Under one of volatile keys it deletes
    only what has an expiry, and nobody is excused.
    """

    kind: ClassVar[str] = "redis_evicting"
    summary: ClassVar[str] = "Redis's memory is used up and its policy (`policy`) lets it delete keys: evicted_keys > 0"
    drawn: ClassVar[NotDrawn] = NotDrawn("it takes away what Redis acknowledged, and all else is judged by that")
    policy: Annotated[str, Choice(POLICIES)] = "allkeys-lru"
    short_kb: Annotated[int, Whole(1, 1_000_000)] = 16

    def settings(self) -> dict[str, str]:
        used = int(self.server.figures("memory")["used_memory"])
        return {"maxmemory-policy": self.policy, "maxmemory": str(max(1, used - self.short_kb * 1024))}

    def count(self) -> int:
        return int(self.server.figures("stats")["evicted_keys"])

    def prove(self) -> Evidence | None:
        evidence = super().prove()
        if evidence is None or not self.policy.startswith("allkeys"):
            return evidence
        return Evidence(f"{evidence.seen}: the set-up lost them, whoever relied on them", forgot_since_ns=0)

    def told(self, met: int) -> str:
        return f"{self.target} evicted {met} keys under {self.policy}"
