"""The queue of the case as faults see it: the list that kombu's Redis transport keeps, past the proxy."""

from __future__ import annotations

from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from taskchaos.faults.base import QUEUE, FaultError

#: Celery's default queue, and where kombu keeps what was fetched and is not acknowledged.
LIST, UNACKED, UNACKED_INDEX = "celery", "unacked", "unacked_index"


class MessageQueue:
    """A queue as faults see it (`taskchaos.faults.message.Queue`)."""

    def __init__(self, client: Redis) -> None:
        self.name = QUEUE
        self._client = client

    def put(self, message: bytes) -> None:
        try:
            self._client.lpush(LIST, message)
        except RedisError as error:
            raise self._error(error) from error

    def waiting(self, message: bytes) -> bool:
        try:
            return message in cast(list[bytes], self._client.lrange(LIST, 0, -1))
        except RedisError as error:
            raise self._error(error) from error

    def remove(self, message: bytes, mark: str) -> None:
        try:
            for entry in self._on_the_list(message, mark):
                self._client.lrem(LIST, 0, entry.decode("utf-8", "surrogateescape"))
            for tag in self._fetched(mark):
                self._client.hdel(UNACKED, tag)
                self._client.zrem(UNACKED_INDEX, tag)
        except RedisError as error:
            raise self._error(error) from error

    def left(self, message: bytes, mark: str) -> bool:
        try:
            return bool(self._on_the_list(message, mark) or self._fetched(mark))
        except RedisError as error:
            raise self._error(error) from error

    def _on_the_list(self, message: bytes, mark: str) -> list[bytes]:
        """As it was sent, or as kombu gives it back: written again."""
        named = f'"{mark}"'.encode()
        entries = cast(list[bytes], self._client.lrange(LIST, 0, -1))
        return [entry for entry in entries if entry == message or named in entry]

    def _fetched(self, mark: str) -> list[str]:
        named = f'"{mark}"'.encode()
        records = cast(dict[bytes, bytes], self._client.hgetall(UNACKED))
        return [tag.decode() for tag, record in records.items() if named in record]

    def _error(self, error: RedisError) -> FaultError:
        return FaultError(f"the queue of the case cannot be reached: {error}")
