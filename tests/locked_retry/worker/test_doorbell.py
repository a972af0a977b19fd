"""The doorbell on a real connection: what it asks, what it takes for what, and what it does when it may not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from engine_support import Engined, Loop
from redis import Redis
from server_process import Server
from table_support import KEYS, message

from locked_retry.broker.herd import Role, name_of


@pytest.fixture
def loop(redis: Redis, shared_server: Server) -> Iterator[Loop]:
    one = Loop(shared_server.port)
    yield one
    one.stop()


def _pair(loop: Loop, idle_s: float = 1.0) -> tuple[Engined, Engined]:
    """The watch, and one that sleeps."""
    pair = Engined(loop, "q", idle_s=idle_s), Engined(loop, "q", idle_s=idle_s)
    for one, role in zip(pair, (Role.WATCH, Role.ASLEEP), strict=True):
        loop.until(lambda one=one: one.session.herd.role is not Role.NONE, "it has a role")
        if role is Role.WATCH:
            loop.until(lambda: "t" in {c["flags"] for c in _clients(loop)}, "it listens")
    loop.until(lambda: sorted(one.session.herd.role for one in pair) == [Role.WATCH, Role.ASLEEP], "one of each")
    watch, sleeper = sorted(pair, key=lambda one: one.session.herd.role)
    loop.until(lambda: sleeper.session.herd.blocked, "it sleeps")
    return watch, sleeper


def _clients(loop: Loop) -> list[dict[str, str]]:
    with Redis(port=loop.port) as redis:
        return list(redis.client_list())  # type: ignore[arg-type]


def test_messages_go_round_without_a_turn_that_finds_nothing(redis: Redis, loop: Loop) -> None:
    pair = _pair(loop, idle_s=30.0)
    before = sum(one.session.metrics.turns for one in pair)
    for number in range(6):
        redis.lpush("q", message(f"m{number}"))
        loop.until(lambda number=number: sum(len(one.got) for one in pair) > number, f"{number} has come")
        loop.until(lambda: not redis.zcard("lr:lease"), "it is settled")
        loop.until(lambda: sum(one.session.herd.blocked for one in pair) == 1, "they are idle")
    assert [len(one.got) for one in pair] == [3, 3]
    loop.until(lambda: all(one.session.pending is None for one in pair), "all is answered")
    assert sum(one.session.metrics.turns for one in pair) - before <= 12
    watch = next(one for one in pair if not one.session.herd.blocked)
    token = watch.session.worker.encode()
    loop.until(lambda: redis.get(KEYS.watch(name_of(["q"], 30.0))) == token, "who was called says so without a turn", 2)


def test_a_key_that_is_no_list_does_not_keep_it_awake(redis: Redis, loop: Loop) -> None:
    """It is there, and nothing can be claimed from it."""
    redis.set("bad", "no list")
    one = Engined(loop, "q", "bad", idle_s=30.0)
    loop.until(lambda: one.session.herd.role is Role.WATCH, "it watches")
    loop.rest(0.5)
    assert one.session.metrics.turns < 5
    redis.lpush("q", message("a"))
    loop.until(lambda: one.got, "the other list is heard", 2)


def test_a_change_that_is_told_late_is_not_taken_for_the_end_of_a_nap(redis: Redis, loop: Loop) -> None:
    """redis-py reads both as None. A watch that hands on in a turn of its own is still going to be told."""
    watch, sleeper = _pair(loop, idle_s=30.0)
    for number in range(20):
        redis.lpush("q", message(f"m{number}"))
        watch.session.ring()
        sleeper.session.ring()
        loop.until(lambda number=number: len(watch.got) + len(sleeper.got) > number, f"{number} has come", 2)
    loop.until(lambda: sum(one.session.herd.blocked for one in (watch, sleeper)) == 1, "one sleeps again", 2)
    assert watch.engine.bell.line.failures == sleeper.engine.bell.line.failures == 0


def test_a_worker_that_may_not_sleep_takes_turns(redis: Redis, loop: Loop) -> None:
    """... every idle_s, as without client tracking."""
    redis.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "~*", "&*", "+@all", "-blpop")
    Engined(loop, "q", idle_s=0.1)
    loop.until(lambda: loop.all[0].session.herd.role is Role.WATCH, "another one watches")
    one = Engined(loop, "q", user="shop", idle_s=0.1)
    loop.until(lambda: one.engine.bell.line.failures > 1, "it is refused")
    before, began_s = one.session.metrics.turns, time.monotonic()
    loop.until(lambda: one.session.metrics.turns > before + 5, "it takes turns")
    assert time.monotonic() - began_s > 0.3
    redis.execute_command("ACL", "DELUSER", "shop")


def test_a_nap_shows_that_redis_answers(redis: Redis, loop: Loop) -> None:
    """Who sleeps takes no turns; that is not to be taken for a Redis that is away."""
    _, sleeper = _pair(loop, idle_s=0.1)
    turns, began_s = sleeper.session.metrics.turns, time.monotonic()
    loop.until(lambda: sleeper.session.metrics.answered_at_s > began_s + 0.3, "it was answered")
    assert sleeper.session.metrics.turns == turns


def test_new_queues_wake_a_sleeper(redis: Redis, loop: Loop) -> None:
    watch, sleeper = _pair(loop, idle_s=30.0)
    sleeper.queues = ["q", "more"]
    loop.until(lambda: sleeper.session.herd.role is Role.WATCH, "it is the watch of its new queues", 2)
    redis.lpush("more", message("a"))
    loop.until(lambda: sleeper.got == ["a"], "it hears of them", 2)
    assert watch.session.herd.role is Role.WATCH


def test_a_sleeper_that_is_full_passes_a_call_on(redis: Redis, loop: Loop) -> None:
    watch, sleeper = _pair(loop, idle_s=30.0)
    third = Engined(loop, "q", idle_s=30.0)
    loop.until(lambda: third.session.herd.blocked, "it sleeps, too")
    sleeper.free = 0
    redis.lpush("q", message("a"))
    loop.until(lambda: watch.got, "it has come")
    redis.lpush("q", message("b"))
    loop.until(lambda: third.got == ["b"], "the next one was called instead", 10)
