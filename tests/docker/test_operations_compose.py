"""docs/operations/compose as a person tries it: up, orders are shipped, figures are there, and all end in time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from docker_support import docker, missing
from repository import ROOT
from waiting import until

FOLDER = ROOT / "docs" / "operations" / "compose"
REDIS_IMAGE, PYTHON_IMAGE = "redis:7", "python:3.11-slim-bookworm"
READ = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9808/metrics', timeout=9).read().decode())"


class Example:
    """The example's services but Prometheus, whose image may not be there, under a name of their own."""

    def __init__(self) -> None:
        self.name = f"taskchaos-test-{uuid4().hex[:10]}"

    def compose(self, *words: str, timeout_s: float = 120) -> str:
        """What `docker compose` prints; CalledProcessError when it fails."""
        done = subprocess.run(
            ["docker", "compose", "-f", str(FOLDER / "compose.yml"), "-p", self.name, *words],
            env={**os.environ, "SHOP_IMAGE": self.name, "REDIS_IMAGE": REDIS_IMAGE},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout

    def figures(self) -> str:
        """/metrics of the worker; nothing as long as it is not served."""
        try:
            return self.compose("exec", "-T", "worker", "python", "-c", READ)
        except subprocess.CalledProcessError:
            return ""


@pytest.fixture
def example(require: Callable[[str, bool, str], None]) -> Iterator[Example]:
    lacking = missing(REDIS_IMAGE, PYTHON_IMAGE)
    require("docker", not lacking, lacking)
    one = Example()
    index = ["--build-arg", "PIP_INDEX_URL"] if "PIP_INDEX_URL" in os.environ else []
    docker("build", "--quiet", "-t", one.name, *index, "-f", str(FOLDER / "Dockerfile"), str(ROOT), timeout_s=600)
    yield one
    one.compose("down", "--volumes", "--timeout", "0")
    docker("image", "rm", "--force", one.name)


def test_the_example_ships_orders_and_tells_so(example: Example) -> None:
    example.compose("up", "--detach", "--no-build", "redis", "worker", "app")
    shipped = 'locked_retry_settled_total{kind="ok"} '

    def told() -> bool:
        lines = example.figures().splitlines()
        ok = [int(line.removeprefix(shipped)) for line in lines if line.startswith(shipped)]
        return "locked_retry_broker_up 1" in lines and bool(ok) and ok[0] >= 2

    until(told, lambda: example.compose("logs", "worker"), 90)
    assert example.compose("exec", "-T", "app", "python", "-c", "import socket; socket.gethostbyname('worker')") == ""
    example.compose("stop", "worker", "app")
    codes = {
        name: example.compose("ps", "--all", "--format", "{{.ExitCode}}", name).strip() for name in ("worker", "app")
    }
    assert codes == {"worker": "0", "app": "143"}, "both end by themselves, within their grace periods"
