"""turn.lua: who gets which message when, locks and parking, crashed workers, a full Redis, a flushed script."""

from __future__ import annotations

import time

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from table_support import KEYS, LEASE_MS, Renewal, Worker, everything, message, row, stat, state, where
from waiting import until

from locked_retry.broker.turns import Script, SettlementKind, call


def test_the_oldest_are_claimed_first_and_no_more_than_wanted(redis: Redis) -> None:
    redis.lpush("q", *[message(f"m{n}") for n in range(6)])
    assert [c.row for c in Worker(redis).turn(want=4).claims] == ["m0", "m1", "m2", "m3"]


def test_several_queues_get_the_same_share_and_the_rest_is_filled(redis: Redis) -> None:
    redis.lpush("a", *[message(f"a{n}") for n in range(100)])
    redis.lpush("b", *[message(f"b{n}") for n in range(100)])
    redis.lpush("c", message("c0"))
    claims = Worker(redis, queues=("a", "b", "c")).turn(want=31).claims
    by_key = [sum(c.key_number == n for c in claims) for n in (1, 2, 3)]
    assert len(claims) == 31
    assert by_key[2] == 1 and abs(by_key[0] - by_key[1]) <= 10


def test_a_better_priority_goes_first_over_all_queues(redis: Redis) -> None:
    redis.lpush("a", message("low-a"))
    redis.lpush("b\x06\x163", message("lower-b"))
    redis.lpush("b", message("low-b"))
    worker = Worker(redis, queues=("a", "b", "a\x06\x163", "b\x06\x163"))
    assert worker.turn().claims == ()
    turn = worker.last
    assert turn is not None
    from table_support import replace

    from locked_retry.broker.turns import run_turn

    claims = run_turn(redis, KEYS, replace(turn, number=9, want=3, queues=2)).claims
    assert [c.row for c in claims] == ["low-a", "low-b", "lower-b"]


def test_a_message_that_is_published_twice_runs_once(redis: Redis) -> None:
    """What a producer's retry after a lost reply leaves: the same task under two delivery tags."""
    (claim,) = Worker(redis).claim(message("a", tag="t1"), message("a", tag="t2"))
    assert claim.row == "a"
    assert (redis.llen("q"), stat(redis, "dropped")) == (0, 1)


