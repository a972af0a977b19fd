"""docker-compose.chaos.yml as a person tries it: up, a link cut by the real Toxiproxy, down, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from faults.toxiproxy import Stream, ToxiproxyClient

ROOT = Path(__file__).parents[2]
IMAGES = ("redis:7", "ghcr.io/shopify/toxiproxy:2.12.0")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def _missing() -> str:
    """What keeps this machine from running the stack; "" when nothing does."""
    try:
        docker("info")
        docker("compose", "version")
    except (OSError, subprocess.SubprocessError) as error:
        return f"no Docker engine with Compose answers here ({type(error).__name__})"
    for image in IMAGES:
        if not docker("images", "--quiet", image):
            return f"the image {image} is not there: docker/offline/build-images.sh pulls or makes it"
    return ""


class Project:
    """One stack, named so that it meets no other."""

    def __init__(self) -> None:
        self.name = f"chaos-test-{os.getpid()}-{uuid4().hex[:6]}"

    def compose(self, *arguments: str) -> str:
        return docker("compose", "-f", str(ROOT / "docker-compose.chaos.yml"), "-p", self.name, *arguments)

    def left(self) -> list[str]:
        """Containers, networks and volumes that bear its label."""
        label = ("--quiet", "--filter", f"label=taskchaos.stack={self.name}")
        return [
            *docker("ps", "--all", *label).split(),
            *docker("network", "ls", *label).split(),
            *docker("volume", "ls", *label).split(),
        ]


@pytest.fixture
def project(require: Callable[[str, bool, str], None]) -> Iterator[Project]:
    missing = _missing()
    require("docker", not missing, missing)
    one = Project()
    yield one
    one.compose("down", "--volumes", "--timeout", "0")


def test_up_cut_one_link_and_down(project: Project) -> None:
    project.compose("up", "--wait")
    assert len(project.left()) == 4, "two containers, a network, a volume, all with the label"
    host, port = project.compose("port", "toxiproxy", "8474").strip().rsplit(":", 1)
    assert host == "127.0.0.1", "the API has no password"
    api = ToxiproxyClient(host, int(port))
    assert set(api.proxies()) == {"producer-1", "worker-1", "worker-2"}

    def ping(link_port: int) -> str:
        shell = ("exec", "-T", "redis", "timeout", "2", "redis-cli", "-h", "toxiproxy", "-p", str(link_port), "ping")
        try:
            return project.compose(*shell).strip()
        except subprocess.CalledProcessError:
            return "silence"

    assert [ping(26381), ping(26382)] == ["PONG", "PONG"]
    api.add_toxic("worker-1", "timeout", stream=Stream.DOWNSTREAM, attributes={"timeout": 0}, name="cut")
    assert [ping(26381), ping(26382)] == ["silence", "PONG"], "a partition is one-sided"
    project.compose("down", "--volumes", "--timeout", "0")
    assert project.left() == []


def test_what_a_container_may_not(project: Project) -> None:
    config = json.loads(project.compose("config", "--format", "json"))
    for name, service in config["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["user"].split(":")[0] != "0" and not service.get("privileged"), name
        assert service["mem_limit"] and "network_mode" not in service, name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
