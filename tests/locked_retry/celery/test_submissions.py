"""A task id that is used again is a new submission; a message that is published twice is not."""

from __future__ import annotations

import json

import pytest
from celery_support import Fleet, got
from redis import Redis
from table_support import SettlementKind, Worker, message, row, stat
from waiting import until


def claimed(worker: Worker, *texts: str) -> list[str]:
    return [claim.row for claim in worker.claim(*texts)]


# --- what the script does


def test_a_second_submission_after_the_end_is_a_new_life(redis: Redis) -> None:
    worker = Worker(redis)
    for submission in ("one", "two", "three"):
        (claim,) = worker.claim(message("a", lr_new=submission))
        assert claim.row == "a"
        worker.end(claim, SettlementKind.OK)
    for submission in ("one", "two", "three"):
        assert claimed(worker, message("a", lr_new=submission)) == [], "a late repeat of any of them is none"
    assert stat(redis, "dropped") == 3


def test_a_second_submission_before_the_end_lives_beside_the_first(redis: Redis) -> None:
    """As on stock Celery, which runs both."""
    worker = Worker(redis)
    (first,) = worker.claim(message("a", lr_new="one"))
    (second,) = worker.claim(message("a", lr_new="two"))
    assert first.row == "a" and second.row.startswith("a#two@")
    assert claimed(worker, message("a", lr_new="one"), message("a", lr_new="two")) == []
    assert worker.end(first, SettlementKind.OK) + worker.end(second, SettlementKind.OK) == "oo"
    assert claimed(worker, message("a", lr_new="one")) == []


def test_a_repeat_of_a_second_submission_is_dropped(redis: Redis) -> None:
    """Its own completion record drops it, though the first one's row is gone."""
    worker = Worker(redis)
    (first,) = worker.claim(message("a", lr_new="one"))
    (second,) = worker.claim(message("a", lr_new="two"))
    worker.end(second, SettlementKind.OK)
    worker.end(first, SettlementKind.OK)
    assert claimed(worker, message("a", lr_new="two")) == []


@pytest.mark.parametrize("state", [SettlementKind.DEAD, SettlementKind.RETRY])
def test_a_submission_runs_beside_one_that_waits_or_is_dead(redis: Redis, state: SettlementKind) -> None:
    worker = Worker(redis)
    (first,) = worker.claim(message("a", lr_new="one"))
    worker.end(first, state, delay_ms=60_000)
    (other,) = claimed(worker, message("a", lr_new="two"))
    assert other.startswith("a#two@")
    assert row(redis, "a")["st"] in ("x", "d")


def test_a_second_message_without_a_submission_is_a_repeat(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    assert claimed(worker, message("a")) == []
    worker.end(claim, SettlementKind.OK)
    assert claimed(worker, message("a")) == []
    assert claimed(worker, message("a", lr_new="one")) == ["a"], "one that says so is no repeat of them"


@pytest.mark.parametrize("says", [{}, {"lr_new": "one"}])
def test_a_message_that_is_routed_to_two_queues_runs_in_both(redis: Redis, says: dict[str, str]) -> None:
    """One of them was dropped, before or after the other had ended. Plain Celery runs both."""
    text = message("a", **says)
    for ended in (False, True):
        redis.flushall()
        worker = Worker(redis, queues=("one", "two"))
        redis.lpush("one", text)
        (first,) = worker.turn(want=5).claims
        if ended:
            worker.end(first, SettlementKind.OK)
        redis.lpush("two", text)
        (second,) = worker.turn(want=5).claims
        assert first.fence != second.fence
        redis.lpush("one", text)
        redis.lpush("two", text)
        assert not worker.turn(want=5).claims, "each of them once"
        assert worker.end(second, SettlementKind.OK) == "o"


def test_another_priority_is_not_another_queue(redis: Redis) -> None:
    worker = Worker(redis, queues=("one", "one\x06\x163"))
    redis.lpush("one", message("a"))
    assert len(worker.turn(want=1).claims) == 1
    redis.lpush("one\x06\x163", message("a"))
    assert not worker.turn(want=1).claims


# --- what users see


def test_an_id_can_be_run_again(fleet: Fleet) -> None:
    """A "run again" button; it was dropped, and its caller waited for ever."""
    fleet.worker()
    for number in range(3):
        result = fleet.task("note").apply_async((f"n{number}",), task_id="mine")
        until(lambda n=number: fleet.notes("end", f"n{n}"), "it runs")
        assert got(result) == "n0", "Celery keeps the first success of an id"
        fleet.settle()
    assert stat(fleet.redis, "dropped") == 0


def test_a_message_that_is_published_twice_runs_once(fleet: Fleet) -> None:
    fleet.task("note").apply_async(("once",), task_id="mine")
    (raw,) = fleet.redis.lrange("celery", 0, -1)
    again = json.loads(raw)
    again["properties"]["delivery_tag"] = "another"  # as a publish that kombu repeats
    fleet.redis.lpush("celery", json.dumps(again))
    fleet.worker()
    fleet.settle()
    assert len(fleet.notes("end", "once")) == 1 and stat(fleet.redis, "dropped") == 1


def test_a_frozen_signature_can_be_in_two_chords(fleet: Fleet) -> None:
    """Celery's own test_mutable_errback_called_by_chord_from_chain does that."""
    fleet.worker()
    body = fleet.s("collect", "joined")
    body.freeze()
    from celery import chord

    for number in range(2):
        header = [fleet.s("add", number, 1), fleet.s("add", number, 2)]
        chord(header, app=fleet.app)(body)
    until(lambda: len(fleet.notes("collect", "joined")) == 2, "both are joined")


def test_a_retry_keeps_its_submission(fleet: Fleet) -> None:
    fleet.worker()
    assert got(fleet.task("flaky").apply_async(("one", 2), task_id="mine")) == "one"
    fleet.settle()
    assert got(fleet.task("flaky").apply_async(("two", 2), task_id="mine")) in ("one", "two")
    until(lambda: len(fleet.notes("try", "two")) == 3, "three attempts of the second")


def test_a_task_of_another_base_with_an_eta_holds_nothing(fleet: Fleet) -> None:
    """Twelve of them stopped a worker: what waits in Celery's timer was taken for held."""
    fleet.worker()
    for _ in range(40):
        fleet.task("plain_later").apply_async(countdown=60)
    for number in range(20):
        fleet.task("note").apply_async((f"n{number}",), ignore_result=True)
    until(lambda: len(fleet.notes("end")) == 20, lambda: f"ordinary ones run\n{fleet.log()[-2000:]}", 15)
    until(lambda: fleet.redis.zcard("lr:delay") == 40, "the others wait in Redis")
    assert fleet.held() == 0
