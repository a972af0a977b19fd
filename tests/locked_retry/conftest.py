"""A real server for the tests of locked_retry: one process per session and xdist worker, emptied per test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from server_process import Server

if TYPE_CHECKING:
    from celery_support import Fleet


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def redis(shared_server: Server) -> Redis:
    shared_server.client.flushall()
    shared_server.client.script_flush()
    return shared_server.client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, for those that kill it or change its settings."""
    one = Server(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def fleet(shared_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    """A producer with the tasks of celery_app.py, on an emptied server; `fleet.worker()` starts workers."""
    from celery_support import fleet_on

    with fleet_on(shared_server, tmp_path) as one:
        yield one
