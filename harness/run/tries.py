"""Runs of one plan, again and again: each is `taskchaos replay` in a process of its own, several side by side.

Nothing is run here that the user could not run again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.report import json_file
from taskchaos.harness.stack.child_process import die_with_parent

#: Where the runs are, below the folder of who makes them.
TRIES = "tries"
_POLL_S = 0.05
#: How long a run that is told to end gets to heal and to write.
_END_S = 30.0


@dataclass(slots=True)
class Tries:
    """The runs that go on. parallel: so many at once."""

    parallel: int
    _running: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, plan: Path | str, outs: Sequence[Path], subject: str | None = None) -> Iterator[Path | None]:
        """Run a stored plan once into each folder: yields those that have ended, and None again and again between them.

        subject: as for `replay`. What still runs when the caller stops asking goes on until `end`.
        """
        waiting = list(outs)
        while waiting or self._running:
            while waiting and len(self._running) < self.parallel:
                self._start(plan, waiting.pop(0), subject)
            for out in [out for out, process in self._running.items() if process.poll() is not None]:
                del self._running[out]
                yield out
            yield None
            time.sleep(_POLL_S)

    def _start(self, plan: Path | str, out: Path, subject: str | None) -> None:
        more = ["--subject", subject] if subject else []
        words = ["-P", "-m", "taskchaos.harness.start", "replay", str(plan), "--out", str(out), *more]
        with out.with_name(f"{out.name}.log").open("wb") as log:
            self._running[out] = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,  # the user's Ctrl-C is for us: we tell them
            )

    def end(self) -> None:
        """End what still runs: politely, so that it heals, and then for good."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + _END_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def result_of(out: Path) -> CaseResult | None:
    """What the case of such a run came to; None when that cannot be read."""
    try:
        cases = json_file.read(out / "verdict.json").cases
    except UsageError:
        return None
    return cases[0] if cases else None
