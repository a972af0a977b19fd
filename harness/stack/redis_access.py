"""A Redis of a stack, seen past the proxy: what it is asked, whether it takes writes, whether it is as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from taskchaos.faults.base import HARNESS, FaultError
from taskchaos.harness.record.result import ServerInfo

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

PROBE = "taskchaos:probe"
#: What the names of connections begin with that belong to the harness, or to Sentinels.
_NOBODYS = (HARNESS, "sentinel-")
#: More than fits into what a filler leaves of a disk's last page.
_PROBE_BYTES = 8192
#: It goes by itself if it cannot be removed: a key that is left would be held against the subject.
_PROBE_MS = 500
#: Settings that a server changes by itself.
_ITS_OWN = frozenset({"maxclients", "replicaof", "slaveof"})


def info_of(client: Redis) -> ServerInfo:
    """What the server says it is."""
    info = client.info("server")
    return ServerInfo(
        name=str(info.get("server_name", "redis")),
        version=str(info.get("valkey_version") or info.get("redis_version", "?")),
    )


class DirectConnection:
    """`taskchaos.faults.base.ServerConnection`. name: the server's, for error messages."""

    def __init__(self, name: str, connection: ConnectionInterface) -> None:
        self._name, self._connection = name, connection

    def send(self, *words: str | int) -> None:
        """Send a command."""
        try:
            self._connection.send_command(*words)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise FaultError(f"{self._name}: {error}") from error

    def read(self) -> Any:
        """The next answer."""
        try:
            return self._connection.read_response()
        except RedisError as error:
            raise FaultError(f"{self._name}: {error}") from error

    def close(self) -> None:
        """Close it."""
        self._connection.disconnect()  # type: ignore[no-untyped-call]


class RedisAccess:
    """The part of `taskchaos.faults.base.Server` that is asked of the server itself."""

    name: str
    client: Redis
    _as_started: Mapping[str, str]

    def remember(self) -> None:
        """Remember how it is set up now, for `whole`. Raises RedisError."""
        self._as_started = self._set_up()

    def _set_up(self) -> dict[str, str]:
        settings: dict[Any, Any] = self.client.config_get("*")
        found = {str(name): str(value) for name, value in settings.items() if name not in _ITS_OWN}
        return {**found, "its users": str(sorted(self.client.acl_list()))}

    def ask(self, *words: str | int) -> Any:
        """The answer to a command, past the proxy. Raises FaultError with the server's own words."""
        try:
            return self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise FaultError(f"{self.name}: {error}") from error

    def connect(self) -> DirectConnection:
        """A connection of its own, past the proxy. Raises FaultError."""
        try:
            connection = self.client.connection_pool.make_connection()
            connection.connect()  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise FaultError(f"{self.name} takes no connection: {error}") from error
        return DirectConnection(self.name, connection)

    def figures(self, section: str) -> Mapping[str, Any]:
        """A section of INFO. Raises FaultError."""
        try:
            found: Mapping[str, Any] = self.client.info(section)
        except RedisError as error:
            raise FaultError(f"{self.name} does not say how it is: {error}") from error
        return found

    def clients(self) -> int:
        """How many are connected: neither the harness, nor Sentinels and replicas. Raises FaultError."""
        try:
            found: list[dict[str, str]] = self.client.client_list(_type="normal")
        except RedisError as error:
            raise FaultError(f"{self.name} does not say who is connected: {error}") from error
        return sum(not one["name"].startswith(_NOBODYS) for one in found)

    def answers(self) -> bool:
        """Whether a PING is answered with PONG at once."""
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def refuses_writes(self) -> str:
        """Why it takes no writes now, in its own words; "" if it does. Tries one. Raises FaultError."""
        try:
            self.client.set(PROBE, bytes(_PROBE_BYTES), px=_PROBE_MS)
            self.client.delete(PROBE)
            status = self.client.info("persistence")["aof_last_write_status"]
        except ResponseError as error:
            return str(error)
        except RedisError as error:
            raise FaultError(f"{self.name} does not answer: {error}") from error
        return "" if status == "ok" else f"aof_last_write_status:{status}"

    def whole(self) -> str:
        """Why it is not as it was when it was started, in words; "" if it is."""
        try:
            refused = self.refuses_writes()
        except FaultError as error:
            return str(error)
        return f"{self.name} takes no writes: {refused}" if refused else self.changed()

    def changed(self) -> str:
        """What is not set up as it was when it was started, in words; "" if all is."""
        try:
            now = self._set_up()
        except RedisError as error:
            return f"{self.name} does not answer: {error}"
        changed = sorted(name for name, value in self._as_started.items() if now.get(name) != value)
        return f"{self.name} is not set up as it was: {', '.join(changed)}" if changed else ""
