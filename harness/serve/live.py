"""How far a run is, for a page that asks every second: from its events, of which only the new ones are read."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskchaos.harness.clock import now_ns
from taskchaos.harness.files import open_file
from taskchaos.harness.record import events
from taskchaos.harness.record.events import CaseJudged
from taskchaos.harness.record.layout import EVENTS
from taskchaos.harness.report.phrases import MARKS, outcome_phrase, standing
from taskchaos.harness.report.progress import Progress

#: Of an event file so much is read for one answer.
_MOST_BYTES = 8 << 20


@dataclass(slots=True)
class LiveRun:
    """One run that is followed."""

    folder: Path
    progress: Progress = field(default_factory=Progress)
    cases: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id: standing, mark, phrase
    _place: int = 0
    _inode: int = 0
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def state(self) -> dict[str, Any]:
        """What the page shows, as JSON. Raises OSError when the events cannot be read."""
        with self._reading:
            self._read()
            at_ns = now_ns()
            return {
                "words": self.progress.words(at_ns),
                "share": round(self.progress.share(at_ns), 4),
                "running": list(self.progress.running.items()),
                "cases": [[name, *told] for name, told in self.cases.items()],
            }

    def _read(self) -> None:
        with open_file(self.folder / EVENTS) as stream:
            found = os.fstat(stream.fileno())
            if found.st_ino != self._inode or found.st_size < self._place:  # another run, under the same name
                self.progress, self.cases, self._place, self._inode = Progress(), {}, 0, found.st_ino
            stream.seek(self._place)
            data = stream.read(_MOST_BYTES)
        whole = data[: data.rfind(b"\n") + 1]  # half a line: the rest is still to be written
        if not whole and len(data) == _MOST_BYTES:
            whole = data  # no event is so long: the rest of it is none either
        self._place += len(whole)
        for line in whole.splitlines():
            event = events.from_line(line)
            if event is None:
                continue
            self.progress.handle(event)
            if isinstance(event, CaseJudged) and not self.progress.is_tried_again(event):
                kind = standing(event.result)
                self.cases[event.case] = kind.value, MARKS[kind], outcome_phrase(event.result)


class LiveRuns:
    """The runs that somebody follows."""

    def __init__(self) -> None:
        self._runs: dict[Path, LiveRun] = {}
        self._changing = threading.Lock()

    def of(self, folder: Path) -> LiveRun:
        """The run of a folder."""
        with self._changing:
            return self._runs.setdefault(folder, LiveRun(folder))
