"""Dead letters and the audit: what was given up and why, and tools to look, requeue, purge and check."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from locked_retry.store import Keys, Script, call

#: Rows per script call: Redis serves nobody else meanwhile.
CHUNK = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was given up. `message` is the Celery message, as it was queued."""

    row: str
    task: str
    task_id: str
    reason: str
    died_at_ms: int
    attempts: int
    crashes: int
    queue: str
    message: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the audit found wrong."""

    row: str
    problem: str


def _chunks(values: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


@dataclass(frozen=True)
class Tools:
    """`redis` is a plain client (bytes in answers) on the broker's database; `keys` names the prefix in use."""

    redis: Any
    keys: Keys = field(default_factory=Keys)

    def _call(self, script: str, *arguments: Any) -> Any:
        indexes = self.keys.indexes()
        return call(self.redis, Script.load(script), [len(indexes), *indexes, self.keys.prefix, *arguments])

    def dead(self, newest_first: bool = True) -> Iterator[DeadLetter]:
        """All dead letters."""
        rows = self.redis.zrange(f"{self.keys.prefix}dead", 0, -1, desc=newest_first)
        for row in rows:
            letter = self.show(row.decode())
            if letter is not None:
                yield letter

    def show(self, row: str) -> DeadLetter | None:
        """One dead letter; None if there is none of that name."""
        found = {k.decode(): v.decode(errors="replace") for k, v in self.redis.hgetall(self.keys.row(row)).items()}
        if found.get("st") != "x":
            return None
        try:
            headers = json.loads(found["msg"])["headers"]
        except (ValueError, KeyError, TypeError):
            headers = {}
        return DeadLetter(
            row=row,
            task=str(headers.get("task", "?")),
            task_id=str(headers.get("id", "?")),
            reason=found.get("err", ""),
            died_at_ms=int(found.get("at", 0)),
            attempts=int(found.get("a", 0)) + 1,
            crashes=int(found.get("c", 0)),
            queue=found.get("q", ""),
            message=found.get("msg", ""),
        )

    def requeue(self, rows: Iterable[str]) -> list[str]:
        """Back to the front of their queues, retries counted from 0 again. Returns those that went."""
        moved: list[str] = []
        for chunk in _chunks(rows):
            letters = [letter for row in chunk if (letter := self.show(row)) is not None]
            pairs = [part for letter in letters for part in (letter.row, _fresh(letter))]
            moved += [row.decode() for row in self._call("requeue", *pairs)]
        return moved

    def purge(self, rows: Iterable[str]) -> list[str]:
        """Delete for good. Returns those that were deleted."""
        return [row.decode() for chunk in _chunks(rows) for row in self._call("purge", *chunk)]

    def audit(self, repair: bool = False) -> list[Finding]:
        """Cross-check every state row and index entry, chunk by chunk while workers go on; repair if told to."""
        found = []
        for chunk in _chunks(self._names()):
            found += [Finding(r.decode(), p.decode()) for r, p in self._call("audit", "1" if repair else "0", *chunk)]
        return found

    def _names(self) -> Iterator[str]:
        prefix = self.keys.row("")
        for key in self.redis.scan_iter(match=f"{prefix}*", count=1000):
            yield key.decode()[len(prefix) :]
        for index in ("lease", "delay", "dead"):
            for row, _ in self.redis.zscan_iter(f"{self.keys.prefix}{index}"):
                if not self.redis.exists(self.keys.row(row.decode())):
                    yield row.decode()

    def stats(self) -> dict[str, int]:
        """Counters since the beginning, and what there is now."""
        counted = {k.decode(): int(v) for k, v in self.redis.hgetall(f"{self.keys.prefix}stats").items()}
        now = {f"now_{name}": int(self.redis.zcard(f"{self.keys.prefix}{name}")) for name in ("lease", "delay", "dead")}
        return {**counted, **now}


def _fresh(letter: DeadLetter) -> str:
    """The message with its retries counted from 0, still naming its row."""
    try:
        payload = json.loads(letter.message)
        headers = payload["headers"]
        nesting = int(headers.get("replaced_task_nesting") or 0)
        headers.update(retries=0, eta=None, lr=f"0~{nesting}~{letter.row}")
    except (ValueError, KeyError, TypeError):
        return letter.message  # never was a Celery message: it goes back as it came
    return json.dumps(payload)
