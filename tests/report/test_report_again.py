"""The command in the report runs the same cases again: with every option that was chosen."""

from __future__ import annotations

import shlex
from dataclasses import replace

import report_samples as samples
from click.testing import CliRunner

from harness.cli import main
from harness.report.html import run_again
from harness.report.run import collect
from harness.run import RunOptions
from harness.shard import Shard
from harness.stack.options import Pool, WorkerStart


def test_what_was_chosen_is_in_the_command() -> None:
    options = RunOptions(
        out="x", target_tps=1000.0, pool=Pool.THREADS, worker_start=WorkerStart.COMMAND_LINE, redis_server="/a b/redis"
    )
    assert RunOptions(out="x").chosen == ()
    command = run_again(replace(collect(samples.stream()), chosen=options.chosen))
    assert command.endswith("--seed 7 --target-tps 1000 --redis-server '/a b/redis' --pool threads --worker-start cli")
    assert RunOptions(out="x", keyword="a or b", shard=Shard(2, 4)).chosen == ("-k", "a or b", "--shard", "2/4")
    known = CliRunner().invoke(main, ["run", "--help"]).output
    assert all(word in known for word in shlex.split(command) if word.startswith("--"))


def test_the_same_shard_is_one_of_the_same_selection() -> None:
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
