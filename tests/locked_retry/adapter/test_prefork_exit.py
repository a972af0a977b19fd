"""The end of a pool process is seen although its pipe closed before it could be waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.concurrency.asynpool import AsynPool
from kombu.asynchronous import Hub, set_event_loop
from waiting import until

from locked_retry.adapter.prefork_exit import watch_exits


class _NoTimers(Hub):  # type: ignore[misc]
    """Where the pool is not looked after each five seconds: who is not seen at once is never seen."""

    def call_repeatedly(self, *_: Any) -> None:
        pass


def _end_slowly(gate: str) -> None:
    os.closerange(3, 256)  # as the kernel does, some time before the process can be waited for
    until(lambda: os.path.exists(gate), "the gate is open")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = _NoTimers()
    set_event_loop(hub)
    yield hub
    set_event_loop(None)
    hub.close()


def test_a_process_that_is_gone_a_while_after_its_pipe_is_missed(hub: Hub, tmp_path: Path) -> None:
    pool = AsynPool(processes=1, threads=False, lost_worker_timeout=10.0)
    try:
        pool.register_with_event_loop(hub)
        watch_exits(pool, hub)
        (process,) = pool._pool
        loop = hub.create_loop()
        pool.apply_async(_end_slowly, (str(tmp_path / "gate"),))

        def turn() -> None:
            hub.call_later(0.01, lambda: None)
            next(loop)

        until(lambda: turn() or getattr(process, "_sentinel_poll", 0) is None, "its pipe is closed")
        assert process.is_alive() and pool._pool == [process]
        (tmp_path / "gate").touch()
        until(lambda: turn() or process not in pool._pool, "it is missed")
    finally:
        pool.terminate()
