"""docker/offline and docker/proxy: images for machines without a registry, and an engine for those without one."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker_support import missing
from repository import ROOT
from waiting import until

from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient, ToxiproxyError, Unreachable
from taskchaos.harness.stack.redis_server import find_binary

OFFLINE = ROOT / "docker" / "offline"
REDIS_BASE, PYTHON_BASE = "redis:7", "python:3.11-slim-bookworm"
#: What docker-compose.chaos.yml allows a container.
CONFINED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--pids-limit", "64")
Require = Callable[[str, bool, str], None]


def run(*argv: object, env: dict[str, str] | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, env=env, check=False)


def docker(*arguments: object, timeout: float = 120) -> str:
    done = run("docker", *arguments, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _need(require: Require, *images: str) -> None:
    lacks = missing(*images)
    require("docker", not lacks, lacks)


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 4, done
    assert not done.stdout
    assert done.stderr.count("\n") == 1, "one line"
    for word in words:
        assert word in done.stderr


# An image of a server at hand


@pytest.fixture
def server(require: Require) -> Path:
    _need(require, REDIS_BASE)
    return find_binary(None)


@pytest.fixture
def name() -> Iterator[str]:
    """Of an image and a container that are this test's own."""
    one = f"taskchaos-test-{uuid4().hex[:10]}"
    yield one
    run("docker", "rm", "--force", "--volumes", one)
    run("docker", "image", "rm", "--force", one)


def test_a_redis_image_serves_the_given_binary(server: Path, name: str) -> None:
    version = run(server, "--version").stdout.partition(" v=")[2].split()[0]
    done = run(OFFLINE / "redis-image.sh", server, name)
    assert done.returncode == 0, done.stderr
    assert f"{name} made" in done.stdout
    assert version in done.stdout
    docker("run", "--detach", "--name", name, "--network", "none", "--user", "999:999", *CONFINED, name)
    until(lambda: run("docker", "exec", name, "redis-cli", "ping").stdout.strip() == "PONG", "an answer to PING")
    info = docker("exec", name, "redis-cli", "info", "server").replace("\r", "").splitlines()
    assert {f"redis_version:{version}", f"valkey_version:{version}"} & set(info)
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", name))
    assert labels["taskchaos.offline"] == "1"


def test_a_redis_image_replaces_only_its_own(server: Path, name: str) -> None:
    def identity() -> str:
        return docker("image", "inspect", "--format", "{{.Id}}", name)

    docker("tag", REDIS_BASE, name)
    before = identity()
    _refused(run(OFFLINE / "redis-image.sh", server, name), name, "--force")
    assert identity() == before
    assert run(OFFLINE / "redis-image.sh", "--force", server, name).returncode == 0
    assert identity() != before
    assert run(OFFLINE / "redis-image.sh", server, name).returncode == 0, "its own it replaces"


def test_a_redis_image_says_what_is_wrong(server: Path, name: str, tmp_path: Path) -> None:
    script = OFFLINE / "redis-image.sh"
    _refused(run(script), "usage: ")
    _refused(run(script, "--bogus", server, name), "--bogus")
    _refused(run(script, tmp_path / "redis-server", name), f"no file {tmp_path}/redis-server")
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    _refused(run(script, text, name), "no Linux binary")
    _refused(run(script, "/bin/ls", name), "no Redis or Valkey server")
    _refused(run(script, server, REDIS_BASE), "another name")
    assert run("docker", "image", "inspect", name).returncode, "nothing was made"


def test_redis_versions_knows_its_names() -> None:
    _refused(run(OFFLINE / "redis-versions.sh", "redis:1"), "redis:6.2", "valkey/valkey:9")


# The embedded proxy as an image


@pytest.fixture(scope="module")
def proxy_image() -> Iterator[str]:
    one = f"taskchaos-test-proxy-{uuid4().hex[:10]}"
    index = ["--build-arg", "PIP_INDEX_URL"] if "PIP_INDEX_URL" in os.environ else []
    docker(
        "build", "--quiet", "--tag", one, *index, "--file", ROOT / "docker" / "proxy" / "Dockerfile", ROOT, timeout=300
    )
    yield one
    run("docker", "image", "rm", "--force", one)


