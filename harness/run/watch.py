"""Shows a run while it goes on: follows the run's event file, whichever processes write to it."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from taskchaos.harness.record import events
from taskchaos.harness.record.layout import STOP
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.verbosity import Verbosity

_POLL_S = 0.1


class RunWatch:
    """Follows an event file in a thread and shows it on the terminal."""

    def __init__(self, stream: Path, *, verbosity: Verbosity) -> None:
        self._stream = stream
        self._terminal = Terminal(sys.stdout, verbosity=verbosity)
        self._stop = threading.Event()
        self._resumed = threading.Event()  # after Ctrl-Z and fg: the shell has written below what stands there
        self._before: Any = None
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to follow. Has to be called from the main thread."""
        self._before = signal.signal(signal.SIGCONT, lambda *_: self._resumed.set())
        self._thread.start()

    def stop(self) -> None:
        """Show what is left, take the live area away, and end. Idempotent."""
        self._stop.set()
        self._thread.join(5.0)
        self._terminal.close()
        if self._before is not None:
            signal.signal(signal.SIGCONT, self._before)
            self._before = None

    def summary(self, result: RunResult, report: Path | None) -> None:
        """Print what stands at the end of a run."""
        self._terminal.summary(result, report)

    def _follow(self) -> None:
        with self._stream.open("rb") as lines:
            while not self._stop.is_set():
                if self._resumed.is_set():
                    self._resumed.clear()
                    self._terminal.redraw()
                if not self._drain(lines):
                    self._terminal.tick(ending=self._stream.with_name(STOP).exists())
                    self._stop.wait(_POLL_S)
            self._drain(lines)

    def _drain(self, lines: BinaryIO) -> bool:
        """Show the whole lines there are; False when there are none."""
        seen = False
        while True:
            place = lines.tell()
            line = lines.readline()
            if not line.endswith(b"\n"):
                lines.seek(place)  # half a line: the rest is still to be written
                return seen
            seen = True
            event = events.from_line(line)
            if event is not None:
                self._terminal.handle(event)
