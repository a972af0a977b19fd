"""Jobs run by real workers: every item is seen and the join runs once, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from server_process import Server
from table_support import row
from waiting import until
from worker_support import Tested, settled, surroundings

from locked_retry import Job, Progress, shard
from locked_retry.operator.dead_letters import Tools


@pytest.fixture
def tested(redis: Redis, shared_server: Server, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(shared_server.url, tmp_path) as one:
        yield one


def split(tested: Tested, items: int, **more: Any) -> Job:
    """Shards of 5 items for the task "note", which takes `work_s` for each; its join notes what it was told."""
    work = tested.app.signature("note", **more)
    return shard(work, range(items), 5, job_id="job", join=tested.app.signature("note"), app=tested.app)


def begun(tested: Tested) -> Counter[int]:
    """How often a shard with each item began."""
    lines = [" ".join(words) for words in tested.notes("begin")]
    shards = [line[line.index("[") + 1 : line.index("]")] for line in lines if "[" in line]
    return Counter(int(item) for one in shards for item in one.split(","))


def joins(tested: Tested) -> list[str]:
    """What the joins noted at their end."""
    lines = [" ".join(words) for words in tested.notes("end")]
    return [line[line.index("{") : line.index("}") + 1] for line in lines if "{" in line]


def test_a_worker_that_is_killed_half_way_loses_no_item(tested: Tested, redis: Redis) -> None:
    """What it ran comes again to the other one; every item is seen, every shard counts once, one join."""
    options = "{'lease_s': 1.0}"
    doomed = tested.worker(options=options)
    job = split(tested, 200, kwargs={"work_s": 0.03})
    until(lambda: job.progress().done >= 5, "some are done")
    until(lambda: any(row(redis, key.decode()[5:]).get("s") for key in redis.scan_iter("lr:t:*")), "one was started")
    os.killpg(doomed.pid, signal.SIGKILL)
    at_death = job.progress()
    assert 0 < at_death.done < 40 and not at_death.joined
    tested.worker(options=options)
    until(lambda: joins(tested), "the join runs", 30)
    until(lambda: settled(redis), "nothing is left")
    assert set(begun(tested)) == set(range(200))
    assert job.progress() == Progress(published=40, done=40, dead=0, total=40, joined=True)
    assert joins(tested) == ["{'job_id': 'job', 'total': 40, 'done': 40, 'dead': 0}"]


def test_shards_that_fail_are_dead_and_the_join_runs(tested: Tested, redis: Redis) -> None:
    """They are requeued and fail again, now after the join: still one join."""
    tested.worker()
    failing = tested.app.signature("note", kwargs={"work_s": "no number"})
    job = shard(failing, range(3), 2, job_id="job", join=tested.app.signature("note"), app=tested.app)
    until(lambda: joins(tested), "the join runs")
    assert joins(tested) == ["{'job_id': 'job', 'total': 2, 'done': 0, 'dead': 2}"]
    with Redis.from_url(tested.url) as client:
        assert Tools(client).requeue(job.dead()) == ["job/1", "job/2"]
    until(lambda: job.progress() == Progress(2, 0, 2, total=2, joined=True), "dead again")
    until(lambda: settled(redis), "nothing is left")
    assert len(joins(tested)) == 1 and set(begun(tested).values()) == {2}


SPLITTER = """
import sys, time
from celery import Celery
from locked_retry import shard
from locked_retry.producer import sharding

sharding.CHUNK = 4
app = Celery(broker=sys.argv[1])


def items():
    yield from range(52)
    print("half-way", flush=True)
    time.sleep(60)


shard(app.signature("note"), items(), 5, job_id="job", join=app.signature("note"), app=app)
"""


def test_a_splitter_that_is_killed_half_way_can_go_on(tested: Tested, redis: Redis) -> None:
    """While a worker runs what it published; it is run again, and again when all is published."""
    tested.worker()
    splitter = subprocess.Popen([sys.executable, "-c", SPLITTER, tested.url], stdout=subprocess.PIPE)
    assert splitter.stdout is not None and splitter.stdout.readline() == b"half-way\n"
    splitter.kill()
    splitter.communicate()
    job = Job.open(tested.app, "job")
    until(lambda: job.progress() == Progress(published=8, done=8, dead=0), "what was published is done")
    assert not joins(tested)
    for _ in range(2):
        split(tested, 83)
    until(lambda: joins(tested), "the join runs")
    until(lambda: settled(redis), "nothing is left")
    assert begun(tested) == Counter(range(83))
    assert joins(tested) == ["{'job_id': 'job', 'total': 17, 'done': 17, 'dead': 0}"]
