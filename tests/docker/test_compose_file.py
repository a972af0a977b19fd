"""docker-compose.chaos.yml as a person tries it: up, tasks, a link cut by the real Toxiproxy, down, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from docker_support import COMPOSE_FILE, docker, left, missing

from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient


class Project:
    """One stack, named so that it meets no other."""

    def __init__(self) -> None:
        self.name = f"chaos-test-{os.getpid()}-{uuid4().hex[:6]}"

    def compose(self, *arguments: str) -> str:
        return docker("compose", "-f", str(COMPOSE_FILE), "-p", self.name, *arguments)


@pytest.fixture
def project(require: Callable[[str, bool, str], None]) -> Iterator[Project]:
    lacking = missing()
    require("docker", not lacking, lacking)
    one = Project()
    yield one
    one.compose("down", "--volumes", "--timeout", "0")


def test_the_stack_comes_up_runs_tasks_meets_a_cut_and_goes(project: Project) -> None:
    project.compose("up", "--wait")
    assert len(left(project.name)) == 7, "four containers, a network, two volumes, all with the label"
    host, port = project.compose("port", "toxiproxy", "8474").rsplit(":", 1)
    assert host == "127.0.0.1", "the API has no password"
    api = ToxiproxyClient(host, int(port))
    assert {"producer-1", "worker-1", "worker-2"} <= set(api.proxies())

    def ping(link_port: int) -> str:
        shell = ("exec", "-T", "redis", "timeout", "2", "redis-cli", "-h", "toxiproxy", "-p", str(link_port), "ping")
        try:
            return project.compose(*shell)
        except subprocess.CalledProcessError:
            return "silence"

    assert [ping(26381), ping(26382)] == ["PONG", "PONG"]
    api.add_toxic("worker-1", "timeout", stream=Stream.DOWNSTREAM, attributes={"timeout": 0}, name="cut")
    assert [ping(26381), ping(26382)] == ["silence", "PONG"], "a partition is one-sided"
    api.remove_toxic("worker-1", "cut")
    said = project.compose("run", "--rm", "-T", "producer")
    assert "200 acknowledged, 200 done, 0 missing" in said
    logs = project.compose("logs", "worker")
    assert "worker-1: " in logs and "worker-2: " in logs, "each replica has the link of its number"
    project.compose("down", "--volumes", "--timeout", "0")
    assert left(project.name) == []


def test_containers_have_few_rights(project: Project) -> None:
    config = json.loads(project.compose("--profile", "producer", "config", "--format", "json"))
    assert set(config["services"]) == {"redis", "toxiproxy", "worker", "producer"}
    for name, service in config["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["user"].split(":")[0] != "0" and not service.get("privileged"), name
        assert service["mem_limit"] and "network_mode" not in service, name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def test_two_stacks_run_side_by_side(project: Project, require: Callable[[str, bool, str], None]) -> None:
    other = Project()
    try:
        for one in (project, other):
            one.compose("up", "--wait", "redis", "toxiproxy")
        ports = {one.compose("port", "toxiproxy", "8474") for one in (project, other)}
        assert len(ports) == 2
    finally:
        other.compose("down", "--volumes", "--timeout", "0")
    assert left(other.name) == [] and left(project.name) != []
