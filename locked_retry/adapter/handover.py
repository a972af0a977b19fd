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

#: A fence in digits.
_LONGEST = 64
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
            socket.send_fds(self._giving, [fence.encode()], [file.fileno()])

    def take(self) -> list[tuple[str, bytes]]:
        """What was given by now: fences, and what `read` reads. Any thread; never waits.

        Empty where the descriptor did not arrive: this process has as many files open as it may.
        """
        found: list[tuple[str, bytes]] = []
        with self._lock:
            while len(found) < MOST:
                try:
                    fence, files, _, _ = socket.recv_fds(self._taking, _LONGEST, 1)
                except BlockingIOError:
                    break
                given = b""
                if files:
                    with open(files[0], "rb") as file:
                        file.seek(0)
                        given = file.read()
                found.append((fence.decode(), given))
        return found

    def close(self) -> None:
        """Nothing is given or taken any more."""
        self._taking.close()
        self._giving.close()


def read(given: bytes) -> Mark:
    """Raises what pickle raises."""
    return Mark(*pickle.loads(given))


def _file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("locked_retry-result"), "w+b")
    return tempfile.TemporaryFile()
