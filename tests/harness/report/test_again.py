"""The command in the report runs the same cases again: with every option that was chosen."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
import report_samples as samples
from click.testing import CliRunner

from taskchaos.harness.case.default_subjects import subjects_of_none
from taskchaos.harness.case.stack_options import Pool, WorkerStart
from taskchaos.harness.cli import main
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.record.result import FailedTest
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.report.overall import again, run_again
from taskchaos.harness.report.phrases import surprises
from taskchaos.harness.report.run import collect
from taskchaos.harness.run.folder import RunOptions


def test_the_command_has_every_option_that_was_chosen() -> None:
    options = RunOptions(
        out="x", target_tps=1000.0, pool=Pool.THREADS, worker_start=WorkerStart.COMMAND_LINE, redis_server="/a b/redis"
    )
    assert RunOptions(out="x").chosen == ()
    command = run_again(replace(collect(samples.stream()), chosen=options.chosen))
    assert command.endswith("--seed 7 --target-tps 1000 --redis-server '/a b/redis' --pool threads --worker-start cli")
    assert RunOptions(out="x", keyword="a or b", shard=Shard(2, 4)).chosen == ("-k", "a or b", "--shard", "2/4")
    known = CliRunner().invoke(main, ["run", "--help"]).output
    assert all(word in known for word in shlex.split(command) if word.startswith("--"))


def test_a_soak_is_run_again_by_its_own_command() -> None:
    chosen = RunOptions(out="x", minutes=2.5, pool=Pool.THREADS, rounds=40).chosen
    command = run_again(replace(collect(samples.stream()), suites=("soak",), subjects=("mine",), chosen=chosen))
    assert command == (
        "taskchaos soak --subject mine --stack local --profile quick --seed 7 --minutes 2.5 --pool threads"
    )
    known = CliRunner().invoke(main, ["soak", "--help"]).output
    assert all(word in known for word in shlex.split(command) if word.startswith("--"))


def test_a_shard_is_run_again_with_the_same_selection() -> None:
    """Suites and subjects of which nothing fell to this shard decide what did, and have to be named."""
    whole = collect(samples.stream())
    part = replace(
        whole,
        cases=tuple(c for c in whole.cases if c.suite == "partition"),
        selection=tuple(c.id for c in whole.cases),
        chosen=("--shard", "2/4"),
    )
    words = shlex.split(run_again(part))
    named = shlex.split(run_again(whole))
    assert {w for w in words if w not in ("--shard", "2/4")} == set(named)
    assert words[-2:] == ["--shard", "2/4"]


def test_a_suite_of_ones_own_is_named_by_its_path() -> None:
    asked = replace(collect(samples.stream()), suites=("/home/me/test_mine.py",), subjects=("/home/me/s.py:S",))
    words = shlex.split(run_again(asked))
    assert words[2:5] == ["/home/me/test_mine.py", "--subject", "/home/me/s.py:S"]


def test_all_suites_are_asked_for_by_naming_none() -> None:
    """Cases that were never started have no test to go by: what was asked for is on record."""
    asked = replace(collect(samples.stream()), suites=(), cases=())
    assert shlex.split(run_again(asked))[:4] == ["taskchaos", "run", "--subject", "locked_retry"]


@pytest.mark.parametrize("suites", [(), ("contention",)])
@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("stack", ["local", "compose"])
def test_who_is_run_anyway_is_not_named(profile: str, stack: str, suites: tuple[str, ...]) -> None:
    """Fifty names hid what was chosen. One more or fewer, and they are named."""
    depth = PROFILES[profile].depth
    usual = subjects_of_none(depth, local=stack == "local", named_suites=bool(suites))
    assert ("stock_best" in usual) is (profile != "default" or bool(suites)) and usual[0] == "locked_retry"
    ran = replace(collect(samples.stream()), subjects=usual, profile=profile, stack=stack, suites=suites)
    assert "--subject" not in run_again(ran)
    fewer = replace(ran, subjects=(*usual[1:], "mine.py:Subject"))
    assert run_again(fewer).count("--subject") == len(usual)


def test_a_failed_test_without_a_case_is_run_again_with_the_whole_run() -> None:
    green = replace(collect(samples.judged(samples.cases()[0])), exit_code=0)
    assert again(green) == ["taskchaos replay worker_kill.tree.locked_retry --seed 7"]
    failed = replace(green, exit_code=1, failed_tests=(FailedTest("t.py::test_x", True, "assert 0"),))
    assert again(failed) == [*again(green), run_again(failed)]
    gone = replace(failed, failed_tests=(FailedTest("suites/test_partition.py", False, "no module", collected=False),))
    assert again(gone)[-1] == run_again(failed), "the whole run, whichever file of it cannot be collected"
    lost = replace(collect(samples.stream()), failed_tests=())
    assert again(lost) == [c.replay for c in surprises(lost.cases)]
    nothing = replace(failed, cases=())
    assert again(nothing) == [], "which cases it had is not known"
