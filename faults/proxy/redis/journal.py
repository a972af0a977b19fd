"""The wire journal: one entry for each command, with its reply, in the order in which the requests arrived.

The newest entries are kept in memory; with a file, each is appended to it once its outcome is known, some 10
ms later. Values are never kept, only their checksums: a journal may be shown to others.
"""

import asyncio
import os
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from typing import TYPE_CHECKING

from taskchaos.faults.proxy.redis.commands import Parts, text

if TYPE_CHECKING:
    from taskchaos.faults.proxy.redis.capture import Captures
    from taskchaos.faults.proxy.redis.rules import CommandRule

KEPT_ENTRIES = 65_536
WRITE_S = 0.01
_SLICE_LINES = 64

PENDING = "pending"
OK = "ok"
_OK = '"ok"'
_CLOSING = '","script":null,"outcome":"ok","rule":null}\n'
NIL = "nil"
QUEUED = "queued"
SWALLOWED = "swallowed"  # by a rule: the request, or the reply
CUT = "cut"  # a rule closed the connection instead of an answer
NO_REPLY = "no reply"  # none came before the connection ended, or none was asked for


@dataclass(frozen=True, slots=True)
class Who:
    """A connection as entries name it. `name`: what CLIENT SETNAME said, else the first command after the handshake."""

    proxy: str
    number: int
    name: str
    members: str = field(init=False, repr=False, compare=False)  # of the JSON of its entries

    def __post_init__(self) -> None:
        members = f'"proxy":{quote(self.proxy)},"connection":{self.number},"name":{quote(self.name)}'
        object.__setattr__(self, "members", members)


@lru_cache(maxsize=4096)
def _quoted(data: bytes) -> str:
    """A command or a key as JSON; most come again and again."""
    return quote(text(data))


@lru_cache(maxsize=1024)
def _opening(command: bytes) -> tuple[str, str]:
    """What stands before the key, and between the key and its repetition, in the entry of a command with one key."""
    name = _quoted(command)
    return f'{name},"keys":[', f'],"skeleton":{name[:-1]} '


class Exchange:
    """One command and its reply. The journal keeps it; while it is outstanding, the connection's queue does as well.

    `index` counts the commands of all followed connections of the server. Times are CLOCK_MONOTONIC ns; 0 is none.
    There is one for every command: what most of them do not need is set on the class, and on few instances only.
    """

    reply_ns = 0
    outcome = PENDING
    rule = ""  # the name of the one that fired
    script = ""
    parts: Parts = ()
    size = 1  # arguments with the command itself
    replies = 1  # that the server will give
    instead: bytes | None = None  # the reply that the proxy gives, for a command that is not passed on
    action: "CommandRule | None" = None  # what is to happen to the reply
    discarded = False  # the server gets DISCARD in place of this EXEC
    journaled = False
    captured: tuple[str, ...] = ()  # what the rule that takes it was to look for
    about: "Captures | None" = None  # kept only if it finds something
    sent: tuple[str, ...] = ()  # what it found in the command, and in the reply
    given: tuple[str, ...] = ()

    def __init__(self, index: int, who: Who, command: bytes, request_ns: int) -> None:
        self.index = index
        self.who = who
        self.command = command
        self.request_ns = request_ns

    def line(self) -> str:
        """The entry as one line of JSON."""
        parts, command = self.parts, _quoted(self.command)
        if self.script:
            keys = ",".join([_quoted(key) for key in self.keys()])
        else:
            keys = ",".join([_quoted(part) for part in parts if isinstance(part, bytes)])
        words = "".join([f" #{part:08x}" if isinstance(part, int) else f" {_quoted(part)[1:-1]}" for part in parts])
        if self.size - 1 > len(parts):
            words += f" +{self.size - 1 - len(parts)}"
        return (
            f'{{"index":{self.index},{self.who.members},"request_ns":{self.request_ns},'
            f'"reply_ns":{self.reply_ns or "null"},"command":{command},"keys":[{keys}],'
            f'"skeleton":"{command[1:-1]}{words}","script":{quote(self.script) if self.script else "null"},'
            f'"outcome":{_OK if self.outcome is OK else quote(self.outcome)},'
            f'"rule":{quote(self.rule) if self.rule else "null"}{self._found()}}}\n'
        )

    def _found(self) -> str:
        """The members of an entry of a journal that is about something."""
        if self.about is None:
            return ""
        return "".join(
            f',"{name}":[{",".join(map(quote, found))}]' for name, found in (("sent", self.sent), ("given", self.given))
        )

    def keys(self) -> list[bytes]:
        """The keys; of a script call without its sha and the number of keys."""
        shown = [part for part in self.parts if isinstance(part, bytes)]
        if not self.script:
            return shown
        return shown[1:] if self.command.startswith(b"EVAL") and not self.command.startswith(b"EVALSHA") else shown[2:]


