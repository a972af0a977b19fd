"""What waits until it is due: listed, run before its time, cancelled. By the command line, with real workers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chord
from celery.exceptions import ChordError, TaskRevokedError
from celery_support import Fleet, got
from click.testing import CliRunner, Result
from redis import Redis
from table_support import KEYS, SettlementKind, Worker, message, row, stat, state
from waiting import until

from locked_retry import shard
from locked_retry.broker.turns import Script, call
from locked_retry.operator.commands import plugin
from locked_retry.operator.dead_letters import Tools
from locked_retry.operator.delayed import cancel, delayed, run_now


def run(fleet: Fleet, *words: str) -> Result:
    return CliRunner().invoke(plugin, list(words), obj=fleet.app)


def later(fleet: Fleet, task: str, *args: Any, count: int = 1, **options: Any) -> Any:
    """Published with an ETA, and waiting in Redis."""
    result = fleet.task(task).apply_async(args, **{"countdown": 600, **options})
    until(lambda: fleet.redis.zcard("lr:delay") == count, "it waits in Redis")
    return result


# --- the script


def _waiting(redis: Redis, *names: str) -> Worker:
    worker = Worker(redis)
    for claim in worker.claim(*(message(name, retries=0) for name in names)):
        worker.end(claim, SettlementKind.SNOOZE, delay_ms=600_000, reason="ETA")
    return worker


def test_a_row_that_is_not_delayed_is_left_alone(redis: Redis) -> None:
    worker = _waiting(redis, "a", "b")
    redis.lpush("q", message("queued"))
    (held,) = worker.claim(message("held"))
    assert run_now(Tools(redis), ["a", "queued", held.row, "none"]) == ["a"]
    assert run_now(Tools(redis), ["a"]) == [], "it is no longer delayed"
    assert [one.row for one in delayed(Tools(redis))] == ["b"]


def test_an_attempt_that_was_not_seen_is_not_cancelled(redis: Redis) -> None:
    """It was listed, has run meanwhile, and waits again with another message."""
    _waiting(redis, "a")
    words = ["a", "0" * 40, message("a", lr_cancelled=True)]
    names = KEYS.indexes()
    assert call(redis, Script.load("release"), [len(names), *names, KEYS.prefix, *words]) == []
    assert state(redis, "a") == "d" and redis.llen("q") == 0


def test_thousands_are_listed_in_order_with_many_that_are_due_at_once(redis: Redis) -> None:
    pipe = redis.pipeline(transaction=False)
    for number in range(1000):
        pipe.hset(KEYS.row(f"r{number}"), mapping={"st": "d", "msg": message(f"r{number}"), "q": "q"})
        pipe.zadd("lr:delay", {f"r{number}": 10**12 + number // 300})
    pipe.execute()
    found = list(delayed(Tools(redis)))
    assert len({one.row for one in found}) == 1000
    assert [one.due_ms for one in found] == sorted(one.due_ms for one in found)


def test_messages_of_any_bytes_can_be_cancelled(redis: Redis) -> None:
    """No JSON, names that are no UTF-8: they go as they are, and whoever claims them buries them."""
    for name, raw in {b"\xff\xfe": b"\xff no message", b"\xe2\x82": message("x").encode() + b" "}.items():
        redis.hset(b"lr:t:" + name, mapping={"st": "d", "msg": raw, "q": "q"})
        redis.zadd("lr:delay", {name: 10**13})  # type: ignore[misc]
    rows = [one.row for one in delayed(Tools(redis))]
    assert len(cancel(Tools(redis), rows)) == 2
    assert redis.lindex("q", 0) in (b"\xff no message",) or redis.lindex("q", 1) == b"\xff no message"


# --- with workers


def test_delayed_tasks_are_listed(fleet: Fleet) -> None:
    fleet.worker()
    later(fleet, "note", "b", task_id="eta")
    fleet.task("flaky").apply_async(("c", 1), {"countdown": 500}, task_id="retry")
    until(lambda: fleet.redis.zcard("lr:delay") == 2, "both wait")
    lines = run(fleet, "delayed", "list").output.splitlines()
    assert [line.split()[:2] for line in lines] == [["retry", "flaky"], ["eta", "note"]]
    assert lines[0].endswith("celery  attempts 1  ValueError('not yet')") and lines[1].endswith("attempts 0  ETA")
    (one,) = (
        json.loads(line) for line in run(fleet, "delayed", "list", "--task", "note", "--json").output.splitlines()
    )
    assert one["task_id"] == "eta" and 500_000 < one["due_ms"] - fleet.redis.time()[0] * 1000 <= 601_000
    assert len(run(fleet, "delayed", "list", "--limit", "1").output.splitlines()) == 1


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_delayed_task_can_run_before_its_time(fleet: Fleet, pool: str) -> None:
    """An ETA and a retry, which is the same attempt as it would have been; of any base."""
    fleet.worker(pool=pool)
    results = [later(fleet, "note", "eta"), later(fleet, "plain_later", count=2)]
    fleet.task("flaky").apply_async(("retry", 1), {"countdown": 600}, task_id="retry")
    until(lambda: fleet.redis.zcard("lr:delay") == 3, "all wait")
    assert run(fleet, "delayed", "run", "--all").output == "3 queued\n"
    assert got(results[0]) == "eta" and got(results[1]) is None
    until(lambda: len(fleet.notes("try", "retry")) == 2, "its second attempt")
    fleet.settle()
    assert stat(fleet.redis, "dropped") == stat(fleet.redis, "dead") == 0
    assert not list(fleet.redis.scan_iter("lr:t:*")) and not list(Tools(fleet.redis).audit())


@pytest.mark.parametrize("task", ["note", "plain_later", "ordered"])
def test_a_cancelled_task_is_revoked_and_its_id_is_free(fleet: Fleet, task: str) -> None:
    """Of our base, or of Celery's and acknowledged early; with a lock."""
    args = {"note": ("n",), "ordered": ("order",)}.get(task, ())
    fleet.worker()
    result = later(fleet, task, *args, task_id="once")
    assert run(fleet, "delayed", "cancel", "once").output == "1 cancelled\n"
    with pytest.raises(TaskRevokedError):
        got(result)
    fleet.settle()
    assert not fleet.notes("begin") and fleet.signals("once") == ["revoked"]
    assert not list(fleet.redis.scan_iter("lr:t:*")) and not list(fleet.redis.scan_iter("lr:lock:*"))
    assert row(fleet.redis, "once") == {}
    fleet.task("note").apply_async(("again",), task_id="once", ignore_result=True)
    until(lambda: fleet.notes("end", "again"), lambda: f"its id is free\n{fleet.log()[-2000:]}")


