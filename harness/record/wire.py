"""The wire record of a case: the Redis commands that carried its tasks, as the embedded proxy saw them.

It explains; no verdict rests on it. A line is one command with its reply: when, on whose link, which operations it
named and which its reply named. An operation is known by its task id, and by the delivery tag that its message has
(kombu acknowledges by that alone). What was asked and never answered is kept too: whatever Redis gave for an answer
went nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskchaos.harness.files import read_file
from taskchaos.harness.record.layout import WIRE

#: What the proxy looks for in commands and replies: task ids, and tags of deliveries.
PATTERNS = (r"op-(\d{1,18})", r"[0-9a-f-]{36}")
#: A journal keeps so many entries; of one that is full the oldest are gone.
MOST_ENTRIES = 65_536
#: Outcomes of which the client learned nothing.
UNHEARD = frozenset({"cut", "swallowed", "no reply", "pending"})
#: Of a command in a MULTI block: it is executed when its EXEC is.
QUEUED = "queued"
#: Commands that only ask: their replies show an operation, and give it to nobody.
_LISTS = ("LINDEX", "LLEN", "LPOS", "LRANGE", "XLEN", "XPENDING", "XRANGE", "XREVRANGE", "XINFO")
_SETS = ("SISMEMBER", "SMEMBERS", "SMISMEMBER", "SSCAN", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE")
_SORTED = ("ZRANK", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN", "ZSCORE", "ZMSCORE")
_HASHES = ("HEXISTS", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET", "HSCAN", "HVALS")
_OTHERS = ("EXISTS", "GET", "GETRANGE", "KEYS", "MGET", "PTTL", "SCAN", "STRLEN", "TTL", "TYPE")
_LISTENS = ("PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE", "MONITOR")
READS = frozenset({*_LISTS, *_SETS, *_SORTED, *_HASHES, *_OTHERS, *_LISTENS})
_TAG_LENGTH = 36
_SHA = re.compile("[0-9a-f]{40}")
#: Of a command or a key so much is told.
_SHOWN = 128
#: CLOCK_MONOTONIC, connections and operations are all below it.
_MOST = 1 << 63


@dataclass(frozen=True, slots=True)
class WireCommand:
    """One command on one link. at_ns, reply_ns: CLOCK_MONOTONIC, when the proxy read it and its reply (None: none).

    command: as people call it, a script by its name. sent, given: the operations that it, and its reply, named.
    outcome, connection (its number on its link), rule (that acted on it): as in the proxy's journal.
    """

    at_ns: int
    reply_ns: int | None
    link: str
    connection: int
    command: str
    key: str
    outcome: str
    rule: str
    sent: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def unheard(self) -> bool:
        """Whether the client learned nothing of what Redis answered, as far as the proxy knows."""
        return self.outcome in UNHEARD

    @property
    def failed(self) -> bool:
        """Whether it was answered with an error, or the client learned nothing."""
        return self.unheard or self.outcome.isupper() or self.outcome == "error"

    @property
    def reads(self) -> bool:
        """Whether it only asks."""
        return self.command in READS

    @property
    def scripted(self) -> bool:
        """Whether it is called by the name of a script, so that what it does is not known."""
        return not self.command.isupper()

    @property
    def came_ns(self) -> int:
        """When its reply came; where none did, when it was sent. One that waits for a message may wait for long."""
        return self.at_ns if self.reply_ns is None else self.reply_ns

    @property
    def text(self) -> str:
        """The command and its key. A script that has no name is called by the beginning of its SHA."""
        called = self.command[: 8 if _SHA.fullmatch(self.command) else _SHOWN]
        return f"{'script ' if self.scripted else ''}{called} {self.key[:_SHOWN]}".strip()


def record_of(entries: Sequence[Mapping[str, Any]]) -> list[WireCommand] | None:
    """The commands that carried operations; None where some are missing, since what is missing would seem not sent."""
    return list(commands_of(entries)) if len(entries) < MOST_ENTRIES else None


def commands_of(entries: Iterable[Mapping[str, Any]]) -> Iterator[WireCommand]:
    """The commands that carried operations, from the entries of a proxy's journal; and those without an answer."""
    kept = list(entries)
    known, blocks = _tags(kept), _blocks(kept)
    for entry in kept:
        sent, given = (_operations(entry[side], known) for side in ("sent", "given"))
        if not sent and not given and entry["outcome"] not in UNHEARD:
            continue
        keys, outcome = entry["keys"], entry["outcome"]
        if outcome == QUEUED:
            outcome = blocks.get((entry["proxy"], entry["connection"], entry["request_ns"]), QUEUED)
        yield WireCommand(
            at_ns=entry["request_ns"],
            reply_ns=entry["reply_ns"],
            link=entry["proxy"],
            connection=entry["connection"],
            command=entry["script"] or entry["command"],
            key=keys[0] if keys else "",
            outcome=outcome,
            rule=entry["rule"] or "",
            sent=sent,
            given=given,
        )


def _blocks(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int, int], str]:
    """What became of the blocks that were sent with their EXEC, and not answered."""
    ends = (entry for entry in entries if entry["command"] == "EXEC" and entry["outcome"] in UNHEARD)
    return {(entry["proxy"], entry["connection"], entry["request_ns"]): entry["outcome"] for entry in ends}


def _is_tag(found: str) -> bool:
    return len(found) == _TAG_LENGTH


def _tags(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Which operation a tag stands for: the only one that it was ever seen with, where one was seen alone."""
    seen: dict[str, set[int]] = {}
    for entry in entries:
        for side in ("sent", "given"):
            ops = [int(found) for found in entry[side] if not _is_tag(found)]
            if len(ops) == 1:
                for tag in filter(_is_tag, entry[side]):
                    seen.setdefault(tag, set()).add(ops[0])
    return {tag: next(iter(ops)) for tag, ops in seen.items() if len(ops) == 1}


def _operations(found: Iterable[str], tags: Mapping[str, int]) -> tuple[int, ...]:
    ops = (tags.get(each) if _is_tag(each) else int(each) for each in found)
    return tuple(sorted({op for op in ops if op is not None}))


def write(folder: Path, commands: Iterable[WireCommand]) -> None:
    """Into the folder of the case, a line each. What cannot be written whole is not there: it only explains."""
    lines = (
        json.dumps(
            [c.at_ns, c.reply_ns, c.link, c.connection, c.command, c.key, c.outcome, c.rule, c.sent, c.given],
            separators=(",", ":"),
        )
        for c in commands
    )
    path = folder / WIRE
    try:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read(folder: Path) -> tuple[WireCommand, ...] | None:
    """What is in the folder of a case, in order; None where there is none, or none that can be read to its end."""
    try:
        lines = read_file(folder / WIRE).splitlines()
        return tuple(sorted((_command(json.loads(line)) for line in lines), key=lambda command: command.at_ns))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _command(row: Any) -> WireCommand:
    at_ns, reply_ns, link, connection, command, key, outcome, rule, sent, given = row
    times = (at_ns, connection) if reply_ns is None else (at_ns, reply_ns, connection)
    for value in (link, command, key, outcome, rule):
        if not isinstance(value, str):
            raise TypeError("a text is none")
        value.encode()  # half a surrogate cannot be written again
    if not all(type(value) is int and 0 <= value < _MOST for value in (*times, *sent, *given)):
        raise TypeError("a number is none")
    return WireCommand(at_ns, reply_ns, link, connection, command, key, outcome, rule, tuple(sent), tuple(given))
