"""Every state a Redis can be in: one worker goes through them all, goes on, loses nothing and says what it met.

Each condition is made on a real server under a busy worker, is seen to bite, and is healed. The worker process is the
same throughout. READONLY, a full Redis and cut connections are in test_faults.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from server_process import Server
from table_support import stat
from waiting import until
from worker_support import Tested, settled, surroundings

from locked_retry.operator.dead_letters import Tools

COUNT = 30
OPTIONS = '{"lease_s": 9.0, "reply_s": 1.0}'
#: kombu looks after its subscriptions each second, not each 25 s.
CONF = '{"broker_transport_options": {"health_check_interval": 1}}'


@dataclass(frozen=True)
class Condition:
    """`bite` makes it and `heal` ends it. `said` is in the one line that the worker logs about it."""

    bite: Callable[[Server], None]
    heal: Callable[[Server], None]
    said: str = ""
    most_lines: int = 4


@dataclass
class Surroundings:
    """One server and one worker for all conditions of this file (one per xdist process)."""

    server: Server
    tested: Tested


def _kill_clients(server: Server) -> None:
    server.client.client_kill_filter(_type="normal", skipme=True)


def _loading(server: Server) -> None:
    """20,000 keys in the AOF, each slowed down while it is loaded; after every 1024 of them the server looks up."""
    with server.client.pipeline(transaction=False) as pipe:
        for number in range(20_000):
            pipe.set(f"filler:{number}", "x")
        pipe.execute()
    server.kill()
    server.launch("--key-load-delay", "100")


def _loaded(server: Server) -> None:
    until(lambda: _answers(server), "loaded", 30)
    server.client.config_set("key-load-delay", 0)
    for key in server.client.scan_iter("filler:*", count=5000):
        server.client.unlink(key)


def _answers(server: Server) -> bool:
    with contextlib.suppress(RedisError):
        return bool(server.client.ping())
    return False


def _busy(server: Server) -> None:
    """A script that runs for longer than busy-reply-threshold (lua-time-limit is its older name, known to all)."""
    server.client.config_set("lua-time-limit", 10)

    def slow() -> None:
        with contextlib.suppress(RedisError), Redis(port=server.port) as other:
            other.eval("local i = 0 while i < 4e9 do i = i + 1 end", 0)  # bounded, and killed long before

    threading.Thread(target=slow, daemon=True).start()


def _not_busy(server: Server) -> None:
    server.client.script_kill()
    until(lambda: _answers(server), "the script ended")
    server.client.config_set("lua-time-limit", 5000)


def _misconf(server: Server) -> None:
    """A folder has the name of the dump, so that saving fails (as it does on a full disk)."""
    (server.folder / "dump.rdb").unlink(missing_ok=True)
    (server.folder / "dump.rdb").mkdir()
    server.client.config_set("save", "3600 1")
    server.client.bgsave()
    until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err", "saving failed")


def _saved(server: Server) -> None:
    (server.folder / "dump.rdb").rmdir()
    server.client.bgsave()
    until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "ok", "saved")
    server.client.config_set("save", "")


def _password(server: Server) -> None:
    server.client.config_set("requirepass", "another")
    _kill_clients(server)


def _no_password(server: Server) -> None:
    server.client.config_set("requirepass", "")


def _full_of_clients(server: Server) -> None:
    server.client.config_set("maxclients", 1)
    _kill_clients(server)


def _signal(number: int) -> Callable[[Server], None]:
    return lambda server: os.kill(server.process.pid, number)


def _again_in(seconds: float) -> Callable[[Server], None]:
    """The length of a fault that ends by itself."""
    return lambda server: time.sleep(seconds)


def _hang(seconds: float, said: str) -> Condition:
    def heal(server: Server) -> None:
        time.sleep(seconds)
        os.kill(server.process.pid, signal.SIGCONT)

    return Condition(_signal(signal.SIGSTOP), heal, said)


def _no_replicas(server: Server) -> None:
    server.client.config_set("min-replicas-to-write", 1)
    with contextlib.suppress(ResponseError):
        server.client.eval("return redis.call('HDEL', KEYS[1], '-')", 1, "none")
        _replicas(server)
        pytest.skip("this Redis (6.2.5 is one) lets scripts write without replicas")


def _replicas(server: Server) -> None:
    server.client.config_set("min-replicas-to-write", 0)


def _killed_often(server: Server) -> None:
    for _ in range(10):
        _kill_clients(server)
        time.sleep(0.02)  # the rhythm of the fault


CONDITIONS = {
    "loading": Condition(_loading, _loaded, "loading", most_lines=10),
    "busy": Condition(_busy, _not_busy, "BUSY"),
    "misconf": Condition(_misconf, _saved, "configured to save RDB"),
    "no_replicas": Condition(_no_replicas, _replicas, "NOREPLICAS"),
    "restart": Condition(Server.kill, Server.start, "event=connection_failed", most_lines=6),
    "killed_often": Condition(_killed_often, lambda s: None, "event=connection_failed", most_lines=40),
    "pause_write": Condition(lambda s: s.client.client_pause(2500, all=False), _again_in(2.5)),
    "noauth": Condition(_password, _no_password, "uthenticat"),
    "maxclients": Condition(_full_of_clients, lambda s: s.client.config_set("maxclients", 10000), "max number of"),
    "short_hang": _hang(0.5, ""),
    "long_hang": _hang(1.0, "no answer for"),
}
WITH_THREADS = ("busy", "noauth", "long_hang")


@contextlib.contextmanager
def _started(pool: str, folder: Path) -> Iterator[Surroundings]:
    (folder / "redis").mkdir()
    server = Server(folder / "redis", options=("--save", ""))
    try:
        with surroundings(server.url, folder) as tested:
            tested.worker(pool=pool, options=OPTIONS, conf=CONF)
            yield Surroundings(server, tested)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with _started("prefork", tmp_path_factory.mktemp("prefork")) as one:
        yield one


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with _started("threads", tmp_path_factory.mktemp("threads")) as one:
        yield one


CASES = [("prefork", name) for name in CONDITIONS] + [("threads", name) for name in WITH_THREADS]


@pytest.mark.parametrize(("pool", "name"), CASES)
def test_the_worker_goes_on(pool: str, name: str, request: pytest.FixtureRequest) -> None:
    """celery 5.7 beside a busy worker: exits, hangs, or goes deaf in most (docs/explanation/stock-celery.md)."""
    one: Surroundings = request.getfixturevalue(pool)
    condition, tested, server = CONDITIONS[name], one.tested, one.server
    already = len(tested.log())
    for number in range(COUNT):
        tested.send("note", f"{name}{number}", 0.05)

    def noted(word: str) -> list[str]:
        return [n[1] for n in tested.notes(word) if n[1].startswith(name)]

    until(lambda: len(noted("end")) > 3, "it is busy")
    condition.bite(server)
    try:
        until(lambda: condition.said in tested.log()[already:], f"it says {condition.said!r}")
    finally:
        condition.heal(server)
    until(lambda: len(set(noted("end"))) == COUNT and settled(server.client), "all ran and settled", 30)
    begun = noted("begin")
    assert len(begun) == len(set(begun)) == COUNT, "each once"
    _well(one, already, condition.most_lines)
    assert stat(server.client, "stale") == stat(server.client, "reaped") == 0


def _well(one: Surroundings, already: int, most_lines: int) -> None:
    assert one.tested.workers[0].poll() is None, one.tested.log()[-2000:]
    until(lambda: _pings(one.tested), "remote control answers", 20)
    log = one.tested.log()[already:]
    assert "Traceback" not in log and "Unrecoverable" not in log, log
    lines = [line for line in log.splitlines() if "WARNING" in line and "locked_retry" in line]
    assert len(lines) <= most_lines, log
    assert not list(Tools(one.server.client).audit())


def _pings(tested: Tested) -> bool:
    """The producer's own connection may be one of those that were cut."""
    with contextlib.suppress(RedisError):
        return bool(tested.app.control.broadcast("ping", reply=True, limit=1, timeout=2.0))
    return False


