"""Shows a run while it goes on: follows the run's event file, whichever processes write to it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import BinaryIO

from harness import events, run
from harness.errors import UsageError
from harness.history_io import EVENTS
from harness.report import write_all
from harness.report.terminal import Terminal

_POLL_S = 0.1
#: pytest's exit codes that no verdict explains: interrupted, internal error, usage error.
_PYTEST_INTERRUPTED, _PYTEST_INTERNAL, _PYTEST_USAGE, _PYTEST_NOTHING = 2, 3, 4, 5


class Watch:
    """Follows an event file in a thread and shows it on the terminal."""

    def __init__(self, stream: Path, *, verbose: bool) -> None:
        self._stream = stream
        self._terminal = Terminal(sys.stdout, verbose=verbose)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Show what is left and end. Idempotent."""
        self._stop.set()
        self._thread.join(5.0)

    def _follow(self) -> None:
        with self._stream.open("rb") as lines:
            while not self._stop.is_set():
                if not self._drain(lines):
                    self._terminal.tick()
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

    def conclude(self, folder: Path, status: int) -> int:
        """Print the summary of the run and return the exit code. `status` is pytest's."""
        started = any(isinstance(e, events.CaseStarted) for e in events.read(self._stream))
        words = _last_words(folder)
        if status == _PYTEST_USAGE or (words and not started and status not in (0, _PYTEST_NOTHING)):
            run.discard(folder)
            raise UsageError(words or "pytest could not use these arguments")
        if status == _PYTEST_NOTHING:
            run.discard(folder)
            raise UsageError("no case matches: widen -k, take a deeper --profile, or name other suites")
        if status in (_PYTEST_INTERRUPTED, _PYTEST_INTERNAL):
            self._interrupted(folder, status)
        result = write_all(folder)
        self._terminal.summary(result, folder / "report.html")
        return int(result.exit_code)

    def _interrupted(self, folder: Path, status: int) -> None:
        stream = events.Log(folder / EVENTS)
        if status == _PYTEST_INTERNAL:
            stream.emit(events.Problem(text=f"pytest failed internally: {_last_words(folder)}"))
        stream.emit(events.RunEnded(wall_s=0.0, interrupted=True))
        stream.close()
        run.link_latest(folder)


def _last_words(folder: Path) -> str:
    """The last error line of pytest's own output."""
    try:
        lines = (folder / "logs" / "pytest.log").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if line.startswith(("ERROR:", "E  ", "UsageError"))]
    return errors[-1].removeprefix("ERROR:").removeprefix("E ").strip() if errors else ""
