"""The toxics, one file each. To add one: write its file, put `@register` on its class, import it here."""

from . import bandwidth, latency, limit_data, noop, reset_peer, slicer, slow_close, timeout
from .base import CHUNK_BYTES, Chunk, Host, Outlet, Stage, find, monotonic, register

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
