"""Redis runs and says no: demoted, loading, busy, out of memory, paused, full, forgetful, not permitted."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import CAPACITY_TPS, OFFERED_TPS, busy, phased

pytestmark = [pytest.mark.chaos(cost_s=10), pytest.mark.chaos_depth("default")]

#: Longer than a client waits for an answer or tries again at once, shorter than a lease.
HOLD_S = 1.5
#: Some 64 kB of message, twice what Redis may owe a client.
LARGE_BYTES = 48_000


def _once(chaos: Chaos, kind: str, **parameters: int | str) -> None:
    """Redis refuses once while workers are busy and producers send."""
    schedule = Schedule.of(PlannedFault(kind, "redis", 0.3, HOLD_S, parameters))
    busy(chaos, schedule, chaos.profile.lasting(HOLD_S + 1.0))


def test_read_only(chaos: Chaos) -> None:
    """It is demoted, as the old primary is at a failover, and promoted again."""
    _once(chaos, "redis_read_only")


def test_loading(chaos: Chaos) -> None:
    """It was killed, and reads a large append-only file before it answers."""
    _once(chaos, "redis_loading")


def test_busy(chaos: Chaos) -> None:
    """Somebody's slow script runs."""
    _once(chaos, "redis_busy")


def test_out_of_memory(chaos: Chaos) -> None:
    """Nothing may be written that needs memory."""
    _once(chaos, "redis_out_of_memory")


def test_evicting(chaos: Chaos) -> None:
    """It deletes keys to make room: the set-up is wrong, and what is lost is not the subject's."""
    _once(chaos, "redis_evicting")


@pytest.mark.parametrize("mode", ["write", "all"])
def test_client_pause(chaos: Chaos, mode: str) -> None:
    """Clients wait for their answers, writing ones or all."""
    _once(chaos, "redis_client_pause", mode=mode)


def test_client_kill(chaos: Chaos) -> None:
    """All connections are cut by the server, five times a second."""
    _once(chaos, "redis_client_kill")


def test_clients_full(chaos: Chaos) -> None:
    """Everybody has to connect again, and there is no place."""
    _once(chaos, "redis_clients_full")


def test_output_limit(chaos: Chaos) -> None:
    """Messages are larger than what Redis may owe a client: it cuts who fetches them."""
    profile = chaos.profile.lasting(HOLD_S + 1.0)
    load = phased(profile, OFFERED_TPS, work_ms=1000 * chaos.slots // CAPACITY_TPS, padding=LARGE_BYTES)
    slo = Slo(target_tps=min(chaos.target_tps, CAPACITY_TPS / 2), recovery_limit_s=profile.recovery_limit_s)
    chaos(load, Schedule.of(PlannedFault("redis_output_limit", "redis", 0.3, HOLD_S)), slo=slo)


def test_script_flush(chaos: Chaos) -> None:
    """Redis forgets its scripts, five times a second."""
    _once(chaos, "redis_script_flush")


@pytest.mark.parametrize("without", ["-@write", "-@scripting", "-hset"])
def test_acl(chaos: Chaos, without: str) -> None:
    """A permission is taken away, and given back."""
    _once(chaos, "redis_acl", without=without)
