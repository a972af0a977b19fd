"""Profiles: how long and how much. A suite takes its times and rates from here, so that all suites scale together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum


class Depth(IntEnum):
    """Which scenarios run: those of a profile and of every shallower one."""

    QUICK = 0
    DEFAULT = 1
    NIGHTLY = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """The scale of a run. Times in seconds.

    target_tps: effects per second that a phase without fault has to reach. recovery_limit_s: None = report only,
    where the healed phase is too short to judge it.
    """

    name: str
    depth: Depth
    baseline_s: float
    fault_s: float
    healed_s: float
    rate_tps: int
    target_tps: float
    prefill: int
    kills: int
    recovery_limit_s: float | None
    drain_deadline_s: float

    @property
    def load_s(self) -> float:
        """How long its phases with load are together."""
        return self.baseline_s + self.fault_s + self.healed_s

    def lasting(self, fault_s: float) -> Profile:
        """The same with a fault phase of at least this length."""
        return replace(self, fault_s=max(self.fault_s, fault_s))

    @property
    def in_containers(self) -> Profile:
        """The same where workers are containers: one that was killed takes about a second longer to be back."""
        return replace(self, fault_s=self.fault_s + CONTAINER_START_S)


#: How much longer a container with a Python in it takes to start than a fork, on two busy cores.
CONTAINER_START_S = 1.5

PROFILES = {
    p.name: p
    for p in (
        Profile("quick", Depth.QUICK, 1.0, 1.3, 1.0, 100, 80.0, 600, 2, None, 15.0),
        Profile("default", Depth.DEFAULT, 3.0, 4.0, 6.0, 100, 80.0, 3000, 4, 5.0, 30.0),
        Profile("nightly", Depth.NIGHTLY, 10.0, 30.0, 20.0, 100, 80.0, 20000, 20, 10.0, 90.0),
    )
}
