"""What all proxies of a server share: the order of commands, the journal, the events, script names, rule groups."""

import asyncio
import hashlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.redis.journal import Journal
from taskchaos.faults.proxy.redis.meeting import Meeting

KEPT_EVENTS = 10_000
_READER_LIMIT = 10_000  # events that a slow reader may be behind before it misses some
# `-- name: claim`, `-- claim.lua`, `-- claim: what it does`, or `-- claim` alone.
_NAMED = re.compile(rb"\A--+\s*(?:name\s*[:=]\s*)?(?!KEYS|ARGV)([A-Za-z_][\w.-]*?)(?:\.lua)?(?=:|[ \t\r]*(?:\n|\Z))")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened to the proxies. `facts` are the members that this kind of event has."""

    index: int
    time_ns: int
    kind: str
    facts: dict[str, Any]

    def line(self) -> bytes:
        members = {"index": self.index, "time_ns": self.time_ns, "event": self.kind, **self.facts}
        return gojson.encode(members) + b"\n"


@dataclass(slots=True)
class CommandTally:
    """Occurrences that have been counted, and how often the counting rule was due."""

    seen: int = 0
    due: int = 0


@dataclass(slots=True)
class Group:
    """Rules that count together, and whose commands meet."""

    tally: CommandTally = field(default_factory=CommandTally)
    meeting: Meeting = field(default_factory=Meeting)
    members: int = 0


class ServerState:
    """One for each server. All methods are synchronous except `follow`."""

    def __init__(self, journal_file: Path | None = None, *, journal_everything: bool = False) -> None:
        """Raises OSError when the journal's file cannot be opened."""
        self.journal_everything = journal_everything
        self.journal = Journal(journal_file)
        self.scripts: dict[str, str] = {}  # sha -> name
        self.index = 0  # of the last command, in the order of all followed commands
        self._events: deque[Notice] = deque(maxlen=KEPT_EVENTS)
        self._event_index = 0
        self._readers: set[asyncio.Queue[Notice | None]] = set()
        self._groups: dict[str, Group] = {}

    # Scripts.

    def learn(self, source: bytes) -> str:
        """The sha of a script. If its first line names it, and nobody named it before, the name is kept."""
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        if sha not in self.scripts:
            named = _NAMED.match(source)
            if named:
                self.scripts[sha] = named[1].decode()
        return sha

    # Groups of rules.

    def join(self, group: str) -> Group:
        """A group of rules, which exists as long as it has members."""
        entry = self._groups.setdefault(group, Group())
        entry.members += 1
        return entry

    def leave(self, group: str) -> None:
        entry = self._groups[group]
        entry.members -= 1
        if entry.members == 0:
            del self._groups[group]

    # Events.

    def publish(self, kind: str, **facts: Any) -> None:
        """Something has happened."""
        self._event_index += 1
        event = Notice(self._event_index, time.monotonic_ns(), kind, facts)
        self._events.append(event)
        for reader in self._readers:
            if reader.qsize() < _READER_LIMIT:
                reader.put_nowait(event)

    def events(self, since: int = 0) -> list[Notice]:
        """The kept events from index `since` on."""
        return [event for event in self._events if event.index >= since]

    async def follow(self, since: int | None) -> AsyncIterator[bytes]:
        """Lines of JSON: the kept events from `since` on (None: only new ones), then each new one, until
        the server ends."""
        queue: asyncio.Queue[Notice | None] = asyncio.Queue()
        for kept in self.events(since) if since is not None else []:
            queue.put_nowait(kept)
        self._readers.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event.line()
        finally:
            self._readers.discard(queue)

    def close(self) -> None:
        for reader in self._readers:
            reader.put_nowait(None)
        self.journal.close()
