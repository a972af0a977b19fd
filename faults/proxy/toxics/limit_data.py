"""limit_data: lets exactly `bytes` bytes of its direction through on each connection, then closes.

The chunk that reaches the limit is cut and delivered. With a limit of 0 the first chunk is dropped and closes: towards
the client that is "the server did it, nobody heard of it". An idle connection stays open. What has been let through
is counted per connection and survives updates; a limit lowered below it closes at the next chunk.
"""

from dataclasses import dataclass
from typing import Any

from taskchaos.faults.proxy.toxics.base import Chunk, Host, Outlet, Stage, register


@dataclass(frozen=True, slots=True)
class LimitDataAttributes:
    bytes: int = 0


@register("limit_data", "LimitDataToxic")
class LimitDataToxic(Stage):
    Attributes = LimitDataAttributes

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._passed = 0
        self._closed = False

    def feed(self, chunk: Chunk) -> None:
        if self._closed:
            return
        left = max(0, self.attributes.bytes - self._passed)
        data = chunk.data[:left]
        self._passed += len(data)
        self._closed = left <= len(chunk.data)
        if data:
            self.following.feed(Chunk(data, chunk.arrived_s))
        if self._closed:
            self.following.end()
