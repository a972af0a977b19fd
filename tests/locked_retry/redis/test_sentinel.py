"""sentinel://: a replica is promoted, and the same worker goes on there."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from server_process import Server, free_port
from server_support import binaries
from waiting import until
from worker_support import settled, surroundings

SENTINELS = 3
CONFIG = """
port {port}
bind 127.0.0.1
sentinel monitor shop 127.0.0.1 {primary} 2
sentinel down-after-milliseconds shop 500
sentinel failover-timeout shop 3000
"""


@dataclass
class Group:
    """A primary, its replica, and the Sentinels that watch them."""

    primary: Server
    replica: Server
    sentinels: list[Redis]

    @property
    def url(self) -> str:
        return ";".join(f"sentinel://127.0.0.1:{self.port(one)}/0" for one in self.sentinels)

    def port(self, sentinel: Redis) -> int:
        return int(sentinel.connection_pool.connection_kwargs["port"])

    def named(self) -> set[int]:
        """The ports of the primary, as the Sentinels name it."""
        found = set()
        for one in self.sentinels:
            with contextlib.suppress(RedisError):
                _, port = one.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "shop")  # redis-py 6 fails by itself
                found.add(int(port))
        return found


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    binary = binaries()[0].path
    folders = [tmp_path / name for name in ("one", "two", *(f"sentinel{n}" for n in range(SENTINELS)))]
    for folder in folders:
        folder.mkdir()
    primary = Server(folders[0], options=("--repl-diskless-sync-delay", "0"))
    try:
        replica = Server(folders[1], options=("--replicaof", "127.0.0.1", str(primary.port)))
    except BaseException:
        primary.stop()
        raise
    processes, sentinels = [], []
    for folder in folders[2:]:
        port = free_port()
        (folder / "sentinel.conf").write_text(CONFIG.format(port=port, primary=primary.port))
        processes.append(
            subprocess.Popen([binary, str(folder / "sentinel.conf"), "--sentinel"], stdout=subprocess.DEVNULL)
        )
        sentinels.append(Redis(port=port, socket_timeout=5))
    one = Group(primary, replica, sentinels)
    try:
        until(lambda: replica.client.info("replication")["master_link_status"] == "up", "it replicates", 20)
        until(lambda: all(_knows_all(s) for s in sentinels), "the Sentinels know each other and the replica", 20)
        yield one
    finally:
        for process in processes:
            process.kill()
            process.wait()
        primary.stop()
        replica.stop()


def _knows_all(sentinel: Redis) -> bool:
    with contextlib.suppress(RedisError):
        state = sentinel.sentinel_masters()["shop"]  # sentinel_master() is broken in redis-py 6
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == SENTINELS - 1)
    return False


@pytest.mark.parametrize("how", ["killed", "planned"])
def test_a_worker_follows_a_failover(how: str, group: Group, tmp_path: Path) -> None:
    """All that was replicated before runs; the worker is the same, it goes on, and remote control is back."""
    with surroundings(group.url, tmp_path, master_name="shop") as tested:
        tested.worker(
            conf="{'broker_transport_options': {'master_name': 'shop'}}", options='{"lease_s": 9.0, "reply_s": 1.0}'
        )
        for number in range(60):
            tested.send("note", f"n{number}", 0.05) if number % 2 else tested.send("flaky", f"n{number}", 1)
        until(lambda: len(tested.notes("end")) > 5, "it is busy")
        assert group.primary.client.wait(1, 5000) == 1
        if how == "killed":
            group.primary.kill()
        else:
            # The old primary lives on, and would take writes that are lost, until a Sentinel demotes it 10 s later.
            group.primary.client.config_set("min-replicas-to-write", 1)
            group.sentinels[0].execute_command("SENTINEL", "FAILOVER", "shop")
        until(lambda: group.named() == {group.replica.port}, "the replica was promoted", 30)
        until(lambda: len({n[1] for n in tested.notes("end")}) == 60 and settled(group.replica.client), "all ran", 40)
        assert tested.workers[0].poll() is None and "Traceback" not in tested.log()
        if how == "planned":
            return  # kombu's other connections, the producer's too, stay at the old one until it is demoted
        until(lambda: _pings(tested), "remote control answers", 20)
        tested.send("note", "after")
        until(lambda: tested.notes("end", "after"), "and goes on")


def _pings(tested: object) -> bool:
    with contextlib.suppress(RedisError):
        return bool(tested.app.control.ping(timeout=1.0))  # type: ignore[attr-defined]
    return False
