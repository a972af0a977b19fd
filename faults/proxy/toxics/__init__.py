"""The toxics, one file each. To add one: write its file, put `@register` on its class, import it here."""

from . import bandwidth, latency, noop, reset_peer, timeout
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
    "monotonic",
    "noop",
    "register",
    "reset_peer",
    "timeout",
]
