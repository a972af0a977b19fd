"""Every script by a user who may not use one of its keys, or one of its commands: no message is lost.

A permission is asked for by each command, in the middle of a script, too, and what was done before is not undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from redis import Redis
from redis.exceptions import ResponseError
from table_support import KEYS, row, state
from types_support import CALLS, KEYS_OF_ALL, PLACES, World, homes, work_off

import locked_retry
from locked_retry.dead_letters import Tools

SCRIPTS = Path(locked_retry.__file__).parent / "scripts"
SOURCES = "".join(path.read_text("utf-8") for path in SCRIPTS.glob("*.lua"))
COMMANDS = sorted(set(re.findall(r"\b(?:p?call|on_ours|enqueue|look)\('([A-Z]+)'", SOURCES)) - {"TIME"})
#: What each call ends.
ENDED = {"turn": {"held", "j/1"}, "purge": {"gone"}}
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
def test_no_message_is_lost(world: World, shop: Redis, name: str, denied: str) -> None:
    redis = world.redis
    world.restore()
    redis.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "+@all", "allchannels", *DENIED[denied])
    world.redis = world.worker.redis = shop
    try:
        refused = _refused(world, name)
    finally:
        world.redis = world.worker.redis = redis
    ended = ENDED.get(name, set())
    if refused:
        for one, places in homes(redis).items():
            assert places or one in ended or redis.exists(KEYS.done(one)), f"{one} is nowhere: {row(redis, one)}"
        Tools(redis).audit(repair=True)
    work_off(redis)
    for one in set(PLACES) - (ended if name == "purge" else set()):
        assert redis.exists(KEYS.done(one)) or state(redis, one) == "x", f"nothing becomes of {one}: {row(redis, one)}"


def _refused(world: World, name: str) -> Any:
    try:
        CALLS[name](world)
    except ResponseError as error:
        return error
    return None