def test_a_cancelled_retry_does_not_run_again(fleet: Fleet) -> None:
    fleet.worker()
    result = fleet.task("flaky").apply_async(("r", 3), {"countdown": 600}, task_id="retry")
    until(lambda: fleet.redis.zcard("lr:delay") == 1, "it waits")
    assert run(fleet, "delayed", "cancel", "--task", "flaky", "--yes").output == "1 cancelled\n"
    with pytest.raises(TaskRevokedError):
        got(result)
    fleet.settle()
    assert len(fleet.notes("try", "r")) == 1


def test_a_chord_hears_that_a_member_was_cancelled(fleet: Fleet) -> None:
    fleet.worker()
    waiting = fleet.si("note", "never").set(countdown=600)
    result = chord([fleet.si("note", "at once"), waiting])(fleet.s("collect", "joined"))
    until(lambda: fleet.redis.zcard("lr:delay") == 1 and fleet.notes("end", "at"), "one waits")
    assert run(fleet, "delayed", "cancel", "--all", "--yes").output == "1 cancelled\n"
    with pytest.raises((ChordError, TaskRevokedError)):
        got(result)
    assert not fleet.notes("collect")


def test_a_cancelled_shard_counts_as_dead(fleet: Fleet) -> None:
    fleet.worker()
    job = shard(fleet.task("note").s().set(countdown=600), "ab", size=1, job_id="j", app=fleet.app)
    until(lambda: fleet.redis.zcard("lr:delay") == 2, "both shards wait")
    assert run(fleet, "delayed", "cancel", "--all", "--yes").output == "2 cancelled\n"
    until(lambda: job.progress().dead == 2, lambda: f"the job knows: {job.progress()}")


