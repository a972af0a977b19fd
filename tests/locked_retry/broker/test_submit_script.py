"""submit.lua: tables of Redis before and after."""

from __future__ import annotations

import pytest
from batch_support import queued
from redis import Redis
from redis.exceptions import ResponseError
from table_support import KEYS, Worker, everything, message, stat

from locked_retry.broker.turns import Script, SettlementKind, call


def submit(redis: Redis, token: str, *messages: tuple[str, str], lists: tuple[str, ...] = ("q",)) -> str:
    """Run the script: pairs of task id and numbers of lists."""
    names = [*KEYS.indexes(), *lists]
    flat = [
        part for task_id, where in messages for part in (task_id, message(task_id, tag=f"{token}-{task_id}"), where)
    ]
    head = [len(names), *names, KEYS.prefix, token, 60_000, len(messages), *["0"] * len(lists)]
    return call(redis, Script.load("submit"), [*head, *flat]).decode()  # type: ignore[no-any-return]


def test_messages_are_accepted_in_order_and_marked(redis: Redis) -> None:
    assert submit(redis, "T", ("a", "1"), ("b", "2"), ("c", "1 2"), lists=("q", "p")) == "aaa"
    assert (queued(redis), queued(redis, "p")) == (["a", "c"], ["b", "c"])
    assert {key.decode(): redis.get(key) for key in redis.scan_iter("lr:sub:*")} == {
        "lr:sub:a": b"T/1",
        "lr:sub:b": b"T/2",
        "lr:sub:c": b"T/3",
    }
    assert 0 < redis.pttl("lr:sub:a") <= 60_000
    assert stat(redis, "submitted") == 3


def test_a_repeat_answers_as_the_first_did(redis: Redis) -> None:
    chunk = (("a", "1"), ("b", "1"), ("a", "1"))
    assert submit(redis, "T", *chunk) == "aat"
    before = everything(redis)
    assert submit(redis, "T", *chunk) == "aat"
    assert everything(redis) == before and stat(redis, "submitted") == 2


def test_a_repeat_is_accepted_when_the_tasks_have_moved_on(redis: Redis) -> None:
    """Completed, running, delayed, dead: all of them are still "accepted" for whoever submitted them."""
    chunk = tuple((name, "1") for name in "abcd")
    assert submit(redis, "T", *chunk) == "aaaa"
    worker = Worker(redis)
    a, b, c, _ = worker.turn(want=4).claims
    worker.end(a, SettlementKind.OK)
    worker.end(b, SettlementKind.RETRY, delay_ms=60_000)
    worker.end(c, SettlementKind.DEAD)
    before = everything(redis)
    assert submit(redis, "T", *chunk) == "aaaa"
    assert everything(redis) == before
    assert submit(redis, "U", *chunk) == "cwww"
    assert everything(redis) == before


def test_what_was_a_duplicate_stays_one_in_a_repeat(redis: Redis) -> None:
    """Even if by then nothing is left of what made it one: the first answer may have been read."""
    submit(redis, "S", ("b", "1"))
    assert submit(redis, "T", ("a", "1"), ("b", "1")) == "as"
    redis.delete("lr:sub:b")
    assert submit(redis, "T", ("a", "1"), ("b", "1")) == "as"
    assert queued(redis) == ["b", "a"]


def test_a_task_is_known_by_its_row_or_completion_alone(redis: Redis) -> None:
    """The marks are gone: what workers hold or have completed is known all the same."""
    worker = Worker(redis)
    a, _ = worker.claim(message("a"), message("b"))
    worker.end(a, SettlementKind.OK)
    assert submit(redis, "T", ("a", "1"), ("b", "1"), ("c", "1")) == "cwa"
    assert queued(redis) == ["c"]


def test_a_submitted_message_is_claimed_like_any_other(redis: Redis) -> None:
    submit(redis, "T", ("a", "1"))
    (a,) = (worker := Worker(redis)).turn(want=5).claims
    assert a.row == "a" and worker.end(a, SettlementKind.OK) == "o"


@pytest.mark.parametrize("lists", [("q", "wrong"), ("wrong", "q")])
def test_nothing_happens_if_one_list_is_no_list(redis: Redis, lists: tuple[str, ...]) -> None:
    redis.set("wrong", "type")
    redis.lpush("q", message("before"))
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        submit(redis, "T", ("a", "1"), ("b", "2"), ("c", "1 2"), lists=lists)
    assert queued(redis) == ["before"]
    assert not list(redis.scan_iter("lr:*"))


def test_a_malformed_call_is_refused(redis: Redis) -> None:
    names = [*KEYS.indexes(), "q"]
    with pytest.raises(ResponseError, match="malformed"):
        call(redis, Script.load("submit"), [len(names), *names, KEYS.prefix, "T", 1, 2, 0, "a", "raw", "1"])
