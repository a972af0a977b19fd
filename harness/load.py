"""The load generator: one producer process that sends operations when they are due, and waits for nobody.

Publisher threads share one schedule. A publish that hangs in a partition holds up its thread, not the schedule;
what is begun late shows in the ledger (begun minus due), what is not begun within `GIVE_UP_S` is dropped and counts
as such. So a slow broker cannot turn the open load into a closed one unnoticed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kombu.exceptions import EncodeError

from harness import codec
from harness.clock import NS_PER_S, now_ns
from harness.runtime import RoleConfig, Runtime, build
from harness.subject import Refused
from harness.workload import Operation, Workload

THREADS = 8
GIVE_UP_S = 5.0
#: Certain to have sent nothing: the message could not even be built, or the subject says so.
CERTAIN_REFUSALS = (EncodeError, Refused)
PLAN = "load.json"


def plan_path(config: RoleConfig) -> Path:
    """Where the workload of a case is written down for its producers."""
    return Path(config.folder) / PLAN


def run(config_path: Path, ready_fd: int, told_fd: int) -> None:
    """Be a producer: say ready, wait to be told when the load begins (decimal ns), send everything, end."""
    config = RoleConfig.load(config_path)
    workload, producers = _read_plan(config)
    runtime = build(config)
    # The first publish of a connection declares the queue; doing it before the clock starts keeps sends on time.
    with runtime.app.connection_for_write() as connection:
        runtime.app.amqp.queues["celery"](connection.default_channel).declare()
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    begin_ns = int(os.read(told_fd, 64) or b"0")
    if begin_ns == 0:
        return  # the harness went away, or the case ended before its load
    number = int(config.role.rpartition("-")[2]) - 1
    send_all(runtime, workload.due(number, producers), begin_ns)
    os._exit(0)  # a publisher that still hangs must not hold up the end


def _read_plan(config: RoleConfig) -> tuple[Workload, int]:
    import json

    data = json.loads(plan_path(config).read_text())
    return codec.decode(Workload, data["workload"]), int(data["producers"])


def send_all(runtime: Runtime, due: Iterator[tuple[Operation, int]], begin_ns: int) -> None:
    """Send every operation at its due time (ns after `begin_ns`); return when all are sent or given up."""
    taking = threading.Lock()

    def publisher() -> None:
        while True:
            with taking:
                item = next(due, None)
            if item is None:
                return
            operation, after_ns = item
            _send_when_due(runtime, operation, begin_ns + after_ns, open_load=after_ns > 0)

    threads = [threading.Thread(target=publisher, name=f"publisher-{n}", daemon=True) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send_when_due(runtime: Runtime, operation: Operation, due_ns: int, *, open_load: bool) -> None:
    wait_ns = due_ns - now_ns()
    if wait_ns > 0:
        time.sleep(wait_ns / NS_PER_S)
    elif open_load and -wait_ns > GIVE_UP_S * NS_PER_S:
        return  # dropped: the plan has it, the ledger does not
    submit(runtime, operation, due_ns)


def submit(runtime: Runtime, operation: Operation, due_ns: int) -> None:
    """Submit one operation and write down what the subject's `submit` told."""
    ledger = runtime.ledger
    ledger.submit(operation.number, due_ns)
    try:
        runtime.subject.submit(runtime.task, operation)
    except CERTAIN_REFUSALS as error:
        ledger.refused(operation.number, f"{type(error).__name__}: {error}")
    except Exception as error:
        ledger.unknown(operation.number, f"{type(error).__name__}: {error}")
    else:
        ledger.acknowledged(operation.number)
