"""turn.lua: every end of a delivery, as a table of what is in Redis before and after; and the same turn repeated."""

from __future__ import annotations

import json

import pytest
from redis import Redis
from table_support import KEYS, Renewal, Worker, everything, message, row, settle, stat, state, where
from waiting import until

from locked_retry.broker.turns import SettlementKind


def test_a_claim_moves_the_message_to_a_row_with_lease_and_fence(redis: Redis) -> None:
    raw = message("a")
    (claim,) = Worker(redis).claim(raw)
    assert (claim.row, claim.raw, claim.crashes, claim.returns) == ("a", raw.encode(), 0, 0)
    assert state(redis, "a") == "r"
    assert where(redis, "a") == {"lease"}
    assert row(redis, "a")["f"] == claim.fence == redis.get("lr:fence").decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "after", "place"),
    [
        (SettlementKind.OK, None, set()),
        (SettlementKind.RETRY, "d", {"delay"}),
        (SettlementKind.SNOOZE, "d", {"delay"}),
        (SettlementKind.CRASH, "d", {"delay"}),
        (SettlementKind.DEAD, "x", {"dead"}),
        (SettlementKind.REQUEUE, "q", {"queue"}),
    ],
)
def test_every_settle_moves_the_row_to_one_place_and_a_repeat_moves_nothing(
    redis: Redis, kind: SettlementKind, after: str | None, place: set[str]
) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    reason = "3 why" if kind is SettlementKind.CRASH else "why"
    assert worker.end(claim, kind, delay_ms=60_000, reason=reason) == "o"
    assert (state(redis, "a"), where(redis, "a")) == (after, place)
    before = everything(redis)
    assert worker.again().codes == "o"
    assert everything(redis) == before
    # and without the worker's record: the row or its completion record knows the fence
    redis.delete(f"lr:w:{worker.name}")
    assert worker.end(claim, kind, delay_ms=60_000, reason=reason) == "d"
    assert (state(redis, "a"), where(redis, "a")) == (after, place)
    assert stat(redis, "stale") == 0


