"""Dead letters: what was given up and why, and tools to look, requeue and purge; and to check all that there is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from celery import Celery

from locked_retry.broker.audit import Audit, Finding, chunks
from locked_retry.broker.rows import CANCELLED, generation, headline, number_in, rows_by_time
from locked_retry.broker.turns import Keys, RowState, Script, call, text_of, wire
from locked_retry.operator.application import connect
from locked_retry.text import message_text


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

    def call(self, script: str, *arguments: Any) -> Any:
        """Run a script of ours that takes no keys but the indexes."""
        indexes = self.keys.indexes()
        return call(self.redis, Script.load(script), [len(indexes), *indexes, self.keys.prefix, *arguments])

    def dead(
        self, newest_first: bool = True, task: str = "", older_than_s: float | None = None
    ) -> Iterator[DeadLetter]:
        """All dead letters; of one task if it is named, and of those that died longer ago."""
        newest = "+inf"
        if older_than_s is not None:
            seconds, micros = self.redis.time()
            newest = f"{(seconds - older_than_s) * 1000 + micros / 1000:.0f}"
        rows = rows_by_time(self.redis, f"{self.keys.prefix}dead", newest_first, newest)
        for letter in self.letters(row for row, _ in rows):
            if not task or letter.task == task:
                yield letter

    def show(self, row: str) -> DeadLetter | None:
        """One dead letter; None if there is none of that name."""
        return next(self.letters([row]), None)

    def letters(self, rows: Iterable[str]) -> Iterator[DeadLetter]:
        """Those of these rows that are dead letters."""
        for chunk in chunks(rows):
            pipe = self.redis.pipeline(transaction=False)
            for row in chunk:
                pipe.hgetall(wire(self.keys.row(row)))
            for row, found in zip(chunk, pipe.execute(), strict=True):
                if found.get(b"st") == RowState.BURIED:
                    yield _letter(row, found)

    def requeue(self, rows: Iterable[str]) -> list[str]:
        """Back to the front of their queues, retries counted from 0 again. Returns those that went."""
        moved: list[str] = []
        for chunk in chunks(rows):
            letters = list(self.letters(chunk))
            pairs = [part for letter in letters for part in (letter.row, _fresh(letter))]
            moved += map(text_of, self.call("requeue", *map(wire, pairs)))
        return moved

    def purge(self, rows: Iterable[str]) -> list[str]:
        """Delete for good. Returns those that were deleted."""
        return [text_of(row) for chunk in chunks(rows) for row in self.call("purge", *map(wire, chunk))]

    def audit(self, repair: bool = False) -> list[Finding]:
        """Cross-check every state row and index entry while workers go on (audit.py); repair if told to."""
        how = "1" if repair else "0"
        return Audit(self.redis, self.keys, lambda words: self.call("audit", how, *words)).run()


def _letter(row: str, found: dict[bytes, bytes]) -> DeadLetter:
    text = {text_of(name): text_of(value) for name, value in found.items()}
    task, task_id = headline(text.get("msg", ""))
    return DeadLetter(
        row=row,
        task=task,
        task_id=task_id,
        reason=text.get("err", ""),
        died_at_ms=number_in(text.get("at", "")),
        attempts=number_in(text.get("a", "")) + 1,
        crashes=number_in(text.get("c", "")),
        queue=text.get("q", ""),
        message=text.get("msg", ""),
    )


def _fresh(letter: DeadLetter) -> str:
    """The message with its retries counted from 0, still naming its row."""
    try:
        payload = json.loads(letter.message)
        headers = payload["headers"]
        headers.update(generation(headers, 0, letter.row), eta=None)
        headers.pop(CANCELLED, None)
    except (ValueError, KeyError, TypeError):
        return letter.message  # never was a Celery message: it goes back as it came
    return message_text(payload)
