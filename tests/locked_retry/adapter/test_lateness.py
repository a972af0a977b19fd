"""What comes up in the loop's own thread is seen to when it is due, not when something else wakes the loop.

kombu's hub computes how long it sleeps before it calls `on_poll_start`. bench/wakeup.py has the times of real workers.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from engine_support import Engined, Loop
from kombu.asynchronous.hub import Hub
from redis import Redis
from server_process import Server
from table_support import message

from locked_retry.adapter.poller import Poller


def _sleeps_s(hub: Any) -> float:
    """How long the hub would sleep now."""
    return float(hub.fire_timers(min_delay=0.0001))


def test_a_hub_that_has_computed_its_sleep_is_woken_when_something_is_due() -> None:
    due_s = 30.0
    hub, poller = Hub(), Poller()
    poller.hub = hub
    engine = SimpleNamespace(wait_s=lambda: due_s, pump=lambda: None)
    poller._channels = [SimpleNamespace(engine=engine, active_queues=[], active_fanout_queues=[])]
    poller.on_poll_start()
    assert _sleeps_s(hub) >= 1.0
    due_s = 0.02
    poller.arm()
    assert _sleeps_s(hub) <= 0.02
    due_s = 5.0
    poller.arm()
    assert _sleeps_s(hub) <= 0.02, "what is due first is not put off"
    hub.close()


def test_the_hub_is_asked_once_to_watch_a_socket() -> None:
    """kombu asks it on every round, which is a system call for each socket: a tenth of what the loop did."""
    hub, poller, fd = Hub(), Poller(), os.open(os.devnull, os.O_RDONLY)
    channel = SimpleNamespace(engine=None)
    reader, writer = os.pipe()
    try:
        poller.run_in(hub, poller.on_readable)
        poller._fd_to_chan.update({reader: (channel, "TURN"), fd: (channel, "BRPOP")})
        assert set(poller.fds) == {reader, fd}
        hub.add_reader(reader, poller.on_readable, reader)
        assert set(poller.fds) == {fd}, "what is kombu's may have been taken from the poller alone"
        hub.add_reader(reader, print, reader)
        assert set(poller.fds) == {reader, fd}, "the number was another's meanwhile"
        hub.add_reader(reader, poller.on_readable, reader)
        hub.remove(reader)
        assert set(poller.fds) == {reader, fd}, "it has been forgotten"
    finally:
        hub.close()
        for each in (reader, writer, fd):
            os.close(each)


def test_an_end_in_the_thread_of_the_loop_sets_its_alarm(redis: Redis, shared_server: Server) -> None:
    """Once per turn: the others go with it."""
    loop = Loop(shared_server.port)
    one = Engined(loop, "q")
    alarms: list[tuple[int, float]] = []
    one.connection.cycle.arm = lambda: alarms.append((one.session.metrics.turns, one.engine.wait_s()))
    redis.lpush("q", *(message(f"m{number}") for number in range(50)))
    loop.until(lambda: len(one.got) == 50, "they have come, and ended")
    loop.until(lambda: not redis.zcard("lr:lease"), "they are settled")
    turns = [turn for turn, _ in alarms]
    assert turns and len(turns) == len(set(turns)), alarms
    assert all(wait_s <= one.session.options.flush_s + 0.001 for _, wait_s in alarms)
    loop.stop()
