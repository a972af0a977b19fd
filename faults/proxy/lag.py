"""How long the event loop made others wait: the API and all traffic share it, so this bounds what blocks them.

A timer is due every 5 ms, and how late it comes is the lag. A machine that gives the processor to others makes it late
as well: the kernel counts that time apart (`run_delay` in /proc/PID/schedstat), and it is taken off again. What remains
is what this process did, or what it waited for.
"""

import asyncio
import os
import time

TICK_S = 0.005
_SCHEDSTAT = "/proc/self/schedstat"  # of the main thread, which runs the loop


class LoopLag:
    """Measures from its creation on, until `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.longest_s = 0.0
        self._loop = loop
        try:
            self._schedstat: int | None = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._schedstat = None  # not Linux: the time that others had is not taken off
        self._wait()

    def _wait(self) -> None:
        self._delayed_s = self._run_delay_s()
        self._due_s = time.monotonic() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        lag_s = time.monotonic() - self._due_s
        if lag_s > self.longest_s:
            self.longest_s = max(self.longest_s, lag_s - (self._run_delay_s() - self._delayed_s))
        self._wait()

    def _run_delay_s(self) -> float:
        """How long the main thread has been ready to run and was not let."""
        if self._schedstat is None:
            return 0.0
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    def stop(self) -> None:
        """Measure no more."""
        self._timer.cancel()
        if self._schedstat is not None:
            os.close(self._schedstat)
            self._schedstat = None
