"""Tasks are revoked while they wait in a queue that is longer than what workers hold: none of them begins any more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import StackChanges
from taskchaos.harness.contract import Slo
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import phased

pytestmark = [pytest.mark.chaos(cost_s=20), pytest.mark.chaos_depth("default")]

#: Every four seconds a burst that keeps the workers busy for two and more; soon every fourth of it is revoked.
RATE_TPS = 40
BURST = 160
CAPACITY_TPS = 60
EVERY, AFTER_MS = 4, 300
#: A worker is killed so long after a burst, when revokes have been heard and most of what they are about waits. The
#: other a burst later: by then the first one's successor has heard of it what was revoked.
KILL_S = 1.2
#: Or right after the burst, and so long before the revokes that its successor is there to hear them.
EARLY_S, LATE_MS = 0.15, 2500


def _revokes(
    chaos: Chaos,
    profile: Profile,
    schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
    must_see: Collection[Seen] = (),
    after_ms: int = AFTER_MS,
    **needs: Unpack[StackChanges],
) -> None:
    """Workers that start ask the others what was revoked, as Celery's do."""
    work_ms = 1000 * chaos.slots // CAPACITY_TPS
    revokes = {"revoke_every": EVERY, "revoke_after_ms": after_ms}
    workload = phased(profile, RATE_TPS, burst=BURST, work_ms=work_ms, **revokes)
    chaos(workload, schedule, slo=Slo(target_tps=None), must_see=must_see, mingle=True, **needs)


def test_quiet(chaos: Chaos) -> None:
    """Nothing happens but that."""
    _revokes(chaos, chaos.profile, visibility_timeout_s=UNDISTURBED_S)


def test_kill(chaos: Chaos) -> None:
    """Both workers are killed, one long after the other: who is replaced has to know what was revoked before."""
    apart_s = BURST / RATE_TPS
    first_s = -chaos.profile.baseline_s % apart_s + KILL_S
    kills = (PlannedFault("kill_tree", f"worker-{n}", first_s + (n - 1) * apart_s, 0.1) for n in (1, 2))
    _revokes(chaos, chaos.profile.lasting(first_s + apart_s + 0.5), Schedule.of(*kills), (Seen.REVOKED_WAITED,))


def test_kill_before(chaos: Chaos) -> None:
    """A worker is killed; what it had is revoked while nobody has it, and comes back."""
    apart_s = BURST / RATE_TPS
    first_s = -chaos.profile.baseline_s % apart_s
    kill = PlannedFault("kill_tree", "worker-1", first_s + EARLY_S, 0.1)
    _revokes(
        chaos,
        chaos.profile.lasting(first_s + apart_s),
        Schedule.of(kill),
        (Seen.REVOKED_CAME_BACK,),
        LATE_MS,
    )
