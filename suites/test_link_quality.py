"""Links answer, badly: they waver, are slow for the size, cut what they carry, or come and go."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import idle

pytestmark = [pytest.mark.chaos(cost_s=9), pytest.mark.chaos_depth("default")]

WORKERS = ("worker-1", "worker-2")


def _on(chaos: Chaos, kind: str, *links: str, **parameters: int) -> None:
    """The links are so for most of the fault phase, while little is offered."""
    hold_s = round(chaos.profile.fault_s * 0.7, 3)
    faults = (PlannedFault(kind, link, 0.1, hold_s, parameters) for link in links)
    idle(chaos, Schedule.of(*faults))


def test_jitter(chaos: Chaos) -> None:
    """Round trips of the workers take 60 ms longer, give or take 40."""
    _on(chaos, "jitter", *WORKERS, round_trip_ms=60, jitter_ms=40)


def test_bandwidth(chaos: Chaos) -> None:
    """20 kB a second for each connection of the workers: large answers trickle."""
    _on(chaos, "bandwidth", *WORKERS, kb_per_s=20)


def test_slicing(chaos: Chaos) -> None:
    """What the workers send and get arrives in pieces of 64 bytes: a command is never whole in one read."""
    _on(chaos, "slicing", *WORKERS, piece_bytes=64, delay_us=500)


@pytest.mark.parametrize("limit_bytes", [500, 20_000])
def test_limit_data(chaos: Chaos, limit_bytes: int) -> None:
    """Each connection of a worker ends in the middle of an answer, early or after a while."""
    _on(chaos, "limit_data", "worker-1", limit_bytes=limit_bytes)


def test_slow_close(chaos: Chaos) -> None:
    """Closes of a worker's connections get through a second late."""
    _on(chaos, "slow_close", "worker-1", delay_ms=1000)


@pytest.mark.parametrize("link", ["worker-1", "producer-1"])
def test_flapping(chaos: Chaos, link: str) -> None:
    """A link is refused and back again, five times in two seconds."""
    _on(chaos, "flapping", link, period_ms=400)