def lines_of(exchanges: Iterable[Exchange]) -> str:
    """The same as the `line` of each, several times as fast for the commonest: an ok, and values behind one key."""
    lines: list[str] = []
    middle, last_who, request_ns, reply_ns = "", None, -1, -1
    for exchange in exchanges:
        key, values = b"", ""
        if (
            exchange.outcome is OK
            and exchange.size <= len(exchange.parts) + 1
            and not exchange.rule
            and not exchange.script
            and exchange.about is None
        ):
            match exchange.parts:
                case (bytes(key), int(value)):
                    values = f" #{value:08x}"
                case (bytes(key), int(value), int(second)):
                    values = f" #{value:08x} #{second:08x}"
                case (bytes(key),):
                    pass
        if not key or not exchange.reply_ns:
            lines.append(exchange.line())
            continue
        # The commands of a pipeline have the times in common.
        if exchange.reply_ns != reply_ns or exchange.request_ns != request_ns or exchange.who is not last_who:
            last_who, request_ns, reply_ns = exchange.who, exchange.request_ns, exchange.reply_ns
            middle = f'{last_who.members},"request_ns":{request_ns},"reply_ns":{reply_ns},"command":'
        before, between = _opening(exchange.command)
        quoted = _quoted(key)
        lines.append(f'{{"index":{exchange.index},{middle}{before}{quoted}{between}{quoted[1:-1]}{values}{_CLOSING}')
    return "".join(lines)


def outcome_of(reply: bytes) -> str:
    """The outcome that the start of a reply tells."""
    match reply[:1]:
        case b"-":
            words = reply[1:].split(None, 1)
            return text(words[0]) if words else "error"
        case b"!":
            return "error"
        case b"+" if reply.startswith(b"+QUEUED\r\n"):
            return QUEUED
        case b"_":
            return NIL
        case b"$" | b"*" if reply[1:2] == b"-":
            return NIL
    return OK


class Journal:
    """The entries of all proxies that keep a journal."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises OSError when the file cannot be opened for appending."""
        self._entries: deque[Exchange] = deque(maxlen=KEPT_ENTRIES)
        self._in_order = True
        self._done: deque[Exchange] = deque()
        self._writing: asyncio.TimerHandle | None = None
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @property
    def writes(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def begin(self, exchange: Exchange) -> None:
        """The request has arrived."""
        exchange.journaled = True
        self._entries.append(exchange)

    def begin_late(self, exchange: Exchange) -> None:
        """It is wanted for its reply, or for want of one: others may have arrived since its request."""
        self._in_order = False
        self.begin(exchange)

    def end(self, exchange: Exchange) -> None:
        """The outcome is known."""
        if self._file is None:
            return
        self._done.append(exchange)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(WRITE_S, self._write_some)

    def relieve(self) -> None:
        """Replies have just gone out and their client is busy with them: a good moment for the lines of a pipeline."""
        if len(self._done) >= _SLICE_LINES:
            self._write(2 * _SLICE_LINES)

    def _write_some(self) -> None:
        """A slice at a time, between the traffic: its clients are busy with the replies meanwhile."""
        self._writing = None
        self._write(max(_SLICE_LINES, len(self._done) // 16))
        if self._done:
            self._writing = asyncio.get_running_loop().call_later(WRITE_S, self._write_some)

    def _write(self, most: int) -> None:
        done = self._done
        data = lines_of([done.popleft() for _ in range(min(most, len(done)))]).encode()
        try:
            while data and self._file is not None:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            # A full disk must not stop the traffic; the entries in memory still tell.
            print(f"the journal ends here: {error.strerror}", file=sys.stderr)  # noqa: T201
            os.close(self._file or 0)
            self._file = None
            done.clear()

    def entries(self, since: int = 0, proxy: str = "") -> Iterator[Exchange]:
        """Those in memory from index `since` on, in order; of one proxy if it is named."""
        kept = list(self._entries)
        if not self._in_order:
            kept.sort(key=lambda entry: entry.index)
        first = bisect_left(kept, since, key=lambda entry: entry.index)
        for entry in kept[first:]:
            if not proxy or entry.who.proxy == proxy:
                yield entry

    def close(self) -> None:
        """Write to the file what is not there yet."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        self._write(len(self._done))
        if self._file is not None:
            os.close(self._file)
            self._file = None
