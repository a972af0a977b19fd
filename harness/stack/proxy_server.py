"""The embedded proxy as a process of its own, and the links through it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from faults.base import Link
from faults.toxiproxy import Stream, ToxiproxyClient
from harness.stack.owned import OwnedProcess

START_DEADLINE_S = 10.0
#: What toxics that belong to the stack begin with: how far away Redis is.
DISTANCE = "distance"


class ProxyServer:
    """One running proxy with its API client."""

    def __init__(self, log: Path) -> None:
        """Start on a random port; `connect` has to follow. Raises StackError."""
        self._log = log
        argv = [sys.executable, "-m", "faults.proxy", "--host", "127.0.0.1", "--port", "0"]
        self.process = OwnedProcess("proxy", argv, log)

    def connect(self) -> None:
        """Wait until it says which port it has. Raises StackError."""
        self.process.wait_until(self._announced, START_DEADLINE_S)
        self.client = ToxiproxyClient("127.0.0.1", self._port)

    def _announced(self) -> bool:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                self._port = int(json.loads(line)["port"])
                return True
        return False

    def link(self, name: str, upstream_port: int, distance_ms: int = 0) -> Link:
        """A new link to the server on `upstream_port`, over which each round trip takes `distance_ms` longer."""
        proxy = self.client.create(name, f"127.0.0.1:{upstream_port}")
        if distance_ms:
            there_ms = distance_ms // 2
            for stream, latency_ms in ((Stream.UPSTREAM, there_ms), (Stream.DOWNSTREAM, distance_ms - there_ms)):
                toxic = f"{DISTANCE}_{stream.value}"
                self.client.add_toxic(name, "latency", stream=stream, attributes={"latency": latency_ms}, name=toxic)
        return Link(name, proxy.host, proxy.port, self.client)

    def broken(self) -> str:
        """The name of a link that still carries a fault; "" if none does."""
        for state in self.client.proxies().values():
            if not state.enabled or any(not toxic.name.startswith(DISTANCE) for toxic in state.toxics):
                return state.name
        return ""

    def stop(self) -> None:
        """End it. Idempotent."""
        self.process.stop(grace_s=0.5)
