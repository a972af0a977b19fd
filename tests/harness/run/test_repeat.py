"""`replay --times`: what so many runs of one plan come to, in a line and in an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import report_samples as samples
from click.testing import CliRunner

from taskchaos.harness import codec
from taskchaos.harness.cli import main
from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report.phrases import Assessment
from taskchaos.harness.run.repeat import SERIES, Repeated, RepeatSeries, read_series


def series(**counts: int) -> RepeatSeries:
    """So many runs that lost, stuck, passed, failed as they may, or came to nothing."""
    kinds = {
        "lost": Repeated("", Outcome.FAIL, False, (Rule.LOST,)),
        "stuck": Repeated("", Outcome.FAIL, False, (Rule.STUCK,)),
        "passed": Repeated("", Outcome.PASS, True),
        "tolerated": Repeated("", Outcome.FAIL, True, (Rule.LOST,)),
        "unknown": Repeated(""),
    }
    runs = tuple(kinds[kind] for kind, count in counts.items() for _ in range(count))
    return RepeatSeries("a.b.c", len(runs), runs)


@pytest.mark.parametrize(
    ("found", "line", "code"),
    [
        (
            series(lost=6, stuck=1, passed=13, unknown=1),
            "failed 7 of 20: 35 % [18 %, 57 %] (lost 6, stuck 1); 1 unknown left out",
            ExitCode.FAIL,
        ),
        (series(passed=20), "failed 0 of 20: 0 % [0 %, 16 %]", ExitCode.PASS),
        (series(passed=3, unknown=1), "failed 0 of 3: 0 % [0 %, 56 %]; 1 unknown left out", ExitCode.UNKNOWN),
        (series(unknown=2), "failed 0 of 0; 2 unknown left out", ExitCode.UNKNOWN),
        (series(), "failed 0 of 0", ExitCode.UNKNOWN),
        (series(tolerated=1, passed=1), "failed 1 of 2: 50 % [9 %, 91 %] (lost 1)", ExitCode.PASS),
    ],
)
def test_a_series_in_a_line(found: RepeatSeries, line: str, code: ExitCode) -> None:
    assert (str(found), found.exit_code) == (line, code)


@pytest.mark.parametrize("kind", Assessment)
def test_every_standing_counts_as_what_it_is(kind: Assessment) -> None:
    case = samples.by_standing()[kind]
    one = Repeated.of("x", case)
    if case.trouble or case.outcome is Outcome.UNKNOWN:
        assert one.outcome is Outcome.UNKNOWN
    elif kind in (Assessment.FAILED, Assessment.TOLERATED, Assessment.CAUGHT):
        assert one.outcome is Outcome.FAIL
    assert one.as_expected is case.as_expected


def test_a_run_without_a_verdict_is_unknown() -> None:
    assert Repeated.of("x", None).outcome is Outcome.UNKNOWN


def test_a_series_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = series(lost=1, unknown=1)
    (tmp_path / SERIES).write_text(json.dumps({**codec.encode(found), "interval": None}))
    assert read_series(tmp_path) == found
    (tmp_path / SERIES).write_text((tmp_path / SERIES).read_text()[:50])
    with pytest.raises(UsageError, match=r"times\.json: "):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "--times", "0"], "--times 0: has to be from 1 to 10,000"),
        (["nothing", "--times", "2"], "no stored case 'nothing'"),
        (["nothing", "-n", "2"], "-n is for --times"),
    ],
)
def test_what_cannot_be_repeated_is_one_line(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["replay", *words])
    assert done.exit_code == 4 and says in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
