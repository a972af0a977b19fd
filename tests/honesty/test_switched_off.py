"""Every shipped suite is unknown when what it is about does not happen: its fault does nothing, or no task fails.

The scenarios are the shipped ones, at the scale of the quick profile; the subject is one that passes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import Done, taskchaos, verdict

from taskchaos.harness.record.verdict import SLO_RULES
from taskchaos.harness.suite_paths import suites_folder

pytestmark = pytest.mark.usefixtures("linux")

HEAD = """
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Subject(LockedRetry):
    name = "switched_off"
"""
#: Each says that it was injected and that it was healed, and does neither; what it looks at is the world, as ever.
NO_FAULT = """
from taskchaos.faults.schedule import FAULTS
for fault in FAULTS.values():
    fault.inject = fault.heal = lambda self: None
"""
#: Whatever the plan says of an operation, its body succeeds.
NO_FAILURE = """
from taskchaos.harness.stack.body import Body
Body._is_pardoned = lambda self, number: True
"""

#: One scenario of each suite with a fault, and what its function takes. Sentinel, containers and a previous release are
#: not everywhere; a latency has a toxic of its own, and is no different.
FAULTS = {
    "chords": "test_kill(chaos)",
    "clock": "test_ahead(chaos, 'worker-1')",
    "command": "test_together(chaos)",
    "contention": "test_kill(chaos)",
    "deploy": "test_rolling(chaos)",
    "eta": "test_kill(chaos)",
    "latency": "test_20ms(chaos)",
    "link_quality": "test_jitter(chaos)",
    "partition": "test_worker_refused(chaos)",
    "priorities": "test_kill(chaos)",
    "redis_answers": "test_busy(chaos)",
    "redis_disk": "test_slow(chaos)",
    "redis_restart": "test_pause(chaos)",
    "result_path": "test_cut(chaos, 'refused')",
    "retry_under_fire": "test_tree(chaos)",
    "revokes": "test_kill(chaos)",
    "slow_task": "test_cut(chaos, 'refused')",
    "soak": "test_seed(chaos, 1)",
    "submits": "test_producer_killed(chaos)",
    "worker_kill": "test_tree(chaos)",
}
#: Likewise of each whose load has tasks that fail.
FAILURES = {
    "chords": "test_quiet(chaos)",
    "contention": "test_quiet(chaos)",
    "eta": "test_punctual(chaos)",
    "poison": "test_task(chaos)",
    "retry_policy": "test_several(chaos)",
    "submits": "test_burst(chaos)",
    "transient_error": "test_once(chaos)",
}
#: Why a suite is in neither.
ELSEWHERE = {
    "container": "its faults are done to containers: tests/docker",
    "failover": "its faults need Sentinels: tests/faults/test_failover.py",
    "target": "nothing happens in it but a distance: as in latency",
    "throughput": "nothing happens in it",
}


def _run(folder: Path, scenarios: dict[str, str], sabotage: str) -> Done:
    source = "".join(
        f"def test_{suite}(chaos):\n    from taskchaos.suites import test_{suite}\n    test_{suite}.{call}\n\n\n"
        for suite, call in scenarios.items()
    )
    (folder / "test_off.py").write_text(source)
    (folder / "subject.py").write_text(HEAD + sabotage)
    return taskchaos("run", "test_off.py", "-s", "subject.py:Subject", "-n", "8", "--out", "run", cwd=folder)


def _wrong(suite: str, case: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be. This scale is too short for some figures, which may be missed, and prove nothing."""
    found = {r["rule"]: r["outcome"] for r in case["rules"]}
    failed = {rule for rule, outcome in found.items() if outcome == "fail"} - set(SLO_RULES)
    if case["outcome"] == "pass" or case["trouble"] or failed:
        yield f"{suite}: {case['outcome']} {case['trouble']} {failed}"
    if "unknown" not in (found["faults"], found["evidence"]):
        yield f"{suite}: neither the faults nor the evidence are in doubt"


@pytest.mark.parametrize(
    ("scenarios", "sabotage"), [(FAULTS, NO_FAULT), (FAILURES, NO_FAILURE)], ids=["faults", "failures"]
)
def test_a_suite_whose_subject_matter_does_not_happen_is_unknown(
    tmp_path: Path, scenarios: dict[str, str], sabotage: str
) -> None:
    done = _run(tmp_path, scenarios, sabotage)
    cases = {case["id"].split(".")[1]: case for case in verdict(tmp_path / "run")["cases"]}
    assert cases.keys() == scenarios.keys(), done.out
    wrong = [text for suite, case in cases.items() for text in _wrong(suite, case)]
    assert wrong == [], done.out
    assert done.code != 0, done.out


def test_no_suite_is_forgotten() -> None:
    suites = {path.stem.removeprefix("test_") for path in suites_folder().glob("test_*.py")}
    assert {*FAULTS, *FAILURES, *ELSEWHERE} == suites
    assert not {*FAULTS, *FAILURES} & ELSEWHERE.keys()
