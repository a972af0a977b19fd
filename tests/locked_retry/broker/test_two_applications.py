"""Two applications on one Redis: what one of them loses is failed by itself, whoever finds it first."""

from __future__ import annotations

import pytest
from redis import Redis
from table_support import Renewal, SettlementKind, Worker, message, row, settle, state, where
from waiting import until


def _lose(redis: Redis, worker: Worker, name: str, *, started: bool = True) -> None:
    """The worker claims it, starts it, and is heard of no more."""
    (claim,) = worker.turn(want=1).claims
    assert claim.row == name
    worker.turn(renewals=(Renewal(name, claim.fence, 1, started, worker.max_crashes),))


def _reaped(other: Worker) -> bool:
    return bool(other.turn(want=1).reaped)


def test_a_worker_buries_nothing_of_a_queue_that_it_does_not_serve(redis: Redis) -> None:
    """It was buried in silence: result, errbacks and chords never heard of it."""
    mine = Worker(redis, "mine", max_crashes=1)
    other = Worker(redis, "other", queues=("theirs",), max_crashes=1)
    redis.lpush("q", message("a"))
    _lose(redis, mine, "a")
    until(lambda: _reaped(other), "the other one finds it")
    assert where(redis, "a") == {"queue"} and row(redis, "a")["c"] == "1"
    answer = mine.turn(want=1)
    assert not answer.claims and [one.row for one in answer.buried] == ["a"], "its own hears of it"
    assert where(redis, "a") == {"dead"}
    assert mine.again().buried == answer.buried


@pytest.mark.parametrize("limit", [1, 5])
def test_a_tasks_own_number_of_crashes_counts_when_its_whole_worker_dies(redis: Redis, limit: int) -> None:
    worker = Worker(redis, max_crashes=3)
    redis.lpush("q", message("a"))
    for crash in range(1, limit + 1):
        (claim,) = worker.turn(want=1).claims
        worker.turn(renewals=(Renewal("a", claim.fence, 1, True, limit),))
        until(lambda: bool(worker.turn().reaped), "it is found")
        assert row(redis, "a")["c"] == str(crash)
        assert state(redis, "a") == ("x" if crash == limit else "q")


def test_crashes_that_were_told_count_towards_the_tasks_own_number(redis: Redis) -> None:
    worker = Worker(redis, max_crashes=3)
    redis.lpush("q", message("a"))
    for _ in range(4):
        (claim,) = worker.turn(want=1).claims
        assert worker.turn(settles=(settle(claim, SettlementKind.CRASH, reason="5 it died"),)).codes == "o"
    (claim,) = worker.turn(want=1).claims
    assert worker.turn(settles=(settle(claim, SettlementKind.CRASH, reason="5 it died"),)).codes == "x"
