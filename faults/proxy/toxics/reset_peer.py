"""reset_peer: at the first chunk (or close) of its direction, drop it and `timeout` ms later send RST to both peers.

An idle connection is left alone. Unlike the real server this one resets connections that were open before the toxic was
added, resets only while the toxic is there, and never makes the API wait for the timeout.
"""

from dataclasses import dataclass
from typing import Any

from taskchaos.faults.proxy.toxics.base import Chunk, Host, Outlet, Stage, monotonic, register


@dataclass(frozen=True, slots=True)
class ResetPeerAttributes:
    timeout: int = 0  # ms


@register("reset_peer", "ResetToxic")
class ResetPeerToxic(Stage):
    Attributes = ResetPeerAttributes

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._triggered_s: float | None = None

    def feed(self, chunk: Chunk) -> None:
        self._trigger()

    def end(self) -> None:
        self._trigger()

    def reconfigure(self, attributes: Any) -> None:
        super().reconfigure(attributes)
        if self._triggered_s is not None:
            self._schedule(self._triggered_s)

    def release(self) -> None:
        # A chunk has been dropped already: to let the stream go on would be silent loss.
        if self._triggered_s is not None:
            self.host.reset()

    def _trigger(self) -> None:
        if self._triggered_s is None:
            self._triggered_s = monotonic()
            self._schedule(self._triggered_s)

    def _schedule(self, since_s: float) -> None:
        due_s = since_s + self.attributes.timeout / 1000
        self._arm(due_s - monotonic(), self.host.reset)
