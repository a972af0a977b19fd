"""Tasks that are sent to be run later (ETA, countdown), for longer than the visibility timeout or lease."""

from __future__ import annotations

from typing import Unpack

import pytest

from taskchaos.faults.schedule import Schedule
from taskchaos.harness.case.stack_options import StackChanges
from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import kills, phased

pytestmark = [pytest.mark.chaos(cost_s=12), pytest.mark.chaos_depth("default")]

#: Many at once: each second twenty more, of which a worker that fetches what is not due holds all.
RATE_TPS = 30
EVERY = 2
#: Longer than the visibility timeout or lease of 3 s.
LATER_MS = 4500


def _later(
    chaos: Chaos,
    schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
    phases: frozenset[PhaseName] = frozenset({PhaseName.BASELINE, PhaseName.HEALED}),
    **needs: Unpack[StackChanges],
) -> None:
    """Every other task is to be run later, every third fails once."""
    workload = phased(chaos.profile, RATE_TPS, failures=1, failing_every=3, eta_every=EVERY, eta_ms=LATER_MS)
    slo = Slo(target_tps=min(chaos.target_tps, 0.6 * RATE_TPS), phases=phases)
    chaos(workload, schedule, slo=slo, must_see=(Seen.RETRIED,), **needs)


def test_punctual(chaos: Chaos) -> None:
    """With a visibility timeout or lease that is longer than all this: none begins before its time, nor long after."""
    _later(chaos, visibility_timeout_s=UNDISTURBED_S)


def test_flood(chaos: Chaos) -> None:
    """Nothing goes wrong: none begins before its time, and none is forgotten."""
    _later(chaos)


def test_kill(chaos: Chaos) -> None:
    """Workers are killed meanwhile: what one of them holds until it is due has to come back."""
    # What was sent before the kills is due among them.
    _later(chaos, kills("kill_tree", chaos.profile), frozenset({PhaseName.HEALED}))
