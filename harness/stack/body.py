"""The body of the task: it stands for the user's work, fails as its operation says, and records what it did."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskchaos.harness.clock import now_ns
from taskchaos.harness.files import read_file
from taskchaos.harness.record import alarm
from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.workload import OUTAGE, PermanentError, TransientError

#: In the folder of marks: `<operation>.pardoned` makes its body succeed, whatever the plan says.
PARDONED = "pardoned"


class Body:
    """What a task does: works, fails as its operation says, and records attempt, effect and end in the ledger.

    The number of failures so far is kept in files (`O_EXCL` creates one per failure), not in the message and not in
    Redis: it has to be true whatever the subject does with its retries.
    """

    def __init__(self, ledger: Ledger, marks: Path) -> None:
        self._ledger = ledger
        self._marks = marks
        self._outage: tuple[int, int] | None = None

    def __call__(self, payload: Mapping[str, Any], fence: int | None = None) -> int:
        """Execute once. Raises TransientError or PermanentError as the operation demands; returns its number.

        Of a poison operation it does not return.

        fence: the fencing token that this execution would show to a resource, for subjects that have one.
        """
        number = int(payload["op"])
        token = self._ledger.begin(number, fence)
        outcome = AttemptOutcome.INTERRUPTED
        try:
            if payload["work_ms"]:
                time.sleep(payload["work_ms"] / 1000)
            doomed = payload["permanent"] or payload["poison"] or payload["failures"] or payload["dependent"]
            pardoned = doomed and self._is_pardoned(number)
            if payload["poison"] and not pardoned:
                self._end_process(number, token)
            if payload["permanent"] and not pardoned:
                outcome = AttemptOutcome.PERMANENT
                raise PermanentError(f"task {number} fails every time")
            if not pardoned and payload["dependent"] and self._is_down(now_ns()):
                outcome = AttemptOutcome.TRANSIENT
                raise TransientError(f"task {number} cannot reach what it depends on")
            if not pardoned and self._has_to_fail(number, payload["failures"]):
                outcome = AttemptOutcome.TRANSIENT
                raise TransientError(f"task {number} fails this time")
            self._ledger.effect(number, token)
            outcome = AttemptOutcome.OK
            return number
        finally:
            self._ledger.end(number, token, outcome)

    def _end_process(self, number: int, token: int) -> None:
        """What a segmentation fault or the kernel's OOM killer does, again and again. It is written down beforehand."""
        self._ledger.end(number, token, AttemptOutcome.CRASHED)
        os.kill(os.getpid(), signal.SIGKILL)
        alarm.sound(self._ledger.folder, f"the body of task {number} was to end its process, and could not")

    def _is_down(self, at_ns: int) -> bool:
        """Whether the dependency is down. When that is was written before the load began, and is read once."""
        if self._outage is None:
            try:
                from_ns, until_ns = json.loads(read_file(self._marks / OUTAGE))
            except (OSError, ValueError) as error:
                alarm.sound(self._ledger.folder, f"a body could not read when its dependency is down: {error}")
                return False
            self._outage = from_ns, until_ns
        return self._outage[0] <= at_ns < self._outage[1]

    def _has_to_fail(self, number: int, failures: int) -> bool:
        for failure in range(failures):
            try:
                os.close(os.open(self._marks / f"{number}.{failure}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            except OSError as error:  # not the subject's fault, so not an error that its code meets
                alarm.sound(self._ledger.folder, f"a body could not write its mark: {error.strerror}")
            return True
        return False

    def _is_pardoned(self, number: int) -> bool:
        return (self._marks / f"{number}.{PARDONED}").exists()


def take_down(marks: Path, from_ns: int, until_ns: int) -> None:
    """What the tasks depend on is down between these times. To be said before the load begins. Raises OSError."""
    fresh = marks / f"{OUTAGE}.new"
    fresh.write_text(json.dumps([from_ns, until_ns]), encoding="utf-8")
    fresh.replace(marks / OUTAGE)


def pardon(marks: Path, number: int) -> None:
    """From now on the operation's body succeeds. Raises OSError."""
    (marks / f"{number}.{PARDONED}").touch()
