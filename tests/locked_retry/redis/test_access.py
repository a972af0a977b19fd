"""What lies between a worker and its Redis: a restricted user, no doorbell allowed, a firewall that forgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from repository import ROOT
from server_process import Server
from server_support import binaries
from table_support import stat
from waiting import until
from wire_support import Wire
from worker_support import Tested, settled, surroundings

REFERENCE = ROOT / "docs" / "reference" / "locked_retry.md"
TASKS = 20


def _documented() -> list[str]:
    """The rules of the minimal user, as the reference has them."""
    found = re.search(r"ACL SETUSER \S+ on >\S+ (.*)", REFERENCE.read_text("utf-8"))
    assert found is not None
    return found[1].split()


def _user(server: Server, *rules: str) -> str:
    server.client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", *rules)
    return server.url.replace("://", "://shop:secret@")


def _works(tested: Tested, redis: Redis, name: str) -> None:
    for number in range(TASKS):
        tested.send("flaky", f"{name}{number}", 1) if number % 2 else tested.send("locked", name, 0.01, f"{number}")
    tested.send("ends", "error")

    def ended() -> bool:
        return len([n for n in tested.notes("end") if n[1].startswith(name)]) == TASKS

    until(lambda: ended() and settled(redis), "all ran and settled", 30)


def _refused(server: Server) -> set[str]:
    """What the user was not allowed to do, by the server's own log, without what redis-py can do without."""
    log = Redis(port=server.port, decode_responses=True).acl_log()
    return {entry["object"] for entry in log} - {"client", "client|setinfo", "client|maint_notifications"}


@pytest.fixture(params=binaries(), ids=lambda binary: binary.name)
def each_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "redis").mkdir()
    one = Server(tmp_path / "redis", request.param.path)
    yield one
    one.stop()


def test_the_documented_user_is_enough(each_server: Server, tmp_path: Path) -> None:
    """Worker, producer and remote control; nothing was refused, and a password that is changed is met and said."""
    server = each_server
    url = _user(server, *_documented())
    with surroundings(url, tmp_path) as tested:
        worker = tested.worker(options='{"lease_s": 9.0}')
        _works(tested, server.client, "allowed")
        until(lambda: tested.app.control.ping(timeout=1.0), "remote control answers")
        assert not _refused(server)
        server.client.execute_command("ACL", "SETUSER", "shop", "resetpass", ">changed")
        server.client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: re.search("WRONGPASS|invalid username", tested.log()), "it says what is wrong")
        server.client.execute_command("ACL", "SETUSER", "shop", "resetpass", ">secret")
        _works(tested, server.client, "changed")
        assert worker.poll() is None and "Unrecoverable" not in tested.log()


def test_a_worker_without_a_doorbell_does_the_same(server: Server, tmp_path: Path) -> None:
    """A user (or a proxy) without CLIENT TRACKING: a turn every idle_s, one line in the log, and the same results."""
    url = _user(server, *_documented(), "-client")
    with surroundings(url, tmp_path) as tested:
        worker = tested.worker(options='{"idle_s": 0.2}')
        _works(tested, server.client, "silent")
        until(lambda: "event=doorbell_failed" in tested.log(), "it says so", 20)
        _works(tested, server.client, "still")
        assert worker.poll() is None and tested.log().count("event=doorbell_failed") == 1
        assert "event=connection_failed" not in tested.log()


@pytest.fixture
def wire(shared_server: Server) -> Iterator[Wire]:
    one = Wire(shared_server.port)
    yield one
    one.stop()


def test_connections_that_a_firewall_forgot_are_replaced(
    redis: Redis, shared_server: Server, wire: Wire, tmp_path: Path
) -> None:
    """They swallow everything and do not end. First the doorbell's, then all: given up, and made again."""
    with surroundings(f"redis://127.0.0.1:{wire.port}/0", tmp_path) as tested:
        tested.app.conf.broker_url = shared_server.url
        worker = tested.worker(
            options='{"lease_s": 6.0, "reply_s": 1.0, "idle_s": 60.0}', more=("--without-heartbeat",)
        )
        first = until(lambda: _bells(redis), "the doorbell is there")
        assert wire.deafen(first) == 1
        tested.send("note", "rung")
        until(
            lambda: tested.notes("end", "rung"), "the doorbell was made again: nothing else tells within a minute", 25
        )
        second = until(lambda: _bells(redis) - first, "the doorbell is there again")
        assert wire.deafen() >= 2
        tested.send("note", "asked")
        until(lambda: tested.notes("end", "asked") and settled(redis), "it was noticed within the reply time", 25)
        until(lambda: _bells(redis) - first - second, "the doorbell is made again")
        assert worker.poll() is None and stat(redis, "stale") == stat(redis, "reaped") == 0


def _bells(redis: Redis) -> set[str]:
    """The addresses of connections with client tracking on."""
    return {one["addr"] for one in redis.client_list() if "t" in one["flags"]}
