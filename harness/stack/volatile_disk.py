"""A disk that forgets, as a process: a FUSE mount that knows what was synced, and on command takes back what was not.

Usage: `python -m taskchaos.harness.stack.volatile_disk BEHIND MOUNT NAME FD`: files lie in the folder BEHIND, the mount
is called NAME. FD is a socket on which it says `{"ready": true}` and answers commands, a line of JSON each: `status`,
`arm` (`nth`), `forget` (`torn`). It ends, and unmounts, when the socket's other end is closed.

Syncing costs nothing and always succeeds: what is simulated is the loss of power, not the disk.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import mfusepy

from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.unsynced import Unsynced


def is_log(path: str) -> bool:
    """Whether it is an append-only file that Redis has acknowledged commands by: not one that is being rewritten."""
    name = PurePath(path).name
    return name.endswith(".aof") and not name.startswith("temp")


class VolatileDisk(mfusepy.Operations):  # type: ignore[misc]
    """The files of a folder, with contents that last once they were synced.

    The nth sync of an append-only file, if armed, is the moment at which the power is lost: its caller is killed, and
    from then on nothing lasts until `forget`.
    """

    use_ns = True

    def __init__(self, folder: str, ready: Callable[[], None]) -> None:
        self._folder = folder
        self._ready = ready
        self._unsynced = Unsynced()
        self._lock = threading.Lock()
        self._syncs = 0
        self._dies_at = 0
        self._off = False

    def init(self, path: str) -> None:
        self._ready()

    def _at(self, path: str) -> str:
        return self._folder + path

    # Commands.

    def status(self) -> dict[str, Any]:
        """How many syncs of append-only files there were, and whether the power is off."""
        with self._lock:
            return {"syncs": self._syncs, "off": self._off}

    def arm(self, nth: int) -> dict[str, Any]:
        """Lose power at the nth sync of an append-only file from now on; 0: at none."""
        with self._lock:
            self._dies_at = self._syncs + nth if nth else 0
            return {}

    def forget(self, *, torn: bool) -> dict[str, Any]:
        """Take back what was not synced, and have the power on again."""
        with self._lock:
            forgotten = self._unsynced.forget(torn=torn)
            self._off, self._dies_at = False, 0
            return asdict(forgotten)

    # Contents.

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            return self._unsynced.write(fh, data, offset, now_ns(), counts=is_log(path))

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        fd = os.open(self._at(path), os.O_RDWR) if fh is None else fh
        try:
            with self._lock:
                self._unsynced.cut(fd, length, counts=is_log(path))
        finally:
            if fh is None:
                os.close(fd)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        with self._lock:
            inode = os.fstat(fh).st_ino
            if is_log(path) and self._unsynced.pending(inode):
                self._syncs += 1
                if self._syncs == self._dies_at:
                    self._off = True
                    os.kill(mfusepy.fuse_get_context()[2], signal.SIGKILL)
            if self._off:
                raise OSError(errno.EIO, "the power is off")
            self._unsynced.synced(inode)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def open(self, path: str, flags: int) -> int:
        return self._opened(path, flags & ~(os.O_CREAT | os.O_EXCL), 0)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self._opened(path, os.O_CREAT, mode)

    def _opened(self, path: str, flags: int, mode: int) -> int:
        # What is to be undone has to be read, and the kernel knows itself where appended data goes.
        fd = os.open(self._at(path), (flags & ~(os.O_ACCMODE | os.O_APPEND | os.O_TRUNC)) | os.O_RDWR, mode)
        if flags & os.O_TRUNC:
            self.truncate(path, 0, fd)
        return fd

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    # The rest lasts at once.

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        times = {f"st_{n}time": getattr(status, f"st_{n}time_ns") for n in "acm"}
        return {**{name: getattr(status, name) for name in names}, **times}

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        yield from (".", "..", *os.listdir(self._at(path)))

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old), self._at(new))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._at(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._at(path), ns=times) if times else os.utime(self._at(path))
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        return 0


def serve(disk: VolatileDisk, control: socket.socket) -> None:
    """Answer commands until the other end is gone; then end, and have libfuse unmount."""
    verbs: dict[str, Callable[..., dict[str, Any]]] = {"status": disk.status, "arm": disk.arm, "forget": disk.forget}
    with control.makefile("rw", encoding="utf-8") as lines:
        for line in lines:
            command = json.loads(line)
            verb = command.pop("do")
            lines.write(json.dumps(verbs[verb](**command)) + "\n")
            lines.flush()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Mount, and serve until the socket's other end is closed or the mount is taken away."""
    behind, mount, name, fd = sys.argv[1:]
    control = socket.socket(fileno=int(fd))
    disk = VolatileDisk(behind, lambda: control.sendall(b'{"ready": true}\n'))
    threading.Thread(target=serve, args=(disk, control), daemon=True).start()
    # The kernel keeps nothing that a power loss would have to take from it, too.
    uncached = {"attr_timeout": 0, "entry_timeout": 0, "direct_io": True}
    mfusepy.FUSE(disk, mount, foreground=True, nothreads=True, fsname=name, **uncached)


if __name__ == "__main__":
    main()