@pytest.mark.parametrize("how", ["flushed", "restarted empty"])
def test_data_lost_by_the_server_stops_no_worker(how: str, prefork: Surroundings) -> None:
    """What was queued is gone with Redis; what runs ends, and its settles are refused; new tasks run."""
    tested, server = prefork.tested, prefork.server
    already = len(tested.log())
    for number in range(2):
        tested.send("note", f"held{number}", 1.0)
    until(lambda: len([n for n in tested.notes("begin") if n[1].startswith("held")]) == 2, "both run")
    if how == "flushed":
        server.client.flushall()
    else:
        server.kill()
        for path in server.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        server.start()
    until(lambda: stat(server.client, "stale") == 2, f"both were refused {tested.log()[already:]}")
    for name in ("after0", "after1"):
        tested.send("note", f"{how[:4]}{name}")
        until(lambda name=name: tested.notes("end", f"{how[:4]}{name}") and settled(server.client), "new ones run")  # type: ignore[misc]
    tested.journal.unlink()
    _well(prefork, already, 10)


def test_a_server_may_close_idle_connections(prefork: Surroundings) -> None:
    """`timeout 2`: the doorbell's connection is made again, without noise, and rings. Turns come more often."""
    tested, server = prefork.tested, prefork.server
    already = len(tested.log())
    server.client.config_set("timeout", 2)
    try:
        before = until(lambda: _bells(server), "the doorbell is there")
        until(lambda: not _ids(server) & before, "its connection was closed")
        until(lambda: _bells(server), "the doorbell is back")
        tested.send("note", "after-idle")
        until(lambda: tested.notes("end", "after-idle"), "it runs")
    finally:
        server.client.config_set("timeout", 0)
    assert "event=connection_failed" not in tested.log()[already:]
    _well(prefork, already, 2)


def _ids(server: Server) -> set[str]:
    return {one["id"] for one in server.client.client_list()}


def _bells(server: Server) -> set[str]:
    """The connections with client tracking on."""
    return {one["id"] for one in server.client.client_list() if "t" in one["flags"]}


def test_an_outage_is_said_once_per_reason(server: Server, tmp_path: Path) -> None:
    """The subscription to broadcasts is made again each second: as many lines fill a disk."""
    with surroundings(server.url, tmp_path) as tested:
        tested.worker(more=("-lDEBUG",))
        server.kill()
        until(lambda: tested.log().count("event=remote_control_lost") > 4, "it subscribes again and again", 20)
        said = re.findall(r"WARNING.*event=remote_control_lost error=(.*)", tested.log())
        assert said and len(said) == len(set(said)), said
        server.start()
        tested.send("note", "after")
        until(lambda: tested.notes("end", "after") and _pings(tested), "it goes on", 20)


def test_heartbeats_do_not_stop_the_loop(server: Server, tmp_path: Path) -> None:
    """celery 5.7 repeats a heartbeat, in the loop, until Redis answers: nothing else is done meanwhile."""
    with surroundings(server.url, tmp_path) as tested:
        tested.worker(more=("--heartbeat-interval=1", "-lDEBUG"))
        server.kill()
        until(lambda: "failures=8 " in tested.log(), "turns are repeated beyond the next heartbeats", 20)
        server.start()
        tested.send("note", "after")
        until(lambda: tested.notes("end", "after"), "it goes on", 20)