def test_a_requeued_row_whose_message_was_purged_adopts_the_next_one(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a", tag="t1"))
    worker.end(claim, SettlementKind.REQUEUE)
    redis.delete("q")
    (again,) = worker.claim(message("a", tag="t2"))
    assert again.row == "a"


def test_the_first_of_two_messages_of_a_queued_row_runs(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a", tag="t1"))
    worker.end(claim, SettlementKind.REQUEUE)
    redis.rpush("q", message("a", tag="t2"))
    (again,) = worker.turn(want=2).claims
    assert b"t2" in again.raw
    assert (redis.llen("q"), stat(redis, "dropped")) == (0, 1)


def test_contention_parks_without_cost_and_the_end_wakes_the_longest_waiter(redis: Redis) -> None:
    worker = Worker(redis)
    (a, *others) = worker.claim(*[message(name, lr_lock="order:1") for name in "abc"])
    assert (a.row, others) == ("a", [])
    assert [(state(redis, n), where(redis, n)) for n in "bc"] == [("p", {"wait"})] * 2
    worker.end(a, SettlementKind.OK)
    assert (where(redis, "b"), where(redis, "c")) == ({"queue"}, {"wait"})
    (b,) = worker.turn(want=5).claims
    assert b.row == "b" and "a" not in row(redis, "b") and int(b.fence) > int(a.fence)
    worker.end(b, SettlementKind.RETRY, delay_ms=60_000)  # a retry frees the lock for its wait
    (c,) = worker.turn(want=5).claims
    worker.end(c, SettlementKind.OK)
    assert not redis.exists(KEYS.lock("order:1"), KEYS.wait("order:1"))


def test_a_reaped_holder_frees_its_lock(redis: Redis) -> None:
    worker, other = Worker(redis, lease_ms=1), Worker(redis, "other")
    worker.claim(message("a", lr_lock="k"))
    redis.lpush("q", message("b", lr_lock="k"))
    answer = until(lambda: [c.row for c in other.turn(want=2).claims], "somebody is claimed")
    assert answer[0] in ("a", "b") and len(answer) == 1
    assert redis.hget(KEYS.lock("k"), "o") == answer[0].encode()


def test_a_lock_whose_holder_is_gone_holds_nobody(redis: Redis) -> None:
    redis.hset(KEYS.lock("k"), mapping={"o": "ghost", "f": "1"})
    (claim,) = Worker(redis).claim(message("a", lr_lock="k"))
    assert claim.row == "a"


def test_an_expired_lease_is_queued_again_in_front(redis: Redis) -> None:
    dead, live = Worker(redis, "dead", lease_ms=1), Worker(redis, "live")
    (claim,) = dead.claim(message("a"))
    redis.lpush("q", message("b"))
    until(lambda: live.turn().reaped, "reaped")
    claims = live.turn(want=1).claims
    assert (claims[0].row, claims[0].returns, claims[0].crashes) == ("a", 1, 0)
    assert int(claims[0].fence) > int(claim.fence)


def test_a_started_task_of_a_dead_worker_counts_as_a_crash(redis: Redis) -> None:
    live = Worker(redis, "live", max_crashes=9)  # the task's own limit counts
    crashes = []
    for number in range(2):
        dead = Worker(redis, f"dead{number}", lease_ms=60_000)
        if number == 0:
            redis.lpush("q", message("a"))
        (claim,) = dead.turn(want=1).claims
        dead.turn(renewals=(Renewal("a", claim.fence, 1, started=True, max_crashes=2),))
        until(lambda: live.turn().reaped, "reaped")
        crashes.append(row(redis, "a")["c"])
    assert crashes == ["1", "2"]
    assert state(redis, "a") == "x" and where(redis, "a") == {"dead"}


def test_the_answer_says_when_something_is_due(redis: Redis) -> None:
    worker = Worker(redis)
    assert worker.turn().due_ms is None
    (claim,) = worker.claim(message("a"))
    assert 50_000 < (worker.turn().due_ms or 0) <= 60_000
    worker.end(claim, SettlementKind.RETRY, delay_ms=5_000)
    assert 4_000 < (worker.turn().due_ms or 0) <= 5_000


def test_an_unreadable_message_is_left_to_the_worker_in_its_own_row(redis: Redis) -> None:
    redis.lpush("q", "garbage {", message("a"), "garbage {")
    worker = Worker(redis)
    (strange, claim) = worker.turn(want=3).claims
    assert claim.row == "a" and strange.row.startswith("raw-") and strange.raw == b"garbage {"
    worker.end(strange, SettlementKind.DEAD, reason="not a JSON message")
    assert row(redis, strange.row)["msg"] == "garbage {" and where(redis, strange.row) == {"dead"}


def test_fences_only_grow_even_when_the_clock_went_back(redis: Redis) -> None:
    redis.set("lr:fence", "9000000000000000")
    claims = Worker(redis).claim(message("a"), message("b"))
    assert [c.fence for c in claims] == ["9000000000000001", "9000000000000002"]


def test_a_full_redis_can_still_be_drained(server: object) -> None:
    redis: Redis = server.client  # type: ignore[attr-defined]
    worker = Worker(redis)
    redis.lpush("q", *[message(f"m{n}") for n in range(20)])
    (*claims,) = worker.turn(want=10).claims
    redis.config_set("maxmemory", 1)
    with pytest.raises(ResponseError):
        redis.set("x", "y")
    from table_support import settle

    answer = worker.turn(want=10, settles=tuple(settle(c, SettlementKind.OK) for c in claims))
    assert (answer.codes, len(answer.claims)) == ("o" * 10, 10)


def test_a_read_only_redis_refuses_the_turn_whole(server: object) -> None:
    redis: Redis = server.client  # type: ignore[attr-defined]
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    redis.lpush("q", message("b"))
    before = everything(redis)
    redis.replicaof("127.0.0.1", "1")
    with pytest.raises(ResponseError, match=r"(?i)read ?only"):
        worker.end(claim, SettlementKind.OK)
    redis.replicaof("NO", "ONE")
    assert everything(redis) == before
    assert worker.again().codes == "o"


def test_a_flushed_script_is_sent_again(redis: Redis) -> None:
    worker = Worker(redis)
    worker.turn()
    redis.script_flush()
    assert len(worker.claim(message("a"))) == 1


def test_a_malformed_turn_changes_nothing(redis: Redis) -> None:
    redis.lpush("q", message("a"))
    before = everything(redis)
    with pytest.raises(ResponseError, match="malformed"):
        call(redis, Script.load("turn"), [8, *KEYS.indexes("w"), "q", "lr:", "w", 1, 5, 100, 1, 1, 1, 1, 0, 3, 1, 0])
    assert everything(redis) == before


@pytest.mark.parametrize("number", range(3))
def test_a_thousand_are_claimed_and_settled_at_once(redis: Redis, number: int) -> None:
    worker = Worker(redis)
    redis.lpush("q", *[message(f"m{n}") for n in range(1000)])
    claims = worker.turn(want=1000).claims
    assert len(claims) == 1000
    from table_support import settle

    assert worker.turn(settles=tuple(settle(c, SettlementKind.OK) for c in claims)).codes == "o" * 1000
    assert not list(redis.scan_iter("lr:t:*"))


def _stalled(redis: Redis, gap_ms: int) -> None:
    """As if the last turn of anybody's had been so long ago: Redis hung, or its clock was set forward."""
    redis.hset("lr:clock", "turn", int(time.time() * 1000) - gap_ms)


def test_a_live_holder_keeps_what_it_holds_after_a_stall(redis: Redis) -> None:
    """A clock that was set a minute forward had every running task reaped as crashed, and run a second time."""
    holder, other = Worker(redis, "holder"), Worker(redis, "other")
    (claim,) = holder.claim(message("a"))
    holder.turn(renewals=(Renewal("a", claim.fence, 1, started=True),))
    redis.zadd("lr:lease", {"a": time.time() * 1000 - 60_000})
    _stalled(redis, 60_000)
    answer = other.turn()
    assert answer.reaped == 0 and 25_000 < (answer.due_ms or 0) <= 30_000
    assert holder.turn(renewals=(Renewal("a", claim.fence, LEASE_MS, started=True),)).lost == ()
    assert other.turn().reaped == 0 and state(redis, "a") == "r"
    assert stat(redis, "stalls") == 1


def test_a_lease_that_nobody_renews_is_reaped_after_a_stall(redis: Redis) -> None:
    holder, other = Worker(redis, "holder"), Worker(redis, "other", lease_ms=400)
    (claim,) = holder.claim(message("a"))
    holder.turn(renewals=(Renewal("a", claim.fence, 1, started=True),))
    _stalled(redis, 60_000)
    assert other.turn().reaped == 0
    _stalled(redis, 60_000)  # again and again: that must not put it off for ever
    until(lambda: other.turn().reaped == 1, "it is reaped")


def test_a_clock_that_was_set_back_ends_the_wait(redis: Redis) -> None:
    holder, other = Worker(redis, "holder"), Worker(redis, "other")
    (claim,) = holder.claim(message("a"))
    holder.turn(renewals=(Renewal("a", claim.fence, 1, started=True),))
    later_ms = int(time.time() * 1000) + 3_600_000
    redis.hset("lr:clock", mapping={"turn": later_ms, "reap": later_ms})
    until(lambda: other.turn().reaped == 1, "it is reaped")
