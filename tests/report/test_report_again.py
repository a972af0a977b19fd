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
from harness.stack.base import Pool, WorkerStart


def test_what_was_chosen_is_in_the_command() -> None:
    options = RunOptions(
        out="x", target_tps=1000.0, pool=Pool.THREADS, worker_start=WorkerStart.COMMAND_LINE, redis_server="/a b/redis"
    )
    assert RunOptions(out="x").chosen == ()
    command = run_again(replace(collect(samples.stream()), chosen=options.chosen))
    assert command.endswith("--seed 7 --target-tps 1000 --redis-server '/a b/redis' --pool threads --worker-start cli")
    known = CliRunner().invoke(main, ["run", "--help"]).output
    assert all(word in known for word in shlex.split(command) if word.startswith("--"))