class ProxyContainer:
    """Its link `worker-2` leads to its own API: a client that speaks through the link needs no other server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.api = ToxiproxyClient(*self._published(8474))
        self.link = ToxiproxyClient(*self._published(26382), timeout_s=0.5)

    def _published(self, port: int) -> tuple[str, int]:
        host, _, number = docker("port", self.name, port).splitlines()[0].rpartition(":")
        return host, int(number)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("docker", "exec", self.name, "/toxiproxy-cli", *arguments, timeout=20)


@pytest.fixture
def proxy(require: Require, request: pytest.FixtureRequest, name: str, tmp_path: Path) -> ProxyContainer:
    _need(require, PYTHON_BASE)
    image = request.getfixturevalue("proxy_image")
    config = tmp_path / "toxiproxy.json"
    links = [("worker-1", "[::]:26381", False), ("worker-2", "[::]:26382", True)]
    entries = [{"name": n, "listen": at, "upstream": "127.0.0.1:8474", "enabled": on} for n, at, on in links]
    config.write_text(json.dumps(entries))
    mount = f"{config}:/config/toxiproxy.json:ro"
    ports = ("--publish", "127.0.0.1::8474", "--publish", "127.0.0.1::26382")
    flags = ("-host=0.0.0.0", "-config=/config/toxiproxy.json", "-proxy-metrics")
    docker(
        "run", "--detach", "--name", name, "--user", "65534:65534", *CONFINED, "--volume", mount, *ports, image, *flags
    )
    started = ProxyContainer(name)
    until(lambda: started.cli("inspect", "worker-2").returncode == 0, "the health check passes")
    return started


def test_the_proxy_image_takes_toxiproxys_place(proxy: ProxyContainer) -> None:
    assert proxy.api.version() == "2.12.0"
    states = proxy.api.proxies()
    assert {one.name: one.enabled for one in states.values()} == {"worker-1": False, "worker-2": True}
    assert proxy.link.version() == "2.12.0", "through the link"
    proxy.api.add_toxic("worker-2", "timeout", stream=Stream.DOWNSTREAM, attributes={"timeout": 0}, name="cut")
    with pytest.raises(Unreachable):
        proxy.link.version()
    assert proxy.api.remove_toxic("worker-2", "cut")
    assert proxy.link.version() == "2.12.0"
    proxy.api.set_enabled("worker-2", False)
    with pytest.raises(ToxiproxyError):
        proxy.link.version()
    with urllib.request.urlopen(f"http://{proxy.api.host}:{proxy.api.port}/metrics", timeout=3) as answer:
        assert b"toxiproxy_proxy_received_bytes_total" in answer.read()
    docker("stop", "--time", "20", proxy.name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", proxy.name) == "0"


def test_the_proxy_image_answers_health_checks(proxy: ProxyContainer) -> None:
    assert proxy.cli("list").stdout.split("\n")[0].split("\t") == [
        "worker-1",
        "[::]:26381",
        "127.0.0.1:8474",
        "disabled",
        "0",
    ]
    assert proxy.cli("inspect", "worker-2").stdout.startswith("worker-2\t")
    unknown = proxy.cli("inspect", "worker-3")
    assert unknown.returncode == 1
    assert "404" in unknown.stderr
    assert proxy.cli("delete", "worker-2").returncode == 4, "it looks, and changes nothing"
    docker("kill", "--signal", "STOP", proxy.name)
    began = time.monotonic()
    assert proxy.cli("inspect", "worker-2").returncode == 1, "an API that does not answer"
    assert 2.5 < time.monotonic() - began < 10
    docker("kill", "--signal", "CONT", proxy.name)
    until(lambda: proxy.cli("inspect", "worker-2").returncode == 0, "it comes back")


# An engine where there is none: with commands that only pretend, so that no real one is touched


class Pretended:
    """`docker`, `dockerd` and `debootstrap` of its own in front of PATH."""

    def __init__(self, folder: Path, dockerd: str) -> None:
        self.pid_file = folder / "pid"
        self.up = folder / "up"
        commands = folder / "bin"
        commands.mkdir()
        bodies = {"docker": f"[ -e {self.up} ] && echo 1.0", "debootstrap": "exit 1", "dockerd": dockerd}
        for command, body in bodies.items():
            (commands / command).write_text(f"#!/bin/bash\n{body}\n")
            (commands / command).chmod(0o755)
        self.env = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "TMPDIR": str(folder),
            "CHAOS_ENGINE_PID_FILE": str(self.pid_file),
        }

    def script(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(OFFLINE / "start-engine.sh", *arguments, env=self.env)


@pytest.fixture
def root(require: Require) -> None:
    require("root", os.getuid() == 0, "only root starts an engine")


@pytest.mark.usefixtures("root")
def test_an_engine_starts_once_and_stops(tmp_path: Path) -> None:
    up, pid = tmp_path / "up", tmp_path / "pid"
    engine = Pretended(
        tmp_path, f"echo $$ >{pid}; touch {up}; trap 'rm {up} {pid}; exit 0' TERM; while :; do sleep 0.1; done"
    )
    try:
        first = engine.script()
        assert first.returncode == 0, first.stderr
        assert f"pid file {engine.pid_file}" in first.stdout
        number = int(engine.pid_file.read_text())
        second = engine.script()
        assert (second.returncode, second.stdout) == (0, "engine: one answers already; nothing to do\n")
        assert int(engine.pid_file.read_text()) == number
    finally:
        stopped = engine.script("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "engine: stopped\n")
    assert not up.exists()
    assert "none was started" in engine.script("stop").stdout


@pytest.mark.usefixtures("root")
def test_an_engine_that_cannot_run_says_why(tmp_path: Path) -> None:
    line = "failed to start daemon: Devices cgroup isn't mounted"
    engine = Pretended(tmp_path, f'echo "time=now level=info msg=hello"; echo "{line}" >&2; exit 1')
    done = engine.script()
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "engine: none can run here: Devices cgroup isn't mounted\n"
    assert not engine.pid_file.exists()


@pytest.mark.usefixtures("root")
def test_stopping_the_engine_spares_a_process_that_has_its_number(tmp_path: Path) -> None:
    engine = Pretended(tmp_path, "exit 1")
    with subprocess.Popen(["sleep", "60"]) as other:
        engine.pid_file.write_text(f"{other.pid}\n")
        assert "has gone" in engine.script("stop").stdout
        assert other.poll() is None
        other.kill()


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    _refused(run(OFFLINE / "start-engine.sh", "restart"), "restart", "stop")
