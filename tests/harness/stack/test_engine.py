"""Which Docker engine is refused. The engine is a stand-in: it answers two questions, on a real socket."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from taskchaos.harness.errors import UsageError
from taskchaos.harness.stack.containers import engine


class _Answers(BaseHTTPRequestHandler):
    kernel = ""

    def do_GET(self) -> None:
        answer = {"ApiVersion": "1.41"} if self.path.endswith("/version") else {"KernelVersion": self.kernel}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def _engine_with(kernel: str, path: Path) -> Iterator[str]:
    handler = type("Handler", (_Answers,), {"kernel": kernel})
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    engine.client.cache_clear()
    yield
    engine.client.cache_clear()


def test_an_engine_with_a_kernel_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _engine_with("6.6.0-elsewhere", tmp_path / "e.sock") as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(UsageError, match=r"has a kernel of its own \(6\.6\.0-elsewhere, here .*use --stack local"):
            engine.client()
        monkeypatch.setenv(engine.REMOTE_VARIABLE, "1")
        assert engine.client()


def test_an_engine_with_the_same_kernel_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _engine_with(os.uname().release, tmp_path / "e.sock") as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert engine.client()
