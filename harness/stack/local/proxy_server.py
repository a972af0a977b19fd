"""The embedded proxy as a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from taskchaos.faults.toxiproxy import ToxiproxyClient
from taskchaos.harness.stack.child_process import OwnedProcess

START_DEADLINE_S = 10.0


class ProxyServer:
    """One running proxy with its API client."""

    def __init__(self, log: Path) -> None:
        """Start on a random port; `connect` has to follow. Raises StackError."""
        self._log = log
        argv = [sys.executable, "-P", "-m", "taskchaos.faults.proxy", "--host", "127.0.0.1", "--port", "0"]
        self.process = OwnedProcess("proxy", argv, log)

    def connect(self) -> None:
        """Wait until it says which port it has. Raises StackError."""
        self.process.wait_until(self._announced, START_DEADLINE_S)
        self.client = ToxiproxyClient("127.0.0.1", self._port)

    def _announced(self) -> bool:
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("{"):
                self._port = int(json.loads(line)["port"])
                return True
        return False

    def stop(self) -> None:
        """End it. Idempotent."""
        self.process.stop(grace_s=0.5)
