"""`celery worker` as PID 1: in a container without an init process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import Server
from waiting import until
from worker_support import surroundings

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def _can() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_can_be_process_1(
    shared_server: Server, tmp_path: Path, pool: str, require: Callable[[str, bool, str], None]
) -> None:
    """Its pool processes took themselves for orphans, whose parent is 1 everywhere else."""
    require("unshare", _can(), "no PID namespace can be made here (no root)")
    shared_server.client.flushall()
    with surroundings(shared_server.url, tmp_path) as tested:
        tested.worker(pool=pool, under=UNSHARE)
        tested.send("note", "one")
        until(lambda: tested.notes("end", "one"), lambda: tested.log()[-2000:])
        tested.send("ends", "exit") if pool == "prefork" else None
        tested.send("note", "two")
        until(lambda: tested.notes("end", "two"), lambda: tested.log()[-2000:])
