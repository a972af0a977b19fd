"""A Redis that no harness knows of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskchaos.harness.stack.redis_server import RedisServer, find_binary


@pytest.fixture
def other_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its port."""
    folder = tmp_path_factory.mktemp("other")
    server = RedisServer(find_binary(None), folder, folder / "redis.log")
    yield server.port
    server.stop()
