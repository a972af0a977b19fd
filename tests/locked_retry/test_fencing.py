"""Effects by fence: only the highest, together or not at all, once if named; and in SQL, as the docs show it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from repository import ROOT
from waiting import until
from worker_support import APP, surroundings

from locked_retry import fencing
from locked_retry.fencing import FencedOutcome

GUIDE = ROOT / "docs/how-to/run-locked-retry-in-production.md"


def test_only_the_highest_fence_sets(redis: Redis) -> None:
    assert fencing.fenced_set(redis, "k", "old", 5)
    assert fencing.fenced_set(redis, "k", "new", 7)
    assert not fencing.fenced_set(redis, "k", "old", 5)
    assert redis.get("k") == b"new"
    assert fencing.fenced_set(redis, "k", "newer", 7)  # the same holder, or its repeat after a lost reply
    assert redis.get("k") == b"newer"


def test_fences_are_as_large_as_microseconds(redis: Redis) -> None:
    now_us = 1_790_000_000_000_001
    assert fencing.fenced_set(redis, "k", "a", now_us)
    assert not fencing.fenced_set(redis, "k", "b", now_us - 1)
    assert redis.get("k:fence") == str(now_us).encode()


def test_commands_run_together_or_not_at_all(redis: Redis) -> None:
    done = fencing.apply(redis, "order:1", 9, ("HSET", "order:1", "state", "paid"), ("RPUSH", "paid", "order:1"))
    assert (done.outcome, done.highest, done.replies) == (FencedOutcome.APPLIED, 9, (1, 1))
    before = (redis.hgetall("order:1"), redis.lrange("paid", 0, -1))
    refused = fencing.apply(redis, "order:1", 8, ("HSET", "order:1", "state", "new"), ("RPUSH", "paid", "order:1"))
    assert (bool(refused), refused.outcome, refused.highest) == (False, FencedOutcome.REFUSED, 9)
    assert (redis.hgetall("order:1"), redis.lrange("paid", 0, -1)) == before


def test_a_call_without_commands_shuts_out_older_fences(redis: Redis) -> None:
    assert fencing.apply(redis, "printer", 3)
    assert not fencing.apply(redis, "printer", 2)


def test_a_named_effect_happens_once(redis: Redis) -> None:
    def add(fence: int, effect: str) -> FencedOutcome:
        return fencing.apply(redis, "account", fence, ("INCRBY", "balance", 10), effect=effect).outcome

    assert add(5, "task-a") is FencedOutcome.APPLIED
    assert add(5, "task-a") is FencedOutcome.REPEATED  # a lost reply
    assert add(6, "task-a") is FencedOutcome.REPEATED  # the next execution of the same task
    assert add(5, "task-b") is FencedOutcome.REFUSED  # 6 has been here
    assert add(6, "task-b") is FencedOutcome.APPLIED
    assert redis.get("balance") == b"20"
    assert fencing.apply(redis, "account", 6, effect="task-a")


def test_records_are_kept_as_long_as_told(redis: Redis) -> None:
    fencing.apply(redis, "r", 1, ("SET", "x", 1), effect="e", keep_fence_s=0, keep_effect_s=100)
    assert redis.ttl("r:fence") == -1
    assert 90 < redis.ttl("r:effect:e") <= 100  # type: ignore[operator]
    fencing.apply(redis, "r", 2, keep_fence_s=50)
    assert 40 < redis.ttl("r:fence") <= 50  # type: ignore[operator]


def test_a_client_that_decodes_gets_decoded_replies(redis: Redis, shared_server: Any) -> None:
    decoding = Redis(port=shared_server.port, decode_responses=True)
    assert fencing.apply(decoding, "r", 4, ("SET", "x", "y"), ("GET", "x")).replies == ("OK", "y")


def test_a_call_that_cannot_work_is_refused(redis: Redis) -> None:
    with pytest.raises(ValueError, match="fence >= 0"):
        fencing.fenced_set(redis, "k", "v", -1)
    with pytest.raises(ValueError, match="commands with words"):
        fencing.apply(redis, "k", 1, ())
    with pytest.raises(ResponseError):
        fencing.apply(redis, "k", 1, ("NO-SUCH-COMMAND",), effect="e")
    assert fencing.apply(redis, "k", 1, ("SET", "x", 1), effect="e").outcome is FencedOutcome.APPLIED


MORE = """

@app.task(bind=True, name="fenced")
def fenced(self):
    from redis import Redis
    from locked_retry import fencing
    note("begin", os.getpid(), self.fence)
    while not os.path.exists(JOURNAL + ".go"):
        time.sleep(0.01)
    done = fencing.fenced_set(Redis.from_url(os.environ["TESTED_URL"]), "effect", self.fence, self.fence)
    note("effect", self.fence, done)
"""


def test_a_paused_holder_is_refused_after_its_successor(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    """The whole worker stops inside the task; another one runs it after the lease; then the first goes on."""
    with surroundings(shared_server.url, tmp_path) as one:
        (tmp_path / "tested_app.py").write_text(APP + MORE)
        first = one.worker(options='{"lease_s": 1.0}')
        one.send("fenced")
        older = until(lambda: one.notes("begin"), "it runs")[0][2]
        os.killpg(first.pid, signal.SIGSTOP)
        one.worker(options='{"lease_s": 1.0}')
        until(lambda: len(one.notes("begin")) == 2, "its successor runs", 20)
        newer = one.notes("begin")[1][2]
        Path(f"{one.journal}.go").touch()
        until(lambda: one.notes("effect", newer), "the successor's effect")
        os.killpg(first.pid, signal.SIGCONT)
        until(lambda: one.notes("effect", older), "the paused one goes on")
    assert int(newer) > int(older)
    assert one.notes("effect", newer, True)
    assert one.notes("effect", older, False)
    assert redis.get("effect") == newer.encode()


def _sql(name: str) -> str:
    """A statement of the guide: the block that begins with this comment."""
    return re.findall(rf"```sql\n-- {name}\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0]


def test_the_guides_update_refuses_an_older_fence() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, fence BIGINT NOT NULL DEFAULT 0)")
    db.execute("INSERT INTO orders (id, state) VALUES (1, 'new')")

    def ship(state: str, fence: int) -> int:
        return db.execute(_sql("change a row"), {"id": 1, "state": state, "fence": fence}).rowcount

    assert [ship("packed", 5), ship("shipped", 7), ship("packed", 5), ship("shipped", 7)] == [1, 1, 0, 1]
    assert db.execute("SELECT state, fence FROM orders").fetchall() == [("shipped", 7)]


def test_the_guides_upsert_refuses_an_older_fence() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, fence BIGINT NOT NULL DEFAULT 0)")

    def put(state: str, fence: int) -> int:
        return db.execute(_sql("add or change a row"), {"id": 1, "state": state, "fence": fence}).rowcount

    assert [put("new", 5), put("shipped", 7), put("new", 5)] == [1, 1, 0]
    assert db.execute("SELECT state, fence FROM orders").fetchall() == [("shipped", 7)]


def test_the_guides_insert_happens_once() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE effects (id TEXT PRIMARY KEY, fence BIGINT NOT NULL)")
    once = [db.execute(_sql("once"), {"effect": "task-a", "fence": fence}).rowcount for fence in (5, 6)]
    assert once == [1, 0]
