"""Dead letters: listed, requeued, purged; the audit finds and repairs each way in which rows and indexes can differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from table_support import KEYS, Worker, everything, message, row, state, where

from locked_retry.broker.turns import SettlementKind
from locked_retry.operator.dead_letters import Tools


def _bury(redis: Redis, name: str = "a") -> Worker:
    worker = Worker(redis)
    (claim,) = worker.claim(message(name, retries=0))
    worker.end(claim, SettlementKind.RETRY, delay_ms=0, message=message(name, retries=3, lr=f"3~0~{name}"))
    (claim,) = worker.turn(want=1).claims or worker.turn(want=1).claims
    worker.end(claim, SettlementKind.DEAD, reason="ValueError: for good")
    return worker


def test_a_dead_letter_tells_what_was_given_up_and_why(redis: Redis) -> None:
    _bury(redis)
    (letter,) = Tools(redis).dead()
    assert (letter.row, letter.task, letter.reason) == ("a", "t", "ValueError: for good")
    assert (letter.attempts, letter.crashes, letter.queue) == (2, 0, "q")
    assert json.loads(letter.message)["headers"]["id"] == "a"


def test_requeue_starts_afresh_in_the_same_row_with_a_higher_fence(redis: Redis) -> None:
    worker = _bury(redis)
    before = int(row(redis, "a")["f"])
    tools = Tools(redis)
    assert tools.requeue(["a", "ghost"]) == ["a"]
    assert (state(redis, "a"), where(redis, "a")) == ("q", {"queue"})
    after = everything(redis)
    assert tools.requeue(["a"]) == []
    assert everything(redis) == after
    (claim,) = worker.turn(want=1).claims
    assert claim.row == "a" and int(claim.fence) > before
    assert json.loads(claim.raw)["headers"]["retries"] == 0


def test_a_purge_deletes_and_a_repeat_finds_nothing(redis: Redis) -> None:
    _bury(redis)
    tools = Tools(redis)
    assert tools.purge(["a"]) == ["a"]
    assert tools.purge(["a"]) == []
    assert state(redis, "a") is None and where(redis, "a") == set()


def test_only_dead_letters_are_touched(redis: Redis) -> None:
    (claim,) = Worker(redis).claim(message("a"))
    before = everything(redis)
    tools = Tools(redis)
    assert tools.purge([claim.row]) == tools.requeue([claim.row]) == []
    assert everything(redis) == before


BROKEN: dict[str, tuple[Callable[[Redis], Any], str, set[str]]] = {
    "running without lease": (lambda r: r.zrem("lr:lease", "a"), "not in lease", {"lease"}),
    "also delayed": (lambda r: r.zadd("lr:delay", {"a": 1}), "also in delay", {"lease"}),
    "entry without row": (lambda r: r.delete(KEYS.row("a")), "no row, but in lease", set()),
    "delayed nowhere": (
        lambda r: (r.hset(KEYS.row("a"), "st", "d"), r.zrem("lr:lease", "a")),
        "not in delay",
        {"delay"},
    ),
    "queued nowhere": (lambda r: (r.hset(KEYS.row("a"), "st", "q"), r.zrem("lr:lease", "a")), "queue", {"queue"}),
    "parked nowhere": (lambda r: (r.hset(KEYS.row("a"), "st", "p"), r.zrem("lr:lease", "a")), "parked", {"queue"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_audit_finds_and_repairs(redis: Redis, name: str) -> None:
    break_it, problem, place = BROKEN[name]
    Worker(redis).claim(message("a"))
    tools = Tools(redis)
    assert tools.audit() == []
    break_it(redis)
    broken = everything(redis)
    (finding,) = tools.audit()
    assert finding.row == "a" and problem in finding.problem
    assert everything(redis) == broken
    assert tools.audit(repair=True) == [finding]
    assert tools.audit() == []
    assert where(redis, "a") == place
