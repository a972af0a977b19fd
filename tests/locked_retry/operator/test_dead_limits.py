"""How many dead letters are kept and for how long; failures that are not kept; `dead purge --older-than`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from batch_support import make_app
from celery import Celery
from celery_support import Fleet
from command_support import application, run
from redis import Redis
from sharding_support import split
from table_support import KEYS, SettlementKind, Worker, message, replace, settle, stat, state, where

from locked_retry import JoinOn, Progress
from locked_retry.broker.turns import Answer, run_turn
from locked_retry.operator.dead_letters import Tools
from locked_retry.options import Options
from locked_retry.worker.answer_log import say_answer
from locked_retry.worker.session import Session

DAY_MS = 86_400_000


@pytest.fixture
def app(shared_server: Any) -> Iterator[Celery]:
    with application(shared_server.url) as one:
        yield one


def bury(redis: Redis, *names: str, age_ms: int = 0) -> Worker:
    """Dead letters that died so long ago, the first one first."""
    worker = Worker(redis)
    for name in names:
        (claim,) = worker.claim(message(name))
        worker.end(claim, SettlementKind.DEAD, reason="why")
        redis.zadd("lr:dead", {name: float(redis.zscore("lr:dead", name) or 0) - age_ms})
    return worker


def turn(worker: Worker, **limits: int) -> Answer:
    """The next turn, under limits."""
    worker.turn()
    assert worker.last is not None
    worker.number += 1
    return run_turn(worker.redis, KEYS, replace(worker.last, number=worker.number, **limits))


def test_dead_letters_that_are_too_old_are_deleted(redis: Redis) -> None:
    bury(redis, "old", age_ms=30 * DAY_MS + 1000)
    worker = bury(redis, "new", age_ms=30 * DAY_MS - 60_000)
    assert where(redis, "new") == {"dead"}
    assert (state(redis, "old"), where(redis, "old")) == (None, set())
    assert stat(redis, "dead_trimmed") == 1 and stat(redis, "dead") == 2
    assert turn(worker, dead_max_age_ms=29 * DAY_MS).trimmed == 1
    assert not redis.exists("lr:dead", KEYS.row("new"))


def test_dead_letters_beyond_the_limit_are_deleted(redis: Redis) -> None:
    worker = bury(redis, *"abcde")
    assert turn(worker, dead_max_count=3).trimmed == 2
    assert [letter.row for letter in Tools(redis).dead()] == ["e", "d", "c"]
    assert turn(worker, dead_max_count=3).trimmed == 0
    assert turn(worker, dead_max_count=0).trimmed == 3


def test_a_turn_deletes_at_least_as_many_as_it_makes(redis: Redis) -> None:
    """So that there are never more than the limit, however many are made at once."""
    worker = bury(redis, *[f"m{number}" for number in range(30)])
    assert [turn(worker, dead_max_count=5).trimmed for _ in range(4)] == [10, 10, 5, 0]
    names = [f"n{number}" for number in range(40)]
    ends = tuple(settle(claim, SettlementKind.DEAD, reason="why") for claim in worker.claim(*map(message, names)))
    assert turn(worker, dead_max_count=5, settles=ends).trimmed == 40  # type: ignore[arg-type]
    left = [name.decode() for name in redis.zrange("lr:dead", 0, -1)]  # type: ignore[union-attr]
    assert len(left) == 5 and sorted(name for name in names if state(redis, name) == "x") == left


def test_a_requeued_letter_is_not_deleted(redis: Redis) -> None:
    """An entry that somebody has put back, or whose row is gone."""
    worker = bury(redis, "again")
    Tools(redis).requeue(["again"])
    redis.zadd("lr:dead", {"again": 1, "ghost": 2})
    assert turn(worker).trimmed == 0
    assert state(redis, "again") == "q" and not redis.exists("lr:dead")


def test_a_repeat_trims_nothing(redis: Redis) -> None:
    worker = bury(redis, *"abc")
    worker.turn()
    redis.zadd("lr:dead", {"a": 1})
    assert worker.again().trimmed == 0 and redis.zcard("lr:dead") == 3


def test_the_limits_are_options_and_what_is_trimmed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    session = Session(Options(dead_max_age_s=60.0, dead_max_count=7))
    asked = session.next_turn(0.0, 1, ["q"], 1)
    assert asked is not None and (asked.dead_max_age_ms, asked.dead_max_count) == (60_000, 7)
    answer = Answer(0, None, "", (), (), trimmed=3)
    session.answered(answer, 0.0)
    assert session.metrics.dead_trimmed == 3
    caplog.set_level(logging.INFO, "locked_retry")
    say_answer(asked, answer)
    assert [record.getMessage() for record in caplog.records] == ["locked_retry event=dead_trimmed rows=3"]
    for wrong in ({"dead_max_age_s": -1}, {"dead_max_count": -1}):
        with pytest.raises(ValueError, match="has to be"):
            Options(**wrong)  # type: ignore[arg-type]


# --- final failures


def test_a_final_failure_leaves_a_completion_record_alone(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    assert worker.end(claim, SettlementKind.FINAL, reason="KeyError") == "o"
    assert (state(redis, "a"), where(redis, "a")) == (None, set())
    assert redis.get(KEYS.done("a")).split()[0] == claim.fence.encode()  # type: ignore[union-attr]
    assert (stat(redis, "final"), stat(redis, "dead"), stat(redis, "ok")) == (1, 0, 0)
    redis.delete(f"lr:w:{worker.name}")
    assert worker.end(claim, SettlementKind.FINAL) == "d"


def test_a_final_failure_fills_no_retry_budget(redis: Redis) -> None:
    worker = Worker(redis)
    redis.set(KEYS.budget("q"), "1.000")
    (claim,) = worker.claim(message("a"))
    worker.end(claim, SettlementKind.FINAL, budget="5:1:1000")
    assert redis.get(KEYS.budget("q")) == b"1.000"


@pytest.mark.parametrize("join_on", JoinOn)
def test_a_shard_that_fails_finally_is_dead(redis: Redis, shared_server: Any, join_on: JoinOn) -> None:
    with make_app(shared_server.url) as app:
        job = split(app, join_on=join_on)
        worker = Worker(redis)
        first, *others = worker.turn(want=5).claims
        worker.turn(settles=(settle(first, SettlementKind.FINAL), *(settle(one, SettlementKind.OK) for one in others)))
        assert job.progress() == Progress(3, 2, 1, total=3, joined=join_on is JoinOn.ALL)


def test_an_expected_exception_is_no_dead_letter(fleet: Fleet) -> None:
    fleet.worker()
    expected = fleet.task("boom").apply_async(("thrown", "KeyError"), task_id="expected")
    other = fleet.task("boom").apply_async(("bang",), task_id="other")
    for result, error in ((expected, KeyError), (other, ValueError)):
        with pytest.raises(error):
            result.get(timeout=20)
    fleet.settle()
    assert [letter.row for letter in Tools(fleet.redis).dead()] == ["other"]
    assert stat(fleet.redis, "final") == 1 and fleet.redis.exists(KEYS.done("expected"))


# --- dead purge --older-than


def test_a_purge_can_go_by_age(app: Celery, redis: Redis) -> None:
    bury(redis, "old", age_ms=8 * DAY_MS)
    bury(redis, "new")
    assert run(app, "dead", "purge", "--older-than", "7", input="n\n").exit_code == 1
    assert run(app, "dead", "purge", "--older-than", "7", "--task", "other", "--yes").output == "0 purged\n"
    assert run(app, "dead", "purge", "--older-than", "7", "--task", "t", "--yes").output == "1 purged\n"
    assert [letter.row for letter in Tools(redis).dead()] == ["new"]
    assert run(app, "dead", "purge", "--older-than", "0.5", "--yes").output == "0 purged\n"
    assert run(app, "dead", "purge", "--older-than", "0", "--yes").output == "1 purged\n"
    for words in (("old", "--older-than", "1"), ("--all", "--older-than", "1"), ("--older-than", "-1")):
        assert run(app, "dead", "purge", *words).exit_code == 2
