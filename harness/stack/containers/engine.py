"""The Docker engine: reached on this machine only, and everything of ours found in it by label.

Blast radius: what bears the label `taskchaos.stack`. Nothing else is ever looked at, stopped or removed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from taskchaos.harness.errors import StackError, UsageError

STACK = "taskchaos.stack"
OWNER = "taskchaos.owner"
CASE = "taskchaos.case"
COMPOSE_FILE = Path(__file__).parents[3] / "docker-compose.chaos.yml"
#: Set to go on with an engine that is reached over a network.
REMOTE_VARIABLE = "CHAOS_REMOTE_DOCKER"
BY_HAND = "by hand"
_CALL_TIMEOUT_S = 60


def host() -> str:
    """Where the engine is. Raises UsageError when that is another machine, unless told that it may be."""
    found = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not found.startswith("unix://") and not os.environ.get(REMOTE_VARIABLE):
        raise UsageError(
            f"DOCKER_HOST={found} is not on this machine: ledger and clock have to be shared with the containers; "
            f"unset it, or set {REMOTE_VARIABLE}=1 if it is this machine after all"
        )
    return found


@cache
def client() -> Any:
    """The Docker SDK's client. Raises UsageError with what to do when there is none, or no engine answers."""
    try:
        import docker
    except ImportError:
        raise UsageError("the Docker SDK is not installed: pip install 'taskchaos[docker]'") from None
    try:
        # With DOCKER_HOST given the SDK follows no CLI context; `docker compose` is given the same.
        found = docker.from_env(environment={**os.environ, "DOCKER_HOST": host()}, timeout=_CALL_TIMEOUT_S)
        kernel = found.info()["KernelVersion"]
    except docker.errors.DockerException as error:
        raise UsageError(
            f"no Docker engine answers at {host()} ({_brief(error)}): start it, or use --stack local"
        ) from None
    if kernel != os.uname().release and not os.environ.get(REMOTE_VARIABLE):
        raise UsageError(
            f"the Docker engine at {host()} has a kernel of its own ({kernel}, here {os.uname().release}), as Docker "
            "Desktop's does, but clock and sockets have to be shared: install an engine here, or use --stack local"
        )
    return found


def compose(project: str, *arguments: str, env: Mapping[str, str], timeout_s: float = 120.0) -> None:
    """Run `docker compose` on the project's file. Raises StackError with the end of what it printed."""
    options = ("--ansi", "never", "--progress", "quiet", "-p", project, "-f", str(COMPOSE_FILE))
    docker(f"compose {arguments[0]}", "compose", *options, *arguments, env=env, timeout_s=timeout_s)


def docker(what: str, *arguments: str, env: Mapping[str, str], timeout_s: float) -> None:
    """Run the `docker` command. what: it, in an error. Raises StackError with the end of what it printed."""
    environment = {**os.environ, **env, "DOCKER_HOST": host()}
    try:
        done = subprocess.run(
            ["docker", *arguments],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("there is no `docker` command: install Docker, or use --stack local") from None
    except subprocess.TimeoutExpired:
        raise StackError(f"docker {what} took longer than {timeout_s:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise StackError(f"docker {what}: {' | '.join(lines[-3:]) or f'status {done.returncode}'}")


def how_it_ended(container: Any) -> str | None:
    """How a container ended, None while it runs."""
    container.reload()
    state = container.attrs["State"]
    if state["Status"] not in ("exited", "dead"):
        return None
    return f"exited with {state['ExitCode']}{', out of memory' if state.get('OOMKilled') else ''}"


def printed(container: Any, lines: int = 3) -> str:
    """The last lines that a container printed, on one line."""
    found = container.logs(tail=lines).decode(errors="replace").splitlines()
    return " | ".join(line.strip() for line in found) or f"nothing in the log of {container.name}"


def owner_of(pid: int) -> str:
    """What marks the stacks of a process: its pid and when it began, so that a later one with the pid is another."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return f"{pid}:gone"
    if stat[0] in "ZX":  # it has ended, and nobody has asked how: process 1 of many containers never does
        return f"{pid}:gone"
    return f"{pid}:{stat[19]}"


@dataclass(slots=True)
class Found:
    """One stack in the engine: everything that bears its name."""

    stack: str
    owner: str
    case: str
    containers: list[Any] = field(default_factory=list)
    networks: list[Any] = field(default_factory=list)
    volumes: list[Any] = field(default_factory=list)

    @property
    def orphaned(self) -> bool:
        """Whether the harness that owns it is gone. What was started by hand is nobody's orphan."""
        pid = self.owner.partition(":")[0]
        return pid.isdigit() and owner_of(int(pid)) != self.owner

    @property
    def state(self) -> str:
        """Who is in charge of it, in words."""
        if self.owner == BY_HAND:
            return "started by hand"
        return "left behind" if self.orphaned else f"in use by process {self.owner.partition(':')[0]}"

    def remove(self) -> None:
        """Remove everything of it, running or not. What is gone meanwhile is fine."""
        from docker.errors import NotFound

        for things, options in ((self.containers, {"force": True, "v": True}), (self.networks, {}), (self.volumes, {})):
            for thing in things:
                try:
                    thing.remove(**options)
                except NotFound:
                    continue  # somebody else removed it


def stacks() -> tuple[Found, ...]:
    """Every stack of ours in the engine, by label, in order of their names."""
    found: dict[str, Found] = {}
    wanted = {"label": STACK}
    engine = client()
    for kind, things in (
        ("containers", engine.containers.list(all=True, filters=wanted, ignore_removed=True)),
        ("networks", engine.networks.list(filters=wanted)),
        ("volumes", engine.volumes.list(filters=wanted)),
    ):
        for thing in things:
            labels = thing.labels if kind == "containers" else thing.attrs.get("Labels") or {}
            name = labels.get(STACK, "")
            one = found.setdefault(name, Found(name, labels.get(OWNER, BY_HAND), labels.get(CASE, "")))
            getattr(one, kind).append(thing)
    return tuple(found[name] for name in sorted(found))


def heal(there: Iterable[Found], names: Container[str] | None = None) -> tuple[Found, ...]:
    """Of these stacks, remove those that were left behind, or those of these names; what was removed."""
    gone = [s for s in there if (s.orphaned if names is None else s.stack in names)]
    for stack in gone:
        stack.remove()
    return tuple(gone)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
