"""Tasks come in chords, some of whose members fail once: the body of each runs after all of them, and surely does."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Unpack

import pytest

from taskchaos.faults.base import RESULTS
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import StackChanges
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import in_turn, phased

pytestmark = [pytest.mark.chaos(cost_s=12), pytest.mark.chaos_depth("default")]

#: The work of a task is as long as it takes for the workers to be busy half of the time, or more: some fail once. So a
#: kill meets them at work.
RATE_TPS = 20
MEMBERS = 4


def _chords(
    chaos: Chaos,
    schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
    must_see: Collection[Seen] = (Seen.RETRIED,),
    **needs: Unpack[StackChanges],
) -> None:
    """Every third task fails once, whether it is a member or a body."""
    workload = phased(
        chaos.profile,
        RATE_TPS,
        chord_of=MEMBERS,
        work_ms=1000 * chaos.slots // (2 * RATE_TPS),
        failures=1,
        failing_every=3,
    )
    chaos(workload, schedule, slo=Slo(target_tps=None), must_see=must_see, **needs)


def test_quiet(chaos: Chaos) -> None:
    """Nothing happens but that."""
    _chords(chaos, visibility_timeout_s=UNDISTURBED_S)


def test_kill(chaos: Chaos) -> None:
    """Workers are killed in turn, while members run and wait."""
    every_s = chaos.profile.fault_s / 4
    kills = in_turn("kill_tree", (0.2 + every_s * n for n in range(4)), 0.1)
    _chords(chaos, kills, (Seen.RETRIED, Seen.TAKEN_OVER))


def test_result_path(chaos: Chaos) -> None:
    """Both workers' paths to their results are refused for most of the fault phase: what chords count members by."""
    hold_s = round(0.75 * chaos.profile.fault_s, 3)
    refused = (PlannedFault("refused", f"worker-{n}{RESULTS}", 0.2, hold_s) for n in (1, 2))
    _chords(chaos, Schedule.of(*refused), visibility_timeout_s=UNDISTURBED_S)


def test_replies_lost(chaos: Chaos) -> None:
    """Some scripts that count members, and claim the right to send a body, are executed and their replies lost."""
    if tuple(map(int, version("celery").split(".")[:2])) < (5, 7):
        chaos.does_not_apply("before Celery 5.7 no script counts the members of a chord")
    hold_s = round(0.8 * chaos.profile.fault_s, 3)
    how: dict[str, int | str] = {"command": "EVALSHA", "every": 7, "how": "reset"}
    lost = (PlannedFault("reply_lost", f"worker-{n}{RESULTS}", 0.1, hold_s, how) for n in (1, 2))
    _chords(chaos, Schedule.of(*lost), visibility_timeout_s=UNDISTURBED_S)
