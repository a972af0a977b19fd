"""The toxics, one file each. To add one: write its file, put `@register` on its class, import it here."""

from taskchaos.faults.proxy.toxics import bandwidth, latency, limit_data, noop, reset_peer, slicer, slow_close, timeout
from taskchaos.faults.proxy.toxics.base import CHUNK_BYTES, Chunk, Host, Outlet, Stage, find, monotonic, register

__all__ = [
    "CHUNK_BYTES",
    "Chunk",
    "Host",
    "Outlet",
    "Stage",
    "bandwidth",
    "find",
    "latency",
    "limit_data",
    "monotonic",
    "noop",
    "register",
    "reset_peer",
    "slicer",
    "slow_close",
    "timeout",
]
