"""What Redis refuses for good stops neither the rest of a turn nor the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery_support import Fleet, fleet_on
from server_process import Server
from table_support import row, stat
from waiting import until

BUT_ROWS = ("celery*", "_kombu*", "unacked*", "*pidbox*", "lr:[a-cf-su-z]*", "lr:dead", "lr:delay", "lr:lease")


@pytest.fixture
def fleet(server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(server, tmp_path) as one:
        yield one


@pytest.mark.parametrize("broken", ["mails", "mails\x06\x163", "celery\x06\x169"])
def test_a_queue_that_is_no_list_stops_itself_alone(fleet: Fleet, broken: str) -> None:
    """Messages of healthy queues were claimed, never delivered, and died after 20 leases."""
    fleet.redis.set(broken, "no list")
    fleet.worker(more=("-Q", "celery,mails"))
    for number in range(20):
        fleet.task("note").apply_async((f"n{number}",), ignore_result=True)
    until(lambda: len(fleet.notes("end")) == 20, lambda: f"all run\n{fleet.log()[-2000:]}")
    fleet.settle()
    assert fleet.log().count("event=broken_queue") == 1, fleet.log()
    assert fleet.redis.get(broken) == b"no list"
    fleet.redis.delete(broken)
    fleet.task("note").apply_async(("mail",), ignore_result=True, queue="mails")
    until(lambda: fleet.notes("end", "mail"), "the other one is served when it is a list again")


def test_an_index_of_another_type_stops_everything_until_it_is_right(fleet: Fleet) -> None:
    fleet.worker()
    fleet.redis.set("lr:delay", "no sorted set")
    fleet.task("note").apply_async(("one",), ignore_result=True)
    until(lambda: "lr:delay has to be a zset" in fleet.log(), "it says so")
    assert fleet.redis.llen("celery") == 1 and not fleet.notes()
    fleet.redis.delete("lr:delay")
    until(lambda: fleet.notes("end", "one"), "it goes on")


def test_an_end_that_redis_refuses_is_a_dead_letter_and_the_others_are_settled(fleet: Fleet) -> None:
    """A retry with arguments that are too large for this Redis: the turn was repeated for ever."""
    fleet.redis.config_set("proto-max-bulk-len", 1024 * 1024)
    fleet.worker(more=("-c4",))
    for number in range(3):
        fleet.task("note").apply_async((f"n{number}", 0.3), ignore_result=True)
    fleet.task("grows").apply_async((2_000_000,), task_id="grows", ignore_result=True)
    until(lambda: stat(fleet.redis, "dead") == 1, lambda: f"a dead letter\n{fleet.log()[-3000:]}")
    fleet.settle()
    assert row(fleet.redis, "grows")["err"].startswith("Redis refused how it ended: ")
    assert len(fleet.notes("end")) == 3
    assert "event=turn_refused" in fleet.log()


def test_a_worker_that_may_not_touch_rows_loses_nothing(fleet: Fleet) -> None:
    """What it had taken from the queue when Redis refused the next command was gone."""
    fleet.worker()
    fleet.redis.execute_command("ACL", "SETUSER", "default", "resetkeys", *(f"~{key}" for key in BUT_ROWS))
    for number in range(10):
        fleet.task("note").apply_async((f"n{number}",), ignore_result=True)
    until(lambda: "event=turn_refused" in fleet.log(), lambda: fleet.log()[-2000:])
    fleet.redis.execute_command("ACL", "SETUSER", "default", "~*")
    until(lambda: len(fleet.notes("end")) == 10, lambda: f"all run\n{fleet.log()[-2000:]}")
    fleet.settle()
    assert len(fleet.notes("begin")) == 10 and stat(fleet.redis, "dead") == 0


def test_a_worker_without_permission_goes_on_when_it_has_it(fleet: Fleet) -> None:
    fleet.worker()
    fleet.redis.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
    fleet.task("note").apply_async(("one",), ignore_result=True)
    until(lambda: "NOPERM" in fleet.log() or "permission" in fleet.log(), lambda: fleet.log()[-2000:])
    fleet.redis.execute_command("ACL", "SETUSER", "default", "+evalsha", "+eval")
    until(lambda: fleet.notes("end", "one"), lambda: f"it goes on\n{fleet.log()[-2000:]}")
    assert fleet.workers[0].poll() is None