def test_only_a_retry_costs_an_attempt_and_only_a_crash_a_crash(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    for kind, attempts, crashes in [
        (SettlementKind.RETRY, "1", None),
        (SettlementKind.SNOOZE, "1", None),
        (SettlementKind.REQUEUE, "1", None),
        (SettlementKind.CRASH, "1", "1"),
        (SettlementKind.RETRY, "2", "1"),
    ]:
        worker.end(claim, kind, reason="9 x" if kind is SettlementKind.CRASH else "x")
        assert (row(redis, "a").get("a"), row(redis, "a").get("c")) == (attempts, crashes)
        (claim,) = until(lambda: worker.turn(want=1).claims, "claimed again")


def test_completion_leaves_a_record_that_drops_a_late_duplicate(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    worker.end(claim, SettlementKind.OK)
    assert redis.get(KEYS.done("a")).split()[0] == claim.fence.encode()  # type: ignore[union-attr]
    assert 0 < int(redis.pttl(KEYS.done("a"))) <= 60_000  # type: ignore[arg-type]
    assert worker.claim(message("a")) == ()
    assert redis.llen("q") == 0
    assert stat(redis, "dropped") == 1


def test_a_retry_keeps_its_row_under_its_next_generation(redis: Redis) -> None:
    worker = Worker(redis)
    (first,) = worker.claim(message("a", tag="t1"))
    copy = message("a", tag="t1", retries=1, lr="1~0~a")
    assert worker.end(first, SettlementKind.RETRY, delay_ms=1, message=copy) == "o"
    (second,) = until(lambda: worker.turn(want=1).claims, "the retry is claimed")
    assert (second.row, second.raw) == ("a", copy.encode())
    assert int(second.fence) > int(first.fence)
    assert row(redis, "a")["a"] == "1"


def test_a_copy_that_plain_celery_published_is_a_row_of_its_own(redis: Redis) -> None:
    """A plain task's retry and Task.replace publish under the same id while the first message is still held."""
    worker = Worker(redis)
    (first,) = worker.claim(message("a"))
    (retry,) = worker.claim(message("a", retries=1))
    (replaced,) = worker.claim(message("a", replaced_task_nesting=1, lr="0~0~a"))
    assert (retry.row, replaced.row) == ("a~1~0", "a~0~1")
    worker.end(first, SettlementKind.OK)
    assert worker.end(retry, SettlementKind.OK) == "o"
    assert worker.end(replaced, SettlementKind.OK) == "o"


def test_a_stale_settle_is_refused_and_recorded(redis: Redis) -> None:
    slow, other = Worker(redis, "slow", lease_ms=1), Worker(redis, "other")
    (old,) = slow.claim(message("a"))
    until(lambda: other.turn().reaped, "reaped")
    (new,) = other.turn(want=1).claims
    before = row(redis, "a")
    assert slow.end(old, SettlementKind.OK) == "s"
    assert row(redis, "a") == before
    assert stat(redis, "stale") == 1
    assert redis.lindex("lr:stale", 0).decode().split()[:3] == ["a", old.fence, "ok"]  # type: ignore[union-attr]
    assert int(new.fence) > int(old.fence)
    assert other.end(new, SettlementKind.OK) == "o"


def test_a_stale_settle_of_a_batch_does_not_touch_the_others(redis: Redis) -> None:
    worker = Worker(redis)
    a, b, c = worker.claim(message("a"), message("b"), message("c"))
    wrong = settle(b, SettlementKind.OK)
    answer = worker.turn(
        settles=(
            settle(a, SettlementKind.OK),
            type(wrong)("b", "17", SettlementKind.OK),
            settle(c, SettlementKind.DEAD),
        )
    )
    assert answer.codes == "oso"
    assert (state(redis, "a"), state(redis, "b"), state(redis, "c")) == (None, "r", "x")


def test_crashes_end_in_a_dead_letter_at_the_limit(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    assert worker.end(claim, SettlementKind.CRASH, reason="2 killed") == "o"
    (claim,) = until(lambda: worker.turn(want=1).claims, "claimed again")
    assert claim.crashes == 1
    assert worker.end(claim, SettlementKind.CRASH, reason="2 killed") == "x"
    assert (state(redis, "a"), row(redis, "a")["err"]) == ("x", "killed")
    assert json.loads(row(redis, "a")["msg"])["headers"]["id"] == "a"


def test_a_renewal_extends_and_says_what_is_lost(redis: Redis) -> None:
    worker = Worker(redis)
    a, b = worker.claim(message("a"), message("b"))
    before = redis.zscore("lr:lease", "a")
    assert worker.turn(renewals=(Renewal("a", a.fence, 120_000), Renewal("b", "17", 120_000))).lost == ("b",)
    assert redis.zscore("lr:lease", "a") > before + 50_000  # type: ignore[operator]
    assert worker.again().lost == ("b",)
    assert "s" not in row(redis, "b") and b.row == "b"


def test_a_replayed_claim_answers_the_same_messages(redis: Redis) -> None:
    worker = Worker(redis)
    redis.lpush("q", *[message(f"m{n}") for n in range(5)])
    first = worker.turn(want=3)
    before = everything(redis)
    second = worker.again()
    assert second.claims == first.claims and len(first.claims) == 3
    assert everything(redis) == before
    assert redis.llen("q") == 2


def test_a_replay_leaves_out_what_was_reaped_meanwhile(redis: Redis) -> None:
    worker, other = Worker(redis, lease_ms=1), Worker(redis, "other")
    (claim,) = worker.claim(message("a"))
    until(lambda: other.turn().reaped, "reaped")
    (theirs,) = other.turn(want=1).claims
    worker.number -= 1
    worker.lease_ms = 60_000
    assert worker.turn(want=1).claims == ()
    assert theirs.row == claim.row
