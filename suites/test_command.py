"""Faults at exact Redis commands: the pop whose reply is lost, the retry whose publish is cut; one task at stake.

And two deliveries of one task that are claimed at the same moment.
"""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Claim, Slo
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.loads import phased

pytestmark = [pytest.mark.chaos(cost_s=7), pytest.mark.chaos_depth("default")]

OFFERED_TPS = 20
#: So few that workers are mostly free when a task and its copy come, and for so long that many do.
COPIED_TPS, COPIED_S = 8, 2.5
#: They take what is next, whichever task it is: no claim of one task.
BLIND = ("BLMOVE", "BLPOP", "BRPOP", "BRPOPLPUSH", "LMOVE", "LPOP", "RPOP", "RPOPLPUSH")


def _one_worker(chaos: Chaos, *faults: PlannedFault, failures: int = 0) -> None:
    """One worker that runs one task at a time, so that the nth command is always the same step of a task.

    One command is hit, so one task at the most may be lost: more would mean that the instrument is not exact.
    """
    workload = phased(chaos.profile, OFFERED_TPS, failures=failures)
    result = chaos(workload, Schedule.of(*faults), slo=Slo(target_tps=None), workers=1, concurrency=1)
    lost = next(rule for rule in result.rules if rule.rule is Rule.LOST)
    assert (lost.observed or 0) == len(lost.samples) <= 1


def _fault(kind: str, profile: Profile, **parameters: int | str) -> PlannedFault:
    return PlannedFault(kind, "worker-1", 0.0, hold_s=round(0.8 * profile.fault_s, 3), parameters=parameters)


def test_pop_reply_lost(chaos: Chaos) -> None:
    """The command that takes a message off the queue is executed, and the connection is reset instead of the reply."""
    _one_worker(chaos, _fault("reply_lost", chaos.profile, command=chaos.commands.pop, nth=3, how="reset"))


def test_retry_publish_cut(chaos: Chaos) -> None:
    """Every task fails once; the command that hands a retry to Redis is reset twice, before it is executed."""
    if not chaos.commands.retry:
        chaos.does_not_apply("this subject hands no retry to Redis")
    _one_worker(
        chaos, _fault("cut_before", chaos.profile, command=chaos.commands.retry, first=2, how="reset"), failures=1
    )


@pytest.mark.parametrize("nth", range(1, 13), ids="nth-{}".format)
@pytest.mark.chaos_depth("nightly")
def test_pop_reply_lost_at(chaos: Chaos, nth: int) -> None:
    """The same at each of the first dozen, while every task fails once: whatever else the command does is hit too."""
    fault = _fault("reply_lost", chaos.profile, command=chaos.commands.pop, nth=nth, how="reset")
    _one_worker(chaos, fault, failures=1)


@pytest.mark.parametrize("how", ["reset", "silence"])
def test_pop_replies_lost(chaos: Chaos, how: str) -> None:
    """Every third one, on both workers, while every task fails once: the connection is reset, or says nothing more."""
    workload = phased(chaos.profile, OFFERED_TPS, failures=1)
    faults = (
        PlannedFault(
            "reply_lost",
            f"worker-{n}",
            0.0,
            hold_s=round(0.8 * chaos.profile.fault_s, 3),
            parameters={"command": chaos.commands.pop, "every": 3, "how": how},
        )
        for n in (1, 2)
    )
    chaos(workload, Schedule.of(*faults), slo=Slo(target_tps=None))


def test_publish_reply_lost(chaos: Chaos) -> None:
    """The command that publishes a task is executed and its reply lost: whoever sends it again publishes twice."""
    fault = PlannedFault(
        "reply_lost",
        "producer-1",
        0.0,
        hold_s=round(0.8 * chaos.profile.fault_s, 3),
        parameters={"command": chaos.commands.publish, "nth": 3, "how": "reset"},
    )
    _one_worker(chaos, fault)


def test_together(chaos: Chaos) -> None:
    """Two messages of one task, whose publish was repeated. Two workers wait for one another at the command that claims
    it, and go together. Where that names no task (it is the pop itself), any two wait for one another.
    """
    profile = chaos.profile.lasting(COPIED_S)
    hold_s = round(0.8 * profile.fault_s, 3)
    publish = {"command": chaos.commands.publish, "every": 2, "how": "reset"}
    claim = chaos.commands.claim
    if not claim and chaos.commands.pop in BLIND and chaos.contract.has(Claim.EXCLUSIVE):
        chaos.does_not_apply("it claims exclusive and its `commands` name no `claim` at which two can be made to meet")
    claims = {"command": claim} if claim else {"command": chaos.commands.pop, "about": "any"}
    schedule = Schedule.of(
        PlannedFault("reply_lost", "producer-1", 0.0, hold_s, publish),
        *(PlannedFault("together", f"worker-{n}", 0.0, hold_s, claims) for n in (1, 2)),
    )
    workload = phased(profile, COPIED_TPS, work_ms=30)
    chaos(workload, schedule, slo=Slo(target_tps=None), must_see=(Seen.SENT_AGAIN,), concurrency=1)
