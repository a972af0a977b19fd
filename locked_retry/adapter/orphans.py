"""Pool processes die with their worker.

When a worker's main process is killed alone, its pool processes would go on with their task although nobody is left to
renew its lease or to settle it: after the lease it would run a second time beside the first. On Linux the kernel can
end them at once. Elsewhere they go on (the fence still tells the two executions apart).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_parent = os.getpid()


def remember_parent(**_: object) -> None:
    """In the main process, before it has pool processes."""
    global _parent
    _parent = os.getpid()


def die_with_parent(**_: object) -> None:
    """In a pool process, when it begins."""
    if sys.platform != "linux" or os.getpid() == _parent:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != _parent:  # it was gone before we asked; as PID 1 of a container it is not
        os.kill(os.getpid(), signal.SIGKILL)
