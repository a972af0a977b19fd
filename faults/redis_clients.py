"""Redis and its clients: they are paused, cut off one and all, find no place, or are cut for what they are sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import HARNESS, Server, ServerConnection
from taskchaos.faults.bounds import Choice, Whole
from taskchaos.faults.draw import NotDrawn
from taskchaos.faults.redis_answers import AnswerFault, SettingFault, setting
from taskchaos.faults.redis_repeated import RepeatedFault

#: Longer than any fault is held.
_FOR_EVER_MS = 3_600_000
#: What may wait for an answer by itself.
_BLOCKING = re.compile("b[lrz].*|xread.*|wait.*")
_MONITORED = re.compile(rb"^\d+\.\d+ \[")


class Aside:
    """A connection that a pause of all clients leaves alone, because it has sent MONITOR: Redis takes it for a replica.

    It may ask what touches no key. Everything raises FaultError.
    """

    def __init__(self, server: Server) -> None:
        self._connection = server.connect()
        self.ask("MONITOR")

    def ask(self, *words: str | int) -> Any:
        """The answer to a command; what was monitored meanwhile is left out."""
        self._connection.send(*words)
        while isinstance(answer := self._connection.read(), bytes) and _MONITORED.match(answer):
            pass
        return answer

    def close(self) -> None:
        self._connection.close()


def client_rows(listed: Any) -> Iterator[dict[str, str]]:
    """The lines of CLIENT LIST, each by field, without the harness's own."""
    text = listed.decode(errors="replace") if isinstance(listed, bytes) else str(listed)
    for line in text.splitlines():
        row = dict(pair.partition("=")[::2] for pair in line.split())
        if row and not row.get("name", "").startswith(HARNESS):
            yield row


@dataclass
class RedisClientPause(AnswerFault):
    """CLIENT PAUSE: Redis keeps clients waiting and drops nothing; managed services do it at a planned failover.

    mode: write (what changes something waits), all (every command does). Keys expire meanwhile all the same.
    """

    kind: ClassVar[str] = "redis_client_pause"
    summary: ClassVar[str] = "CLIENT PAUSE: Redis lets writes (`mode`: write, all) wait until it is healed"
    mode: Annotated[str, Choice(("write", "all"))] = "write"
    _aside: Aside | None = field(default=None, init=False)

    def way_back(self) -> str:
        return "CLIENT UNPAUSE (not answered while all are paused: then restart it)"

    def begin(self) -> None:
        if self.mode == "all":
            self._aside = Aside(self.server)
        self._ask("CLIENT", "PAUSE", _FOR_EVER_MS, self.mode.upper())

    def _ask(self, *words: str | int) -> Any:
        return self._aside.ask(*words) if self._aside else self.server.ask(*words)

    def there(self) -> bool:
        """As the server says; before Redis 7.2 it does not, and it shows by who waits."""
        if self._before is None:
            return False
        said = self._ask("INFO", "clients")
        text = said.decode() if isinstance(said, bytes) else str(said)
        if "paused_actions" in text:
            return re.search(rf"paused_actions\W+{self.mode}\b", text) is not None
        return self._waiting() > 0

    def count(self) -> int:
        return 0 if self._before is None else self._waiting()

    def _waiting(self) -> int:
        """How many clients wait in a command that never waits by itself."""
        rows = client_rows(self._ask("CLIENT", "LIST"))
        return sum("b" in row["flags"] and not _BLOCKING.fullmatch(row["cmd"]) for row in rows)

    def told(self, met: int) -> str:
        return f"{self.target} keeps {met} clients waiting (CLIENT PAUSE {self.mode.upper()})"

    def end(self) -> None:
        self._ask("CLIENT", "UNPAUSE")
        if self._aside:
            self._aside.close()
            self._aside = None


@dataclass
class RedisClientKill(RepeatedFault):
    """CLIENT KILL of all clients of a type (normal, pubsub), again and again. The harness's own are left alone."""

    kind: ClassVar[str] = "redis_client_kill"
    summary: ClassVar[str] = "CLIENT KILL of all clients of a type (`type`: normal, pubsub), each `every_ms`"
    command: ClassVar[str] = "client|kill"
    type: Annotated[str, Choice(("normal", "pubsub"))] = "normal"
    _killed: int = field(default=0, init=False)

    def act(self, server: Server) -> None:
        for row in client_rows(server.ask("CLIENT", "LIST", "TYPE", self.type)):
            self._killed += int(server.ask("CLIENT", "KILL", "ID", row["id"]))

    def count(self) -> int:
        return self._killed

    def told(self, met: int) -> str:
        return f"{self.target} killed {met} connections of type {self.type}"

    def missing(self) -> str:
        return f"nobody has a connection of type {self.type}" if self._seen else super().missing()


@dataclass
class RedisClientsFull(SettingFault):
    """All places are taken (`maxclients`), and whoever is connected has to connect again: after a deployment, a leak.

    places: how many of them are taken by connections of ours, which do nothing. The others are killed at the injection.
    """

    kind: ClassVar[str] = "redis_clients_full"
    summary: ClassVar[str] = "maxclients is reached by `places` idle connections, everybody else is killed and refused"
    places: Annotated[int, Whole(1, 1000)] = 16
    _fillers: list[ServerConnection] = field(default_factory=list, init=False)

    def settings(self) -> dict[str, str]:
        return {"maxclients": str(self.places)}

    def begin(self) -> None:
        self._fillers = [self.server.connect() for _ in range(self.places)]
        super().begin()
        for row in client_rows(self.server.ask("CLIENT", "LIST", "TYPE", "normal")):
            self.server.ask("CLIENT", "KILL", "ID", row["id"])

    def count(self) -> int:
        return int(self.server.figures("stats")["rejected_connections"])

    def told(self, met: int) -> str:
        return f"{self.target} rejected {met} connections, all places taken"

    def end(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        super().end()


@dataclass
class RedisOutputLimit(SettingFault):
    """`client-output-buffer-limit` so small that a client is cut for what it asked: large messages, a slow subscriber.

    A cut is counted where the server has the figure for it (Redis 7.2, Valkey 8); before, a connection that was there
    at the injection and is gone counts.
    """

    kind: ClassVar[str] = "redis_output_limit"
    summary: ClassVar[str] = "Redis cuts clients whose answers are larger than `limit_kb` (client-output-buffer-limit)"
    drawn: ClassVar[NotDrawn] = NotDrawn("it needs answers that are larger than its limit")
    limit_kb: Annotated[int, Whole(1, 10_000)] = 32
    _there: frozenset[str] = field(default=frozenset(), init=False)

    def settings(self) -> dict[str, str]:
        limit = self.limit_kb * 1024
        found = {"client-output-buffer-limit": f"normal {limit} 0 0 pubsub {limit} 0 0"}
        if setting(self.server, "min-string-size-avoid-copy-reply"):  # Valkey 9 counts only what it copies
            found["min-string-size-avoid-copy-reply"] = "0"
        return found

    def begin(self) -> None:
        self._there = self._connected()
        super().begin()

    def _connected(self) -> frozenset[str]:
        return frozenset(row["addr"] for row in client_rows(self.server.ask("CLIENT", "LIST")))

    def count(self) -> int:
        counted = self.server.figures("stats").get("client_output_buffer_limit_disconnections")
        return len(self._there - self._connected()) if counted is None else int(counted)

    def told(self, met: int) -> str:
        return f"{self.target} cut {met} connections for answers of more than {self.limit_kb} kB"
