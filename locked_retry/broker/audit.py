"""The audit: every row is where its state says, every entry of an index has a row, and whoever waits will be woken.

Workers go on meanwhile, and no step holds Redis up. Indexes and locks are looked at by the script, some rows at a time.
Lists are read here, once and in slices, however many rows should be in them; what was not found in its list is looked
at by the script again, which knows whether it has moved since. That takes about 300 B of memory here for each row that
is queued or parked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

from redis.exceptions import ResponseError

from locked_retry.broker.turns import Keys, RowState, text_of, wire

#: Rows per script call: Redis serves nobody else meanwhile.
CHUNK = 100
#: Messages per look at a list.
SLICE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the audit found wrong."""

    row: str
    problem: str


def chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """So many at a time as one script call takes."""
    iterator = iter(values)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


@dataclass(frozen=True)
class Audit:
    """`check` runs audit.lua: pairs of a row and the fence under which it was missed, or "" to look at its indexes."""

    redis: Any
    keys: Keys
    check: Callable[[list[str | bytes]], Iterable[tuple[bytes, bytes]]]
    #: By list, by what should be in it: row and fence.
    _sought: dict[bytes, dict[bytes, tuple[str, bytes]]] = field(default_factory=dict)

    def run(self) -> list[Finding]:
        """All that is wrong."""
        found: list[Finding] = []
        for chunk in chunks(self._names()):
            found += self._ask(dict.fromkeys(chunk, b""))
            self._note(chunk)
        for name, values in self._sought.items():
            self._strike(name, values)
            missed = dict(values.values())
            for chunk in chunks(missed):
                found += self._ask({row: missed[row] for row in chunk})
        return found

    def _ask(self, rows: dict[str, bytes]) -> Iterator[Finding]:
        wrong = self.check([word for row, fence in rows.items() for word in (wire(row), fence)])
        return (Finding(text_of(row), text_of(problem)) for row, problem in wrong)

    def _note(self, rows: list[str]) -> None:
        """Which lists these rows should be in."""
        pipe = self.redis.pipeline(transaction=False)
        for row in rows:
            pipe.hmget(wire(self.keys.row(row)), "st", "q", "msg", "lk", "f")
        for row, values in zip(rows, pipe.execute(raise_on_error=False), strict=True):
            if isinstance(values, ResponseError):
                continue  # the script has seen that it is no row
            state, queue, message, lock, fence = values
            if state == RowState.QUEUED:
                self._seek(queue or b"", message or b"", row, fence)
            elif state == RowState.PARKED:
                self._seek(self.keys.wait("").encode() + (lock or b""), _bytes(row), row, fence)

    def _seek(self, name: bytes, value: bytes, row: str, fence: bytes | None) -> None:
        self._sought.setdefault(name, {})[_digest(value)] = (row, fence or b"-")

    def _strike(self, name: bytes, values: dict[bytes, tuple[str, bytes]]) -> None:
        """What is in the list is no longer sought.

        Read from the end where messages arrive: new ones move the others to where they are still to be read.
        """
        begin = 0
        while values:
            try:
                slice_ = self.redis.lrange(name, begin, begin + SLICE - 1)
            except ResponseError:
                return  # no list: none of them is in it
            if not slice_:
                return
            for value in slice_:
                values.pop(_digest(value), None)
            begin += SLICE

    def _names(self) -> Iterator[str]:
        """All rows, and what is in an index without one."""
        prefix = self.keys.row("")
        for key in self.redis.scan_iter(match=f"{prefix}*", count=1000):
            yield text_of(key)[len(prefix) :]
        for index in ("lease", "delay", "dead"):
            members = (text_of(row) for row, _ in self.redis.zscan_iter(f"{self.keys.prefix}{index}", count=1000))
            for chunk in chunks(members):
                pipe = self.redis.pipeline(transaction=False)
                for name in chunk:
                    pipe.exists(wire(self.keys.row(name)))
                yield from (name for name, there in zip(chunk, pipe.execute(), strict=True) if not there)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).digest()
