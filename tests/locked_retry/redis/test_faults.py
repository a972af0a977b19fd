"""Faults that stop or starve plain Celery 5.7: the same worker process goes on, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from server_process import Server
from table_support import stat
from waiting import until
from worker_support import Tested, settled, surroundings


@pytest.fixture(params=["prefork", "threads"])
def tested(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(server.url, tmp_path) as one:
        one.pool = request.param
        one.worker(pool=one.pool, options='{"lease_s": 3.0}')
        yield one


def _fill(tested: Tested, count: int, work_s: float = 0.01) -> None:
    for number in range(count):
        tested.send("note", f"n{number}", work_s)


def _all_ran(tested: Tested, redis: Redis, count: int) -> None:
    until(lambda: len({n[1] for n in tested.notes("end")}) == count and settled(redis), "all ran and settled", 30)


def _once_each(tested: Tested, count: int) -> None:
    names = [n[1] for n in tested.notes("begin")]
    assert len(names) == len(set(names)) == count


def _alive(tested: Tested, number: int = 0) -> None:
    assert tested.workers[number].poll() is None, tested.log(number)[-2000:]
    assert "Unrecoverable error" not in tested.log(number)


def _answers(tested: Tested) -> bool:
    with tested.app.connection_for_write() as fresh:  # the producer's own may have been cut
        return bool(tested.app.control.ping(timeout=1.0, connection=fresh))


def test_a_busy_worker_goes_on_when_redis_was_away(tested: Tested, server: Server) -> None:
    """celery 5.7: the busy worker exits with AttributeError in on_connection_error_after_connected."""
    _fill(tested, 60, 0.05)
    until(lambda: len(tested.notes("end")) > 5, "it is busy")
    server.kill()
    begun = len(tested.notes("end"))
    until(lambda: len(tested.notes("end")) > begun + 1, "what it holds goes on without Redis")
    server.start()
    _all_ran(tested, server.client, 60)
    _once_each(tested, 60)
    _alive(tested)
    assert until(lambda: tested.app.control.ping(timeout=1.0), "remote control answers again", 20)


def test_connections_may_be_cut_again_and_again(tested: Tested, server: Server) -> None:
    """celery 5.7: each failed ack leaks a prefetch slot until the worker is deaf; popped messages are lost."""
    redis = server.client
    _fill(tested, 200)
    for _ in range(25):
        done = len(tested.notes("end"))
        redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda done=done: len(tested.notes("end")) > done or len(tested.notes("end")) == 200, "it goes on")  # type: ignore[misc]
    _all_ran(tested, redis, 200)
    _once_each(tested, 200)
    _alive(tested)
    assert stat(redis, "stale") == stat(redis, "reaped") == 0


def test_connections_may_end_after_a_process_was_replaced(server: Server, tmp_path: Path) -> None:
    """The new process has copies of the sockets, so that epoll would go on reporting connections that have ended.

    Under numbers that are others' by then: the loop would read where nothing comes, until the socket's timeout.
    """
    with surroundings(server.url, tmp_path) as tested:
        tested.worker(options='{"lease_s": 3.0}')
        redis = server.client
        for number in range(3):
            tested.send("ends", "exit")
            until(lambda n=number: tested.log().count("exited with 'exitcode 9'") > n, "a process is replaced")  # type: ignore[misc]
            until(lambda: settled(redis) or redis.zcard("lr:delay"), "that was settled")
            redis.client_kill_filter(_type="normal", skipme=True)
            redis.client_kill_filter(_type="pubsub", skipme=True)
            tested.send("note", f"n{number}")
            until(lambda n=number: tested.notes("end", f"n{n}"), "it goes on")  # type: ignore[misc]
            until(lambda: _answers(tested), "remote control answers again", 20)
        _alive(tested)
        assert "Timeout reading from socket" not in tested.log()


def test_a_full_redis_is_drained_and_used_again(tested: Tested, server: Server) -> None:
    """celery 5.7: OutOfMemoryError on the first ack ends the worker."""
    redis = server.client
    _fill(tested, 40, 0.05)
    redis.config_set("maxmemory", 1)
    until(lambda: len(tested.notes("end")) == 40 and settled(redis), "drained while full", 20)
    redis.config_set("maxmemory", 0)
    tested.send("note", "after")
    until(lambda: tested.notes("end", "after"), "and goes on")
    _alive(tested)


def test_a_worker_goes_on_after_a_read_only_redis_and_a_script_flush(tested: Tested, server: Server) -> None:
    redis = server.client
    _fill(tested, 40, 0.05)
    until(lambda: tested.notes("end"), "it works")
    redis.replicaof("127.0.0.1", "1")
    until(lambda: "event=connection_failed" in tested.log(), "the refusal is met")
    redis.replicaof("NO", "ONE")
    redis.script_flush()
    _all_ran(tested, redis, 40)
    _once_each(tested, 40)
    _alive(tested)


def test_a_silent_redis_is_given_up_in_time(tested: Tested, server: Server) -> None:
    """celery 5.7 without socket_timeout: hangs for ever. Here the turn is repeated on a new connection."""
    redis = server.client
    _fill(tested, 20, 0.05)
    until(lambda: tested.notes("end"), "it works")
    os.kill(server.process.pid, signal.SIGSTOP)
    time.sleep(2.0)  # the fault's length: more than the reply timeout of a third of the lease
    os.kill(server.process.pid, signal.SIGCONT)
    _all_ran(tested, redis, 20)
    _alive(tested)


def test_a_killed_worker_is_followed_by_another_after_its_lease(tested: Tested, server: Server) -> None:
    tested.worker(pool=tested.pool, options='{"lease_s": 3.0}')
    _fill(tested, 30, 0.1)
    until(lambda: len(tested.notes("end")) > 4, "both are busy")
    os.killpg(tested.workers[0].pid, signal.SIGKILL)
    _all_ran(tested, server.client, 30)
    begins = [n[1] for n in tested.notes("begin")]
    assert len(begins) - len(set(begins)) <= 4  # what was running in it, or done and not settled
    _alive(tested, 1)


def test_a_paused_worker_cannot_settle_what_was_taken_from_it(tested: Tested, server: Server) -> None:
    tested.send("note", "slow", 1.0, task_id="slow")
    (first,) = until(lambda: tested.notes("begin", "slow"), "it runs")
    os.killpg(tested.workers[0].pid, signal.SIGSTOP)
    tested.worker(pool=tested.pool, options='{"lease_s": 3.0}')
    until(lambda: len(tested.notes("begin", "slow")) == 2, "the other took over", 20)
    os.killpg(tested.workers[0].pid, signal.SIGCONT)
    until(lambda: len(tested.notes("end", "slow")) == 2 and settled(server.client), "both ended")
    second = tested.notes("begin", "slow")[1]
    assert int(second[2]) > int(first[2])
    (late,) = tested.notes("end", "slow", first[2])
    assert late[3] == "False"  # its lease said so
    until(lambda: stat(server.client, "stale") == 1, "its settle was refused")


def test_pool_processes_die_with_a_killed_parent(tested: Tested, server: Server) -> None:
    if tested.pool == "threads":
        pytest.skip("threads are their parent")
    tested.send("note", "slow", 30.0)
    until(lambda: tested.notes("begin", "slow"), "it runs")
    group = tested.workers[0].pid
    tested.workers[0].kill()
    tested.workers[0].wait()

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    until(gone, "no orphan is left", 5)
