"""What pytest knows and no case does, put into the event stream: what failed, was skipped or could not be collected.

pytest's reports are the only place where a failed assertion after a verdict, a broken import or a crashed test worker
shows. Test workers (xdist) mark the reports, the controller writes the events: once each, in the order of the reports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import taskchaos.faults
import taskchaos.harness
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.conduct.conductor import conducting
from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.pytest.keys import NOTE, Inconclusive, NeverCalled, NoVerdict, TimeIsUp, Unexpected, is_case
from taskchaos.harness.pytest.selection import name_of, nodeid_of
from taskchaos.harness.record import events
from taskchaos.harness.record.events import Event
from taskchaos.harness.record.layout import EVENTS, PLAN, STOP
from taskchaos.harness.record.manifest import seal_run
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.report import write_all
from taskchaos.harness.report.run import collect
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.notes import noted_call
from taskchaos.harness.stack.zygote_client import stop_zygote

#: Raised by `chaos` itself: the verdict is in the stream already.
_VERDICTS = (Inconclusive, NoVerdict, Unexpected)
_LONGEST = 500
#: Where the checks of values are that a test gives.
_OURS = (Path(taskchaos.harness.__file__).parent, Path(taskchaos.faults.__file__).parent, Path(dataclasses.__file__))
#: What xdist says of a test worker that is gone.
_CRASHED = re.compile(r"worker '(\w+)' crashed")
_ERROR = re.compile(r"[\w.]*(Error|Exception|Warning|Exit|Interrupt)\b")


def mark(report: pytest.TestReport, item: pytest.Item, chaos: Chaos | None, error: BaseException | None) -> None:
    """Put the case of a test, and what its failure means, on its report. chaos: None if it was never made."""
    case = name_of(item) if is_case(item) else ""
    note: dict[str, Any] = {"case": case, "called": bool(chaos and chaos.called), "test": nodeid_of(item)}
    if error is not None:
        note |= {
            "failed": not isinstance(error, pytest.skip.Exception | pytest.xfail.Exception),
            "verdict": isinstance(error, _VERDICTS),
            "time_is_up": isinstance(error, TimeIsUp),
            "assertion": isinstance(error, AssertionError | pytest.fail.Exception),
            "reason": _reason(error),
        }
    setattr(report, NOTE, note)


def never_called(chaos: Chaos) -> None:
    """Raise NeverCalled when a test has passed without running its case."""
    __tracebackhide__ = True
    if not chaos.called:
        raise NeverCalled("chaos was never called: call it with a workload, or do not ask for it")


def _reason(error: BaseException) -> str:
    """An exception in one line, with the place in the test where it came up."""
    text = " ".join(str(error).split())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "_pytest" not in f.filename]
    if isinstance(error, ValueError):  # that we refuse is told by the line that asked for it
        frames = [f for f in frames if not _is_ours(f.filename)] or frames
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    kind = type(error).__name__
    return f"{kind}: {text[:_LONGEST]} ({place})" if text else f"{kind} ({place})"


def _is_ours(file: str) -> bool:
    """Whether code is of taskchaos, or what makes its dataclasses."""
    return file.startswith("<") or any(map(Path(file).is_relative_to, _OURS))


@dataclass(slots=True)
class SessionRecord:
    """The controller's end: writes events, closes the run, and knows whether the user ended it.

    troubles: what could not be written down; then no verdict can be believed. closed: whether the run's end is written.
    """

    options: RunOptions
    troubles: list[str] = field(default_factory=list)
    interrupted: bool = False
    closed: bool = False
    _kept: list[Event] = field(default_factory=list)  # until it is clear that this is a run of ours
    _handlers: dict[signal.Signals, Any] = field(default_factory=dict)

    def keep(self, event: Event) -> None:
        """Write an event when the run is closed; nothing if it turns out to be none of ours."""
        self._kept.append(event)

    def emit(self, event: Event) -> None:
        """Write an event, now that it is known that this is a run of ours; otherwise keep it."""
        if not (self.options.folder / PLAN).is_file():
            self.keep(event)
            return
        try:
            events.append(run.open_run(self.options), event)
        except TaskchaosError as error:
            self.troubles.append(str(error))

    def collected(self, report: pytest.CollectReport) -> None:
        """A file or class could not be collected, or left itself out: then nobody knows which cases it has."""
        reason = f"skipped as a whole: {_skip_reason(report)}" if report.skipped else _last_error(report.longreprtext)
        self.keep(events.NotCollected(where=report.nodeid or "the tests", reason=reason))

    def logged(self, report: pytest.TestReport) -> None:
        """A test, or a part of one, has ended: well or not."""
        note: dict[str, Any] = getattr(report, NOTE, {})
        case = str(note.get("case", ""))
        # Not only what the report says: a hook of a conftest.py may have made it say something else.
        failed = report.failed or (bool(note.get("failed")) and not hasattr(report, "wasxfail"))
        if failed and not note.get("verdict"):
            reason = str(note.get("reason") or self._crash(report.longreprtext) or _last_error(report.longreprtext))
            when = report.when if report.when in ("setup", "call", "teardown") else "call"
            assertion = bool(note.get("assertion"))
            test = str(note.get("test", report.nodeid))
            self.emit(events.TestFailed(case=case, test=test, when=when, assertion=assertion, reason=reason))
        elif report.skipped and case and not note.get("called") and not hasattr(report, "wasxfail"):
            if note.get("time_is_up"):
                self.emit(events.CaseWithdrawn(case=case))
            else:
                self.emit(events.CaseLeftOut(case=case, reason=_skip_reason(report)))

    def _crash(self, text: str) -> str:
        """What of a subject a test worker was in when it ended, if that is what happened."""
        found = _CRASHED.search(text)
        what = noted_call(self.options.folder, found[1]) if found else ""
        return f"{what} has ended the process of the test, and {found[0]}" if found and what else ""

    def internal_error(self, text: str) -> None:
        """pytest, a plugin or a conftest.py raised where nothing may raise."""
        self.keep(events.Problem(text=f"pytest failed internally: {_last_error(text)}", stack=True))

    def cut_short(self, error: BaseException) -> None:
        """The session is ended before its end: by the user, who is known to be it, or by code that has no right to."""
        if not self.interrupted:
            self.keep(events.Problem(text=f"the run was ended by its own code: {_reason(error)}", doubt=True))

    def listen(self) -> None:
        """From now on SIGINT and SIGTERM are the user's wish to end: heal, judge, report. Idempotent."""
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Tell everybody who runs a case, the test workers too, who hear of no signal; outside a case end at once."""
        again, self.interrupted = self.interrupted, True
        with contextlib.suppress(OSError):
            (self.options.folder / STOP).touch()
        if again or not conducting():
            raise KeyboardInterrupt(signal.Signals(number).name)

    def go_on(self) -> None:
        """Raise KeyboardInterrupt if the user wished to end: raised in the wrong place, it may have been swallowed."""
        if self.interrupted:
            raise KeyboardInterrupt("the run is to end")

    def close(self, status: int, *, write: bool) -> RunResult | None:
        """End the run: its last events, its seal and, if `write`, its files. None if it cannot be read."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        stop_zygote()
        for event in self._kept:
            self.emit(event)
        wall_s = round((now_ns() - self.options.began_ns) / NS_PER_S, 2)
        self.emit(events.RunEnded(wall_s=wall_s, interrupted=self.interrupted, status=status))
        folder, self.closed = self.options.folder, True
        try:
            seal_run(folder)
            if write:
                run.link_latest(folder)
                return write_all(folder)
            return collect(events.read(folder / EVENTS))
        except OSError as error:
            self.troubles.append(f"{folder} cannot be written: {error.strerror}")
        except TaskchaosError as error:
            self.troubles.append(str(error))
        return None


def _last_error(text: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("E ").strip() for line in lines if line.startswith("E ")]
    named = [line for line in errors if _ERROR.match(line)]
    return (named[-1] if named else errors[0] if errors else lines[-1] if lines else "no reason was given")[:_LONGEST]


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped."""
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ") or "skipped"
