"""Dead letters and the audit: what was given up and why, and tools to look, requeue, purge and check."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from celery import Celery

from locked_retry.broker import connect
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

    @classmethod
    @contextlib.contextmanager
    def of(cls, app: Celery) -> Iterator[Tools]:
        """On an application's broker. Raises as `broker.connect` does."""
        with connect(app) as broker:
            yield cls(broker.redis, broker.keys)

    def _call(self, script: str, *arguments: Any) -> Any:
        indexes = self.keys.indexes()
        return call(self.redis, Script.load(script), [len(indexes), *indexes, self.keys.prefix, *arguments])

    def dead(self, newest_first: bool = True, task: str = "") -> Iterator[DeadLetter]:
        """All dead letters, of one task if it is named."""
        rows = self.redis.zrange(f"{self.keys.prefix}dead", 0, -1, desc=newest_first)
        for letter in self.letters(row.decode() for row in rows):
            if not task or letter.task == task:
                yield letter

    def show(self, row: str) -> DeadLetter | None:
        """One dead letter; None if there is none of that name."""
        return next(self.letters([row]), None)

    def letters(self, rows: Iterable[str]) -> Iterator[DeadLetter]:
        """Those of these rows that are dead letters."""
        for chunk in _chunks(rows):
            pipe = self.redis.pipeline(transaction=False)
            for row in chunk:
                pipe.hgetall(self.keys.row(row))
            for row, found in zip(chunk, pipe.execute(), strict=True):
                if found.get(b"st") == b"x":
                    yield _letter(row, found)

    def requeue(self, rows: Iterable[str]) -> list[str]:
        """Back to the front of their queues, retries counted from 0 again. Returns those that went."""
        moved: list[str] = []
        for chunk in _chunks(rows):
            letters = list(self.letters(chunk))
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


def _letter(row: str, found: dict[bytes, bytes]) -> DeadLetter:
    text = {k.decode(): v.decode(errors="replace") for k, v in found.items()}
    try:
        headers = json.loads(text["msg"])["headers"]
        task, task_id = str(headers.get("task", "?")), str(headers.get("id", "?"))
    except (ValueError, KeyError, TypeError, AttributeError):
        task = task_id = "?"
    return DeadLetter(
        row=row,
        task=task,
        task_id=task_id,
        reason=text.get("err", ""),
        died_at_ms=int(text.get("at", 0)),
        attempts=int(text.get("a", 0)) + 1,
        crashes=int(text.get("c", 0)),
        queue=text.get("q", ""),
        message=text.get("msg", ""),
    )


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
