"""Power losses of a real Redis: what it had synced is there again, and it is said how far back the loss reaches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from power_client import Setter, rounds
from waiting import until

from taskchaos.faults.base import FaultError
from taskchaos.faults.redis_power import TORN, RedisPowerLoss
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.stack import volatile_redis
from taskchaos.harness.stack.mounted_disk import NAME, no_fuse
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.stack.redis_server import find_binary
from taskchaos.harness.stack.volatile_redis import VolatileRedis

pytestmark = pytest.mark.usefixtures("linux")

Make = Callable[[Fsync], VolatileRedis]


@pytest.fixture
def fuse(require: Callable[[str, bool, str], None]) -> None:
    require("fuse", not no_fuse(), no_fuse())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[VolatileRedis] = []

    def start(fsync: Fsync) -> VolatileRedis:
        made.append(VolatileRedis(find_binary(None), tmp_path / "redis", tmp_path / "redis.log", fsync))
        return made[-1]

    yield start
    for server in made:
        server.stop()
    assert not os.path.ismount(tmp_path / "redis")


@pytest.mark.usefixtures("fuse")
@pytest.mark.parametrize("fsync", [Fsync.ALWAYS, Fsync.EVERYSEC])
def test_no_more_is_lost_than_it_says(make: Make, fsync: Fsync) -> None:
    """bench/power_loss.py has it many times more."""
    found = rounds(make(fsync), 5, seed=14, longest_s=0.2)
    assert sum(one.early for one in found) == 0
    assert any(one.missing for one in found) == (fsync is Fsync.EVERYSEC)
    assert any(one.loss.bytes for one in found), "what is lost under always was not acknowledged"


@pytest.mark.parametrize("fsync", [Fsync.ALWAYS, Fsync.EVERYSEC])
def test_without_fuse_the_log_is_cut_at_the_last_known_sync(
    make: Make, fsync: Fsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volatile_redis, "no_fuse", lambda: "there is no FUSE today")
    server = make(fsync)
    found = rounds(server, 3, seed=14, longest_s=0.2)
    assert sum(one.early for one in found) == 0
    assert any(one.missing for one in found) == (fsync is Fsync.EVERYSEC)
    assert all("there is no FUSE today" in one.loss.seen for one in found)
    with pytest.raises(FaultError, match="a torn write, or a loss at a sync, needs FUSE: there is no FUSE today"):
        server.lose_power(torn=True, nth=0)
    assert server.answers()


@pytest.mark.usefixtures("fuse")
def test_a_torn_write_at_a_sync(make: Make) -> None:
    """The write before the sync is there in part, which Redis cuts off; its client was never answered."""
    server = make(Fsync.ALWAYS)
    setter = Setter(server.port, "k")
    fault = RedisPowerLoss(server, lose=TORN, nth=3)
    assert fault.prove() is None
    fault.inject()
    evidence = fault.prove()
    setter.join()
    fault.heal()
    assert fault.verify_healed() and fault.prove() is None
    assert evidence is not None and evidence.forgot_since_ns is None
    assert "the first in part" in evidence.seen and "at sync 3" in evidence.seen
    assert server.client.exists(*setter.acknowledged) == len(setter.acknowledged)
    assert "Truncating the AOF" in server.process.log.read_text()


@pytest.mark.usefixtures("fuse")
def test_a_sync_that_does_not_come_is_no_loss(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volatile_redis, "_NTH_DEADLINE_S", -0.9)
    server = make(Fsync.EVERYSEC)
    with pytest.raises(FaultError, match="did not sync its append-only file 1 times: is nothing written"):
        server.lose_power(torn=False, nth=1)
    assert server.answers() and server.died() == ""


@pytest.mark.usefixtures("fuse")
def test_a_disk_that_ends_is_the_stacks_trouble(make: Make) -> None:
    server = make(Fsync.EVERYSEC)
    assert server.died() == ""
    assert server._disk is not None
    server._disk._process.signal(signal.SIGKILL)
    assert until(server.died).startswith("the disk ended with status -9")


_HARNESS = """
import sys
from pathlib import Path
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.stack.redis_server import find_binary
from taskchaos.harness.stack.volatile_redis import VolatileRedis
folder = Path(sys.argv[1])
server = VolatileRedis(find_binary(None), folder / "re dis", folder / "log")
print(server.pid, server._disk._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("fuse")
def test_nothing_stays_mounted_when_the_harness_is_killed(tmp_path: Path) -> None:
    mount = f"{tmp_path}/re\\040dis "
    with subprocess.Popen(
        [sys.executable, "-c", _HARNESS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as harness:
        assert harness.stdout is not None
        pids = [int(pid) for pid in harness.stdout.readline().split()]
        assert mount in _mounts()
        harness.kill()
    until(lambda: mount not in _mounts(), "it is unmounted")
    until(lambda: not any(alive(pid) for pid in pids), "its processes end")


def _mounts() -> str:
    """What is mounted under a name of ours."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith(NAME))
