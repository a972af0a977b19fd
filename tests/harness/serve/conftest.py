"""A store of runs that is served, and a browser for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import chromium
from serve_support import write_run

from taskchaos.harness.serve.server import RunServer

browser = pytest.fixture(scope="module")(chromium)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunServer]:
    """Two runs with reports, and what is no run."""
    runs = tmp_path / "runs"
    write_run(runs, "run a", failing=False)
    write_run(runs, "run-b", failing=True)
    (runs / "broken").mkdir()
    (runs / "broken" / "events.jsonl").write_text("{")
    (runs / "latest").symlink_to("run-b")
    (tmp_path / "secret.txt").write_text("secret")
    (runs / "run-b" / "out").symlink_to(tmp_path)
    with RunServer(runs) as server:
        server.start()
        yield server
        server.shutdown()
