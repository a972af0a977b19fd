"""The lines that the processes of a case wrote into their logs, at their times in the case.

Logs tell the time of day, a history the monotonic clock; the case's first event has both. Celery and Redis tell local
time, containers that of UTC. What has no time of its own belongs to the line before it, and to none without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskchaos.harness.record import events
from taskchaos.harness.record.history import NEVER, FaultInterval
from taskchaos.harness.record.layout import EVENTS, LOGS

MAX_BYTES = 4_000_000  # of one file: its beginning and its end
MAX_CHARACTERS = 200
#: A line may be from so long before the case began, and no case is longer than this.
_BEFORE, _LONGEST = timedelta(minutes=-1), timedelta(hours=12)
_TIMES = (
    (re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}): ([A-Z]+/\S+)\] *(.*)"), "%Y-%m-%d %H:%M:%S,%f"),
    (re.compile(r"^\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([*#.-]) *(.*)"), "%d %b %Y %H:%M:%S.%f"),
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log `name`, at a time on the case's clock."""

    at_ns: int
    name: str
    text: str


def log_names(folder: Path) -> tuple[str, ...]:
    """The files of a case folder's logs that hold something."""
    try:
        return tuple(sorted(p.name for p in (folder / LOGS).iterdir() if p.is_file() and p.stat().st_size))
    except OSError:
        return ()


def read_logs(folder: Path, faults: tuple[FaultInterval, ...] = ()) -> tuple[LogLine, ...]:
    """The lines that have a time, in its order. None where the case does not tell what time of day it began.

    Roles whose clock a fault had set are left out: their times say nothing.
    """
    anchor = _anchor(folder)
    if anchor is None:
        return ()
    set_clocks = {fault.target for fault in faults if "clock" in fault.kind}
    found = [
        line for name in log_names(folder) if Path(name).stem not in set_clocks for line in _read(folder, name, *anchor)
    ]
    return tuple(sorted(found, key=lambda line: line.at_ns))


def _anchor(folder: Path) -> tuple[int, datetime] | None:
    """The moment at which the case started, on both clocks."""
    try:
        for event in events.read(folder / EVENTS):
            if isinstance(event, events.CaseStarted):
                return (event.at_ns, datetime.fromisoformat(event.wall)) if event.wall else None
    except (OSError, ValueError):
        pass
    return None


def _read(folder: Path, name: str, at_ns: int, began: datetime) -> Iterator[LogLine]:
    zones = began.replace(tzinfo=None), began.astimezone(UTC).replace(tzinfo=None)
    zone: datetime | None = None  # when the case began, in the file's own time
    for text in _text(folder / LOGS / name).splitlines():
        told = _told(text)
        if told is None:
            continue
        time, what = told
        if zone is None:  # a process writes its first line soon after it was started
            zone = min(zones, key=lambda each: abs(time - each))
        since = time - zone
        if _BEFORE < since < _LONGEST:
            yield LogLine(at_ns + since // timedelta(microseconds=1) * 1000, name, what[:MAX_CHARACTERS])


def _told(text: str) -> tuple[datetime, str] | None:
    """A line's time of day and what it says; None if it has none."""
    for pattern, layout in _TIMES:
        if found := pattern.match(text):
            level = found[2].partition("/")[0] if "/" in found[2] else ""
            try:
                return datetime.strptime(found[1], layout), f"{level} {found[3]}".strip()
            except ValueError:
                return None
    return None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(MAX_BYTES)
            rest = path.stat().st_size - len(head)
            if rest > 0:
                file.seek(max(len(head), path.stat().st_size - MAX_BYTES))
                head += b"\n" + file.read(MAX_BYTES)
    except OSError:
        return ""
    return head.decode("utf-8", "replace")


def around(lines: tuple[LogLine, ...], at_ns: int, within_ns: int, most: int) -> list[LogLine]:
    """Those nearest to a moment, at most so many and so far from it, in the order of time."""
    if at_ns == NEVER:
        return []
    near = [line for line in lines if abs(line.at_ns - at_ns) <= within_ns]
    near.sort(key=lambda line: abs(line.at_ns - at_ns))
    return sorted(near[:most], key=lambda line: line.at_ns)
