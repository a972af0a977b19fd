"""What runs in a container of docker-compose.chaos.yml: the harness's zygote, or a worker or producer by hand.

The harness makes the folder /case/run before it starts a worker; the container then waits there, on a socket named
after its host name, for the one harness that owns it, and ends with it. Without that folder nobody is in charge: a
worker takes the link of its replica number and consumes, a producer sends some tasks and says what became of them.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.record.layout import LEDGER, MARKS
from taskchaos.harness.stack.runtime import RoleConfig, build
from taskchaos.harness.subject import Settings

#: The case folder as a container sees it, and in it where zygotes listen.
CASE = Path("/case")
RUN = "run"
#: What the health check looks for.
READY = Path("/tmp/ready")
#: The name of the proxy in the stack's network; the port of the producer's link; worker-N's is N above it.
PROXY = "toxiproxy"
FIRST_PORT = 26380
#: How many workers docker/toxiproxy/links.json has links for.
LINKS = 8
#: What a producer by hand sends, and how long it waits for it.
TASKS = 200
RATE_TPS = 50
WAIT_S = 60.0


def main() -> int:
    """`worker` or `producer`, as the first argument says."""
    if (CASE / RUN).is_dir():
        return _serve()
    for folder in (LEDGER, MARKS):
        (CASE / folder).mkdir(exist_ok=True)
    return _produce() if sys.argv[1:] == ["producer"] else _consume()


def _serve() -> int:
    from taskchaos.harness.stack import zygote

    # As process 1's only child nobody else can hand SIGTERM on to what was forked.
    signal.signal(signal.SIGTERM, _end_workers)
    path = CASE / RUN / f"{socket.gethostname()}.sock"
    path.unlink(missing_ok=True)  # of the container's last life
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)
        READY.write_text("1", encoding="ascii")
        control, _ = listener.accept()
    zygote.serve(control)
    return 0


def _end_workers(*_: object) -> None:
    """Warm shutdown of every worker; the engine's patience is the limit."""
    from taskchaos.harness.stack.procfs import children_of, send

    workers = children_of(os.getpid())
    for pid in workers:
        send(pid, signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in workers:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # reaped already
    os._exit(0)


def _config(role: str, port: int) -> RoleConfig:
    url = f"redis://{PROXY}:{port}/0"
    subject = os.environ.get("CHAOS_SUBJECT", "taskchaos.suites.subjects.locked_retry:LockedRetry")
    return RoleConfig(role, subject, url, url, str(CASE), Settings())


def _number() -> int:
    """The replica number of this container: the engine's name server knows it as PROJECT-worker-NUMBER."""
    mine, project = socket.gethostbyname(socket.gethostname()), os.environ["CHAOS_PROJECT"]
    for number in range(1, LINKS + 1):
        try:
            if socket.gethostbyname(f"{project}-worker-{number}") == mine:
                return number
        except OSError:
            continue  # no container has that name
    raise SystemExit(f"there are links for {LINKS} workers, see docker/toxiproxy/links.json: start no more replicas")


def _consume() -> int:
    from taskchaos.harness.stack import worker

    number = _number()
    config = _config(f"worker-{number}", FIRST_PORT + number)
    config.save(config.path)
    print(f"{config.role}: {config.subject} behind {config.broker_url}", flush=True)  # noqa: T201
    worker.run(config.path, os.open(READY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
    return 0


def _produce() -> int:
    from taskchaos.harness.record.ledger_tail import ledger_tail
    from taskchaos.harness.stack import producer as load
    from taskchaos.harness.workload import Workload

    runtime = build(_config("producer-1", FIRST_PORT))
    first = int(time.time()) * 1000  # numbers that no earlier producer of this stack has used
    workload = Workload(rate_tps=RATE_TPS, baseline_s=TASKS / RATE_TPS, fault_s=0, healed_s=0, failures=1)
    due = (((replace(op, number=first + op.number),), at_ns) for op, at_ns in workload.due(0, 1))
    print(f"sending {TASKS} tasks, {RATE_TPS} a second; each fails once", flush=True)  # noqa: T201
    publishers = load.Publishers(runtime, due)
    publishers.prepare()
    began_ns = now_ns()
    publishers.begin(began_ns)
    publishers.join()
    tail = ledger_tail(CASE, lambda _: False)

    def mine(operations: set[int]) -> set[int]:
        return {op for op in operations if op >= first}

    def missing() -> set[int]:
        tail.follow()
        return mine(tail.acknowledged) - tail.effects - tail.failed

    until = time.monotonic() + WAIT_S
    while missing() and time.monotonic() < until:
        time.sleep(0.05)
    took_s = (now_ns() - began_ns) / NS_PER_S
    lost, acknowledged, done = len(missing()), len(mine(tail.acknowledged)), len(mine(tail.effects))
    print(f"{acknowledged} acknowledged, {done} done, {lost} missing after {took_s:.1f} s")  # noqa: T201
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
