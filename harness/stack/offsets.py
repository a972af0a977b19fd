"""How far a primary was when: samples of its replication offset, from which a failover's loss is measured."""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.direct_client import direct_client

EVERY_S = 0.01


@dataclass
class _Stream:
    """One primary's. at_ns: by offset, when it was last seen to be there: asked not before then."""

    offsets: list[int] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)


class Offsets:
    """Asks the primary again and again, in a thread of its own. A stream is known by its replication id."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: dict[str, _Stream] = {}
        self._began_ns = now_ns()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offsets", daemon=True)
        self._thread.start()

    def follow(self, port: int) -> None:
        """The primary is another one from now on."""
        self._port = port

    def reached(self, stream: str, offset: int) -> tuple[int, int]:
        """When the primary was last seen to be no further than this offset, and how many bytes further it came."""
        with self._lock:
            seen = self._streams.get(stream, _Stream())
            at = bisect_right(seen.offsets, offset)
            since_ns = seen.at_ns[at - 1] if at else self._began_ns
            return since_ns, max(0, seen.offsets[-1] - offset) if seen.offsets else 0

    def _run(self) -> None:
        port, client = self._port, direct_client("127.0.0.1", self._port)
        while not self._over.wait(EVERY_S):
            if port != self._port:
                client.close()
                port, client = self._port, direct_client("127.0.0.1", self._port)
            at_ns = now_ns()
            try:
                found = client.info("replication")
            except RedisError:
                continue  # it is down: nothing is acknowledged
            if found["role"] == "master":
                self._take(str(found["master_replid"]), int(found["master_repl_offset"]), at_ns)
        client.close()

    def _take(self, stream: str, offset: int, at_ns: int) -> None:
        with self._lock:
            seen = self._streams.setdefault(stream, _Stream())
            if seen.offsets and seen.offsets[-1] == offset:
                seen.at_ns[-1] = at_ns
            else:
                seen.offsets.append(offset)
                seen.at_ns.append(at_ns)

    def stop(self) -> None:
        """Ask no more. Idempotent."""
        self._over.set()
        self._thread.join()
