"""No message ends a worker or stays: thousands of mutated ones against real workers, healthy ones beside them.

A sample runs here; `HOSTILE_MESSAGES=5000` runs as many, `HOSTILE_SEED` others.
"""

from __future__ import annotations

import base64
import json
import os

import pytest
from celery_support import Fleet, got
from hostile import Hostile, good, hostile
from waiting import until

COUNT, SEED = int(os.environ.get("HOSTILE_MESSAGES", "160")), int(os.environ.get("HOSTILE_SEED", "1"))
#: So many are in the queue at a time, with one healthy task after every tenth.
BATCH, EVERY = 200, 10
YEAR_9000_MS = 221_845_392_000_000


def at_rest(fleet: Fleet) -> bool:
    with fleet.redis.pipeline(transaction=True) as pipe:
        for name in ("celery", *(f"celery\x06\x16{pri}" for pri in (3, 6, 9))):
            pipe.llen(name)
        pipe.zcard("lr:lease")
        return not any(pipe.execute())


def rows(fleet: Fleet) -> dict[str, dict[bytes, bytes]]:
    return {key.decode(errors="replace"): fleet.redis.hgetall(key) for key in fleet.redis.scan_iter("lr:t:*")}


def put(fleet: Fleet, batch: list[Hostile]) -> list[str]:
    """The messages into the queue, and healthy ones between them. Their ids."""
    healthy = []
    for number, one in enumerate(batch):
        fleet.redis.lpush("celery", one.raw)
        if number % EVERY == 0:
            healthy.append(fleet.task("note").apply_async((f"healthy-{number}",)).id)
    return healthy


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_no_message_ends_a_worker_or_stays(fleet: Fleet, pool: str) -> None:
    fleet.worker(pool=pool, options='{"lease_s": 10.0}')
    waiting = list(hostile(SEED, COUNT))
    pushed = healthy = 0
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        ids = put(fleet, batch)
        pushed, healthy = pushed + len(batch), healthy + len(ids)
        until(lambda: at_rest(fleet), lambda: f"at rest: {rows(fleet)}\n{fleet.log()[-3000:]}", 60)
        assert [fleet.app.AsyncResult(task_id).get(timeout=20) for task_id in ids]
    assert fleet.workers[0].poll() is None, fleet.log()[-3000:]
    assert len(fleet.notes("begin")) == healthy, "each healthy one ran once"
    found = rows(fleet)
    assert {row[b"st"] for row in found.values()} <= {b"x", b"d"}, "dead, or due in another year"
    for name, row in found.items():
        assert row[b"st"] == b"d" or len(row[b"err"]) > 5, name
        assert row[b"st"] == b"x" or (fleet.redis.zscore("lr:delay", name[len("lr:t:") :]) or 0) > YEAR_9000_MS, name
    stats = {k.decode(): int(v) for k, v in fleet.redis.hgetall("lr:stats").items()}
    ended = len(list(fleet.redis.scan_iter("lr:done:*"))) + len(found) + stats.get("dropped", 0)
    assert ended == pushed + healthy, stats


#: (what is changed, what its dead letter says) of messages that ended every worker, one after the other.
FOUND = [
    ({"eta": ""}, "header eta has to be a time in ISO 8601, not ''"),
    ({"expires": ""}, "header expires has to be a time in ISO 8601, not ''"),
    ({"timelimit": 5}, "header timelimit has to be two numbers, not 5"),
    ({"task": []}, "header task has to be a text, not []"),
    ({"task": "nosuch"}, "no task 'nosuch' is registered here"),
    ({"retries": "many"}, "header retries has to be a whole number from 0, not 'many'"),
]


def test_a_message_that_cannot_be_understood_is_a_dead_letter_that_says_why(fleet: Fleet) -> None:
    fleet.worker(more=("-c1",))
    for number, (headers, _) in enumerate(FOUND):
        payload = good(number)
        payload["headers"] |= headers
        fleet.redis.lpush("celery", json.dumps(payload))
    until(lambda: fleet.redis.zcard("lr:dead") == len(FOUND), "all are dead letters")
    for number, (_, reason) in enumerate(FOUND):
        assert fleet.redis.hget(f"lr:t:hostile-{number}", "err") == reason.encode()
        assert fleet.app.AsyncResult(f"hostile-{number}").get(timeout=10, propagate=False) is not None
        assert fleet.app.AsyncResult(f"hostile-{number}").status == "FAILURE"
    assert got(fleet.task("add").delay(1, 2)) == 3


def test_the_caller_of_an_unreadable_message_hears_of_it(fleet: Fleet) -> None:
    """Its errbacks are called; those of a body that makes no sense are not."""
    fleet.worker(more=("-c1",))
    errback = dict(fleet.si("heard", "errback"))
    for number, (headers, embed) in enumerate(
        [({"eta": ""}, {"errbacks": [errback]}), ({}, {"errbacks": [errback], "chord": 5}), ({}, {"errbacks": "add"})]
    ):
        payload = good(number)
        payload["headers"] |= headers
        payload["body"] = base64.b64encode(json.dumps([[1, 2], {}, embed]).encode()).decode()
        fleet.redis.lpush("celery", json.dumps(payload))
    until(lambda: fleet.redis.zcard("lr:dead") == 3, "all are dead letters")
    until(lambda: fleet.notes("heard", "errback"), lambda: f"the errback is called\n{fleet.log()[-2000:]}")
    fleet.settle()
    assert len(fleet.notes("heard")) == 1 and fleet.redis.zcard("lr:dead") == 3


def test_json_that_only_python_can_read_is_run(fleet: Fleet) -> None:
    """The script's decoder refuses half a surrogate pair, and what is nested deeper than it likes."""
    fleet.worker(more=("-c1",))
    for number, strange in enumerate(["\udce9", {"a": "\ud800"}]):
        payload = good(number)
        payload["headers"]["anything"] = strange
        fleet.redis.lpush("celery", json.dumps(payload))
        assert got(fleet.app.AsyncResult(f"hostile-{number}")) == number + 1
    payload = good(7, "flaky")
    payload["headers"]["anything"] = "\udce9"
    payload["body"] = "W1sib25lIiwgMl0sIHt9LCB7fV0="  # [["one", 2], {}, {}]
    fleet.redis.lpush("celery", json.dumps(payload))
    assert got(fleet.app.AsyncResult("hostile-7")) == "one"
    assert [line[2] for line in fleet.notes("try", "one")] == ["0", "1", "2"]
    fleet.settle()
    assert not list(fleet.redis.scan_iter("lr:t:*"))
