"""Ten real failures, each the record of a case that was run: what a report says of them is held against this table.

`python tests/support/stored_failures.py` runs them again and stores what came, which takes some minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from taskchaos.harness.case.plan import Case
from taskchaos.harness.judge.judge import judge
from taskchaos.harness.record.result import CaseResult, Expectation
from taskchaos.harness.record.verdict import Rule

FOLDER = Path(__file__).parent / "failures"
#: What is not needed to judge a case.
_LEFT_OUT = ("redis", "tmp", "roles", "detail.json", "verdict.json")


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """One of them. command, fault: what its cause has to name; none: it has none of that."""

    way: str
    case: str
    rule: Rule
    command: str
    fault: str

    @property
    def archive(self) -> Path:
        """Where it is stored."""
        return FOLDER / f"{self.case}.zip"

    def judged(self, folder: Path) -> CaseResult:
        """Its result by the checker of today, as if it had been expected to pass. It is unpacked into `folder`."""
        place = folder / "cases" / self.case
        with zipfile.ZipFile(self.archive) as archive:
            archive.extractall(place)
        result = judge(Case.load(place), place, 10.0)
        return replace(result, expected=Expectation(), as_expected=False, control=False)


FAILURES = (
    StoredFailure("lost by BRPOP", "command.pop_reply_lost.stock_best", Rule.LOST, "BRPOP", "reply_lost on worker-1"),
    StoredFailure("lost by the kill of a child", "worker_kill.child.child_lost_acked", Rule.LOST, "take", "kill_child"),
    StoredFailure(
        "lost by a retry's publish",
        "command.retry_publish_cut.retry_publish_lost",
        Rule.LOST,
        "ZADD",
        "cut_before on worker-1",
    ),
    StoredFailure("stuck", "worker_kill.tree.leader_immortal", Rule.STUCK, "take", "kill_tree"),
    StoredFailure("duplicate", "command.publish_reply_lost.submit_twice", Rule.DUPLICATE, "put", "reply_lost"),
    StoredFailure("overlap", "slow_task.undisturbed.fixed_expiry", Rule.OVERLAP, "take", ""),
    StoredFailure("zombie", "command.together.interview_before", Rule.ZOMBIE, "BRPOP", "together"),
    StoredFailure("throughput", "transient_error.once.sleep_backoff", Rule.THROUGHPUT, "", ""),
    StoredFailure("back-off", "retry_policy.several.no_backoff", Rule.BACKOFF, "LPUSH", ""),
    StoredFailure("undue dead letter", "slow_task.undisturbed.contention_fails", Rule.DEAD_LETTER, "release", ""),
)


def _store(failure: StoredFailure, place: Path) -> None:
    """The first of some runs in which it fails so."""
    suite, scenario, subject = failure.case.split(".")
    words = ["run", suite, "-k", scenario, "-s", subject, "--profile", "default", "--out", str(place)]
    for _ in range(5):
        subprocess.run([sys.executable, "-m", "taskchaos.harness.cli", *words], check=False)
        if (
            failure.rule
            in judge(Case.load(place / "cases" / failure.case), place / "cases" / failure.case, 10).failed_rules
        ):
            break
        shutil.rmtree(place)
    with zipfile.ZipFile(failure.archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _files(place / "cases" / failure.case):
            archive.write(path, path.relative_to(place / "cases" / failure.case))


def _files(case: Path) -> Iterator[Path]:
    for path in sorted(case.rglob("*")):
        if path.is_file() and path.relative_to(case).parts[0] not in _LEFT_OUT:
            yield path


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    wanted = set(sys.argv[1:])
    for each in FAILURES:
        if not wanted or each.case in wanted:
            with tempfile.TemporaryDirectory() as home:
                _store(each, Path(home) / "run")
