"""Retry budgets in the turn script, as tables of Redis state; and what was buried unasked."""

from __future__ import annotations

import pytest
from redis import Redis
from table_support import KEYS, SettlementKind, Worker, everything, message, row, settle, stat, state

from locked_retry import Budget

BUDGET = Budget(tokens=2, refill=0.5, wait_s=60)
BUCKET = KEYS.budget("q")


def retry(worker: Worker, name: str, budget: Budget = BUDGET) -> str:
    """Claim a new message and retry it; the code of the answer."""
    [claim] = worker.claim(message(name))
    return worker.end(
        claim, SettlementKind.RETRY, delay_ms=10_000, message=message(name, retries=1), budget=budget.encoded()
    )


def test_a_retry_takes_a_token_and_without_one_waits_as_the_same_attempt(redis: Redis) -> None:
    worker = Worker(redis)
    assert [retry(worker, name) for name in ("a", "b", "c")] == ["o", "o", "h"]
    assert float(redis.get(BUCKET)) == 0.0  # type: ignore[arg-type]
    assert row(redis, "b")["a"] == "1" and '"retries": 1' in row(redis, "b")["msg"]
    assert "a" not in row(redis, "c") and '"retries": 0' in row(redis, "c")["msg"], "costs no attempt"
    waits = {name: redis.zscore("lr:delay", name) for name in ("b", "c")}
    assert 45_000 < waits["c"] - waits["b"] < 60_000
    assert stat(redis, "held_back") == 1 and stat(redis, "retry") == 3


def test_a_repeat_takes_no_second_token(redis: Redis) -> None:
    worker = Worker(redis)
    assert retry(worker, "a") == "o"
    before = everything(redis)
    assert worker.again().codes == "o"
    assert everything(redis) == before and float(before[BUCKET]) == 1.0


def test_successes_fill_the_bucket_up_to_its_size(redis: Redis) -> None:
    worker = Worker(redis)
    retry(worker, "a")
    [claim] = worker.claim(message("b"))
    assert worker.end(claim, SettlementKind.OK, budget=BUDGET.encoded()) == "o"
    assert float(redis.get(BUCKET)) == 1.5  # type: ignore[arg-type]
    for name in ("c", "d"):
        [claim] = worker.claim(message(name))
        worker.end(claim, SettlementKind.OK, budget=BUDGET.encoded())
    assert redis.exists(BUCKET) == 0, "absent is full"


def test_each_queue_has_its_own(redis: Redis) -> None:
    one, other = Worker(redis), Worker(redis, name="w2", queues=("other",))
    assert [retry(one, name) for name in ("a", "b", "c")] == ["o", "o", "h"]
    redis.lpush("other", message("d"))
    [claim] = other.turn(want=1).claims
    assert other.end(claim, SettlementKind.RETRY, delay_ms=10_000, budget=BUDGET.encoded()) == "o"


def test_without_a_budget_nothing_is_counted(redis: Redis) -> None:
    worker = Worker(redis)
    [claim] = worker.claim(message("a"))
    assert worker.end(claim, SettlementKind.RETRY, delay_ms=10_000) == "o"
    assert redis.keys("lr:budget:*") == []


@pytest.mark.parametrize("make", [{"tokens": 0}, {"refill": -1}, {"wait_s": 0}])
def test_a_budget_that_makes_no_sense_is_refused(make: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="has to be a number"):
        Budget(**make)


def test_a_turn_that_buries_is_told_so_also_when_repeated(redis: Redis) -> None:
    worker = Worker(redis, max_crashes=1)
    [claim] = worker.claim(message("a"))
    answer = worker.turn(settles=(settle(claim, SettlementKind.CRASH, reason="1 it died"),))
    assert answer.codes == "x" and state(redis, "a") == "x"
    [buried] = answer.buried
    assert (buried.row, buried.reason) == ("a", "it died") and b'"id": "a"' in buried.raw
    assert worker.again().buried == answer.buried
    assert worker.turn().buried == ()


def test_a_holder_that_gives_up_is_not_told(redis: Redis) -> None:
    worker = Worker(redis)
    [claim] = worker.claim(message("a"))
    assert worker.turn(settles=(settle(claim, SettlementKind.DEAD, reason="enough"),)).buried == ()
    assert state(redis, "a") == "x"
