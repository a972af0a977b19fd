"""A herd of idle workers: few turns whatever their number, and no wake-up that is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from herd_support import Pack, pack_on
from server_process import Server
from waiting import until

WORKERS = 8
IDLE_S = 1.0
#: Much less than the idle times of 30 s, and much more than what it takes. A task that runs meanwhile.
SOON_S, LONG_S = 12.0, 30.0


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Eight workers, for tests that end none of them."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.client.config_set("save", "")
    with pack_on(server, tmp_path_factory.mktemp("herd")) as pack:
        pack.start(WORKERS, idle_s=IDLE_S)
        yield pack
    server.stop()


@pytest.fixture
def few(server: Server, tmp_path: Path) -> Iterator[Pack]:
    """A herd of the test's own."""
    with pack_on(server, tmp_path) as pack:
        yield pack


def _counted(herd: Pack, count: int, each: int) -> None:
    """So many messages or retries have cost no more than three turns each, beside those of the watch."""
    before, began_s = herd.turns(), time.monotonic()
    for number in range(count):
        name = f"{each}-{number}-{began_s}"
        herd.send("note", name) if each == 1 else herd.send("flaky", name, each - 1, kwargs={"countdown": 0.2})
        until(lambda name=name: herd.notes("end", name), name)
        herd.rest()
    idle = 2 * (time.monotonic() - began_s) / IDLE_S
    took = herd.turns_since(before)
    assert took <= 3 * each * count + idle, f"{took} turns for {count} messages"


def test_a_message_takes_three_turns_at_most(herd: Pack) -> None:
    _counted(herd, 30, 1)


def test_a_due_retry_takes_three_turns_at_most(herd: Pack) -> None:
    _counted(herd, 10, 3)


def test_idle_workers_take_one_turn_in_an_idle_time_together(herd: Pack) -> None:
    before, began_s = herd.turns(), time.monotonic()
    until(lambda: time.monotonic() - began_s > 4 * IDLE_S)
    assert herd.turns_since(before) <= 2 * (time.monotonic() - began_s) / IDLE_S


def test_messages_that_come_together_wake_all_workers(herd: Pack) -> None:
    """Each is woken although none of them can hold two."""
    for number in range(WORKERS):
        herd.send("note", f"together{number}", 3.0)
    until(lambda: len([n for n in herd.notes("begin") if n[1].startswith("together")]) == WORKERS, "all run")
    assert not [n for n in herd.notes("end") if n[1].startswith("together")]
    herd.rest()


@pytest.mark.parametrize("what", ["connections", "data", "scripts", "server"])
def test_a_herd_recovers_from_what_redis_has_lost(herd: Pack, what: str) -> None:
    """... its connections, its data, its scripts or all of these: messages are taken, and few turns again."""
    redis = herd.redis
    if what == "connections":
        redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
    elif what == "data":
        redis.flushall()
    elif what == "scripts":
        redis.script_flush()
    else:
        redis.shutdown(nosave=True)
        until(lambda: herd.server.process.poll() is not None, "it has ended")
        herd.server.start()
    for number in range(3):
        herd.run(f"{what}{number}")
    herd.rest()
    _counted(herd, 5, 1)


def test_a_watch_that_is_killed_is_replaced(few: Pack) -> None:
    few.start(3)
    process = few.workers[few.watch()]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    few.run("after", 2.5 * IDLE_S + SOON_S)
    few.rest()


def test_a_lost_call_is_noticed_by_its_caller(few: Pack) -> None:
    """A worker that is called and dies at once: nobody listens then, and others would look much later."""
    few.start(1, idle_s=30.0)
    thief = few.thief()
    few.run("called")
    assert thief.recv(100).endswith(b"listen\r\n")
    thief.close()
    few.run("missed", SOON_S)


def test_nobody_calls_a_worker_whose_loop_stands_still(few: Pack) -> None:
    """The solo pool runs tasks in the loop: one that sleeps, and finds that something is due, sleeps no longer."""
    few.start(2, idle_s=30.0, pool="solo")
    few.send("note", "due", LONG_S, countdown=0.3)
    few.rest()
    until(lambda: few.notes("begin", "due"), "the one that sleeps runs it")
    until(lambda: not few.asleep(), "and does not wait for a call", SOON_S)
    few.run("other", SOON_S)
    assert not few.notes("end", "due")


def test_a_newcomer_beside_a_busy_solo_worker_listens(few: Pack) -> None:
    """Nobody slept when that began: it stayed the watch, and its loop stood still."""
    few.start(1, idle_s=30.0, pool="solo")
    few.send("note", "long", LONG_S)
    until(lambda: few.notes("begin", "long"), "it runs")
    few.start(1, idle_s=30.0, pool="solo", rest=False)
    few.run("short", SOON_S)
    assert not few.notes("end", "long")


def test_another_worker_sees_to_what_an_ended_one_had_planned(few: Pack) -> None:
    """It had planned a retry, and nobody else knew when that was due."""
    few.start(3, idle_s=30.0)
    few.send("flaky", "retried", 1, kwargs={"countdown": 4.0})
    until(lambda: few.redis.zcard("lr:delay") == 1 and few.redis.exists("lr:look"), "it is planned")
    token = few.redis.get("lr:look").split()[1]
    planner = next(n for n in range(3) if token.decode() in few.log(n))
    few.workers[planner].terminate()
    few.workers[planner].wait(20)
    until(lambda: few.notes("end", "retried"), "the retry runs when it is due", SOON_S)


def test_a_watch_that_ends_calls_another_first(few: Pack) -> None:
    """With an idle time that nobody could wait for. It ends while it runs a task, which it goes on with."""
    few.start(2, idle_s=30.0, prefetch=4)
    watch = few.watch()
    for number in range(2):  # the first one makes the other the watch, the second one makes it the watch again
        few.send("note", f"long{number}", LONG_S)
        until(lambda number=number: few.notes("begin", f"long{number}"), f"{number} runs")
        until(lambda: few.asleep() == 1, "one sleeps again")
    os.kill(few.workers[watch].pid, signal.SIGTERM)
    until(lambda: "Warm shutdown" in few.log(watch), "it ends")
    few.send("note", "after")
    until(lambda: not few.redis.llen("celery"), "the other one has it", SOON_S)
    assert not few.notes("end"), "while both were busy"


def test_a_watch_that_no_longer_consumes_calls_another(few: Pack) -> None:
    few.start(2, idle_s=30.0)
    few.run("first")
    few.rest(asleep=1)
    for number in range(2):
        name = [f"w{number}@test"]
        few.app.control.cancel_consumer("celery", destination=name, reply=True, timeout=5)
        until(lambda number=number: "Canceling queue" in few.log(number), "done: Celery answers before it is")
        few.run(f"without{number}", SOON_S)
        few.app.control.add_consumer("celery", destination=name, reply=True, timeout=5)
        until(lambda number=number: "Started consuming" in few.log(number), "done")
        few.run(f"with{number}", SOON_S)
    few.rest(asleep=1)
