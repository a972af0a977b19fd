"""Tasks that share a business key (a customer, an order): one at a time of each, and waiting is no failure."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import PAST_LEASE_S, kills, phased

pytestmark = [pytest.mark.chaos(cost_s=10), pytest.mark.chaos_depth("default")]

#: Fewer keys than processes, so that most tasks that are fetched meet a key that is held.
KEYS = 3
RATE_TPS = 24
WORK_MS = 40
#: No multiple of the keys: else all that fail have one key, which then has to do twice the work of the others.
FAILING_EVERY = 4


def _contended(chaos: Chaos, schedule: Schedule = Schedule(), profile: Profile | None = None) -> None:  # noqa: B008
    """Every fourth task fails once. Of the capacity that the keys leave (75 a second), 30 are needed."""
    profile = profile or chaos.profile
    workload = phased(profile, RATE_TPS, work_ms=WORK_MS, failures=1, failing_every=FAILING_EVERY, keys=KEYS)
    target_tps = min(chaos.target_tps, 0.6 * RATE_TPS)
    slo = Slo(target_tps=target_tps, recovery_limit_s=profile.recovery_limit_s)
    chaos(workload, schedule, slo=slo, must_see=(Seen.KEY_WANTED, Seen.RETRIED))


def test_quiet(chaos: Chaos) -> None:
    """Nothing goes wrong but the tasks themselves."""
    _contended(chaos)


def test_kill(chaos: Chaos) -> None:
    """Workers are killed while they hold keys: those must come free, and no two hold one meanwhile."""
    _contended(chaos, kills("kill_tree", chaos.profile))


def test_cut(chaos: Chaos) -> None:
    """A worker that holds keys cannot reach Redis for longer than its lease: others may have them, and it must not."""
    longer = chaos.profile.lasting(PAST_LEASE_S + 1.0)
    _contended(chaos, Schedule.of(PlannedFault("black_hole", "worker-1", 0.1, PAST_LEASE_S)), longer)