def test_a_cancelled_task_waits_for_a_worker_to_revoke_it(fleet: Fleet) -> None:
    first = fleet.worker()
    result = later(fleet, "note", "n", task_id="t")
    first.terminate()
    first.wait(30)
    assert run(fleet, "delayed", "cancel", "t").output == "1 cancelled\n"
    assert run(fleet, "delayed", "cancel", "t").exit_code == 1, "it is queued now"
    fleet.worker()
    with pytest.raises(TaskRevokedError):
        got(result)


def test_a_wrong_call_is_one_line(fleet: Fleet) -> None:
    for words, code, said in (
        (["cancel"], 2, "name rows, or give --task or --all"),
        (["cancel", "a", "--all"], 2, "name rows"),
        (["run", "nothing"], 1, "not delayed, or no longer: nothing; `delayed list` names what is"),
        (["list", "--limit", "0"], 2, "0 is not in the range"),
    ):
        done = run(fleet, "delayed", *words)
        assert (done.exit_code, "Traceback" in done.output) == (code, False) and said in done.output, done.output


# --- inspect scheduled


def scheduled(fleet: Fleet) -> list[dict[str, Any]]:
    inspect = fleet.app.control.inspect(timeout=20.0, limit=1)
    found: list[dict[str, Any]] = until(inspect.scheduled, "it answers")["w0@test"]
    return found


def test_inspect_scheduled_lists_what_waits_in_redis(fleet: Fleet) -> None:
    """As Celery shows it, to the microsecond; also a retry, and a task that no worker here has."""
    fleet.worker()
    eta = datetime.now(UTC).replace(microsecond=123456) + timedelta(seconds=600)
    later(fleet, "add", 1, 2, eta=eta, countdown=None, task_id="eta")
    (listed,) = scheduled(fleet)
    request = listed["request"]
    assert (listed["eta"], listed["priority"]) == (eta.isoformat(), 6)
    assert (request["id"], request["name"], request["args"], request["kwargs"]) == ("eta", "add", [1, 2], {})
    assert (request["hostname"], request["time_start"], request["acknowledged"]) == ("w0@test", None, False)
    assert request["delivery_info"]["routing_key"] == "celery" and request["worker_pid"] is None
    fleet.redis.hset("lr:t:odd", mapping={"st": "d", "msg": message("odd", task="unknown"), "q": "celery"})
    fleet.redis.hset("lr:t:elsewhere", mapping={"st": "d", "msg": message("elsewhere"), "q": "other"})
    due_ms = int(eta.timestamp() * 1000) + 5000
    fleet.redis.zadd("lr:delay", {"odd": due_ms, "elsewhere": due_ms, "gone": due_ms})
    both = scheduled(fleet)
    assert [one["request"]["id"] for one in both] == ["eta", "odd"]
    assert both[1]["request"]["name"] == "unknown"


def test_inspect_scheduled_is_bounded(fleet: Fleet) -> None:
    pipe = fleet.redis.pipeline(transaction=False)
    due_ms = (fleet.redis.time()[0] + 600) * 1000
    for number in range(300):
        pipe.hset(f"lr:t:r{number}", mapping={"st": "d", "msg": message(f"r{number}"), "q": "celery"})
        pipe.zadd("lr:delay", {f"r{number}": due_ms + number})
    pipe.execute()
    fleet.worker()
    found = scheduled(fleet)
    assert [one["request"]["id"] for one in found] == [f"r{number}" for number in range(100)]
