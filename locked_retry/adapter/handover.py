"""Results that outlive the lease of their task: what a pool process may store no longer, the main process stores.

An `exclusive` task is ended with its lease, also when its body is done and only its result has to be stored still,
because Redis is away. A process that may be killed any moment, and is needed for other tasks, is no place to wait in.
So the call goes to the worker's main process, where a thread repeats it, and the delivery is settled after that.

A call travels as the descriptor of a file without a name, in a datagram (SCM_RIGHTS, unix(7)): whole or not at all,
of any size, and whoever is killed meanwhile leaves no lock behind.
"""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import threading
from typing import IO, Any, NamedTuple

from celery.utils.serialization import get_pickleable_exception

#: A fence, and what log lines call the mark.
_LONGEST = 1000
#: How long the main process may take to make room. A process that has not ended by then is killed soon.
GIVE_S = 1.0
#: In one go: more than a worker has pool processes.
MOST = 1000


class Mark(NamedTuple):
    """A call by which the end of a task is marked in its result backend."""

    task: str
    method: str
    args: tuple[Any, ...]
    more: dict[str, Any]

    @property
    def about(self) -> str:
        """What log lines call it."""
        return f"{self.method} {self.args[0]}"


class Given(NamedTuple):
    """Of a delivery, by its fence. data: what `read` reads; empty where this process can open no more files."""

    fence: str
    about: str
    data: bytes


class Handover:
    """Made before the pool processes are forked. They give, and the main process takes."""

    def __init__(self) -> None:
        self._taking, self._giving = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._taking.setblocking(False)
        self._giving.settimeout(GIVE_S)
        self._lock = threading.Lock()

    def give(self, fence: str, mark: Mark) -> None:
        """Of the delivery with this fence. Raises OSError and what pickle raises."""
        args = tuple(get_pickleable_exception(one) if isinstance(one, Exception) else one for one in mark.args)
        with _file() as file:
            pickle.dump((mark.task, mark.method, args, mark.more), file)
            file.flush()
            text = f"{fence} {mark.about}".encode(errors="replace")[:_LONGEST]
            socket.send_fds(self._giving, [text], [file.fileno()])

    def take(self) -> list[Given]:
        """What was given by now. Any thread; never waits, and runs nothing of the user's."""
        found: list[Given] = []
        with self._lock:
            while len(found) < MOST:
                try:
                    text, files, _, _ = socket.recv_fds(self._taking, _LONGEST, 1)
                except BlockingIOError:
                    break
                given = b""
                if files:
                    with open(files[0], "rb") as file:
                        file.seek(0)
                        given = file.read()
                fence, _, about = text.decode(errors="replace").partition(" ")
                found.append(Given(fence, about, given))
        return found

    def close(self) -> None:
        """Nothing is given or taken any more."""
        self._taking.close()
        self._giving.close()


def read(data: bytes) -> Mark:
    """Raises what pickle raises, and what the user's types do when they are made."""
    return Mark(*pickle.loads(data))


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("locked_retry-result"), "w+b")
    return tempfile.TemporaryFile()
