"""What is known of a Redis's last sync where its disk cannot say it: marks in its append-only file, confirmed by it."""

from __future__ import annotations

import re
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.direct_client import direct_client

#: What ends the transaction that makes a mark, in an append-only file.
_END = re.compile(rb"\*1\r\n\$4\r\nEXEC\r\n", re.IGNORECASE)
_CONFIRM_MS = 3000
_RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything up to here was synced. at_ns: when it was not yet sent (CLOCK_MONOTONIC)."""

    name: bytes
    at_ns: int

    def cut(self, folder: Path) -> int:
        """Cut the append-only file off behind the mark; how many bytes that were. The server must not run.

        A file that was begun after the mark is cut to nothing.
        """
        logs = [
            path for path in folder.rglob("*.aof") if not path.name.startswith("temp") and ".base." not in path.name
        ]
        newest = max(logs, key=lambda path: (len(path.name), path.name))
        content = newest.read_bytes()
        found = content.rfind(self.name)
        end = _END.search(content, found) if found >= 0 else None
        size = end.end() if end else 0
        with newest.open("r+b") as file:
            file.truncate(size)
        return len(content) - size


class SyncMarks:
    """Sets marks again and again, and waits for each until the server says (WAITAOF) that it is synced."""

    def __init__(self, port: int) -> None:
        self._client: Redis = direct_client("127.0.0.1", port)
        self._last: Mark | None = None
        self._known = True
        self._over, self._looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync-marks", daemon=True)
        self._thread.start()

    def last(self) -> Mark | None:
        """The last mark that was confirmed; None where the server knows no WAITAOF."""
        self._looked.wait(_CONFIRM_MS / 1000 + 1.0)
        return self._last if self._known else None

    def _run(self) -> None:
        while not self._over.is_set():
            name, at_ns = uuid.uuid4().hex.encode(), now_ns()
            try:
                with self._client.pipeline(transaction=True) as both:  # leaves no key behind
                    both.set(name, b"")
                    both.delete(name)
                    both.execute()
                synced = self._client.execute_command("WAITAOF", 1, 0, _CONFIRM_MS)  # type: ignore[no-untyped-call]
            except ResponseError:
                self._known = False  # Redis before 7.2
                self._looked.set()
                return
            except RedisError:
                self._over.wait(_RETRY_S)  # it is down, or a new one comes up
                continue
            if synced[0]:
                self._last = Mark(name, at_ns)
                self._looked.set()

    def resume(self) -> None:
        """Begin anew with a server that was started again: what it has loaded lasts."""
        self._last = None
        self._looked.clear()

    def stop(self) -> None:
        """No more marks. Idempotent."""
        self._over.set()
        self._thread.join()
        self._client.close()
