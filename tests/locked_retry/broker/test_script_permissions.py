"""Every script by a user who may not use one of its keys, or one of its commands: no message is lost.

A permission is asked for by each command, in the middle of a script, too, and what was done before is not undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from server_process import Server
from table_support import KEYS, SettlementKind, Worker, message, row, settle, state
from types_support import CALLS, ENDED, KEYS_OF_ALL, PLACES, World, homes, refused, script, work_off

import locked_retry
from locked_retry.operator.dead_letters import Tools

SCRIPTS = Path(locked_retry.__file__).parent / "broker" / "scripts"
SOURCES = "".join(path.read_text("utf-8") for path in SCRIPTS.rglob("*.lua"))
COMMANDS = sorted(set(re.findall(r"\b(?:p?call|on_ours|enqueue|look)\('([A-Z]+)'", SOURCES)) - {"TIME"})
#: Families of keys that begin like others of the world.
FAMILIES = ("lr:t:", "lr:done:", "lr:lock:", "lr:wait:", "lr:sub:", "lr:w:", "lr:watch:", "lr:bell:", "lr:asleep:")
DENIED = {
    **{f"-{command.lower()}": ("~*", f"-{command.lower()}") for command in COMMANDS},
    **{key: tuple(f"~{one}" for one in KEYS_OF_ALL if one != key) for key in KEYS_OF_ALL},
    **{
        f"{family}*": tuple(f"~{one}*" for one in (*FAMILIES, *KEYS_OF_ALL) if not one.startswith(family))
        for family in FAMILIES
    },
}


@pytest.fixture(scope="module")
def world(shared_server: Server) -> Iterator[World]:
    shared_server.client.flushall()
    yield World(shared_server.client)
    shared_server.client.execute_command("ACL", "DELUSER", "shop")
    shared_server.client.flushall()


@pytest.fixture(scope="module")
def shop(shared_server: Server) -> Iterator[Redis]:
    """A client of the user whose permissions are taken away."""
    shared_server.client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "+@all", "~*")
    client = Redis(port=shared_server.port, username="shop", password="secret")
    yield client
    client.close()


@pytest.mark.parametrize("denied", DENIED)
@pytest.mark.parametrize("name", CALLS)
def test_missing_permissions_lose_no_message(world: World, shop: Redis, name: str, denied: str) -> None:
    redis = world.redis
    world.restore()
    redis.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "+@all", "allchannels", *DENIED[denied])
    world.redis = world.worker.redis = shop
    try:
        stopped = refused(world, name)
    finally:
        world.redis = world.worker.redis = redis
    ended = ENDED.get(name, set())
    if stopped:
        for one, places in homes(redis).items():
            assert places or one in ended or redis.exists(KEYS.done(one)), f"{one} is nowhere: {row(redis, one)}"
        Tools(redis).audit(repair=True)
    work_off(redis)
    for one in set(PLACES) - (ended if name == "purge" else set()):
        assert redis.exists(KEYS.done(one)) or state(redis, one) == "x", f"nothing becomes of {one}: {row(redis, one)}"


def _may(redis: Redis, *rules: str) -> None:
    redis.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "+@all", "~*", "allchannels", *rules)


@pytest.mark.parametrize("denied", ["-del", "-bitfield", "-hincrby", "-lpush"])
def test_an_end_that_was_stopped_after_its_record_leaves_nothing(redis: Redis, shop: Redis, denied: str) -> None:
    """Its message comes back, and is a duplicate; the row stayed for ever, and its shard was never counted."""
    job = ("joins",), "j", "what", "all", 3_600_000, '{"total": \1total\1}', 0
    script(redis, "job", *job)
    script(redis, "shard", ("q",), "j", 1, "1", "0", "j/1", message("j/1", lr_job="j/1"), 1)
    _may(redis)
    worker = Worker(shop)
    (claim,) = worker.turn(want=1).claims
    _may(redis, denied)
    with pytest.raises(ResponseError) if denied != "-lpush" else nullcontext():
        worker.turn(settles=(settle(claim, SettlementKind.OK),))
    if denied == "-lpush":  # the join waits until somebody asks for the job
        assert redis.llen("joins") == 0
        script(redis, "job", *job)
    else:
        assert redis.exists(KEYS.done("j/1")) and state(redis, "j/1") == "r"
        redis.zadd("lr:lease", {"j/1": 1})
    other = Worker(redis, "w2")
    assert other.turn(want=5).claims == () and not redis.exists(KEYS.row("j/1"))
    assert redis.hget("lr:job:j", "done") == b"1" and redis.llen("joins") == 1
    assert list(Tools(redis).audit()) == []


def test_an_end_that_is_repeated_notes_its_submission_once(redis: Redis, shop: Redis) -> None:
    _may(redis)
    worker = Worker(shop)
    (first,) = worker.claim(message("a", lr_new="s1"))
    worker.end(first, SettlementKind.OK)
    (second,) = worker.claim(message("a", lr_new="s2"))
    _may(redis, "-del")
    for _ in range(20):
        with pytest.raises(ResponseError):
            worker.end(second, SettlementKind.OK)
    _may(redis)
    assert worker.end(second, SettlementKind.OK) == "o"
    assert worker.claim(message("a", lr_new="s1")) == ()


def test_a_list_that_nothing_may_be_taken_from_is_left_alone(redis: Redis, shop: Redis) -> None:
    """Its messages were claimed, and came back at each lease's end, one more each time."""
    _may(redis, "-ltrim")
    redis.lpush("q", message("a"), message("b"))
    worker = Worker(shop)
    for _ in range(3):
        answer = worker.turn(want=5)
        assert (answer.claims, answer.broken) == ((), ("q",))
    assert redis.llen("q") == 2 and not redis.exists("lr:lease", KEYS.row("a"))


@pytest.mark.parametrize("name", ["release", "requeue", "restore", "purge"])
def test_steps_that_make_room_are_done_when_redis_is_full(world: World, name: str) -> None:
    """Scripts begin with what a full Redis allows. It then refuses nothing else of them."""
    world.restore()
    redis = world.redis
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)
    try:
        assert not refused(world, name)
    finally:
        redis.config_set("maxmemory", 0)
    done = {
        "release": lambda: state(redis, "later") == "q",
        "requeue": lambda: state(redis, "gone") == "q",
        "restore": lambda: not redis.hexists("unacked", "tag"),
        "purge": lambda: not redis.exists(KEYS.row("gone")),
    }
    assert done[name]()
