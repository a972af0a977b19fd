"""The versions of what a verdict may depend on, in the environment of this process."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping

_NAMES = ("taskchaos", "locked-retry", "celery", "kombu", "redis", "billiard")


def versions() -> dict[str, str]:
    """By name. What is imported says so itself, since several may be installed, one before the other."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _NAMES}}


def _version(name: str) -> str:
    own = getattr(sys.modules.get(name.replace("-", "_")), "__version__", None)
    if isinstance(own, str):
        return own
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def told(found: Mapping[str, str]) -> str:
    """In words, without this taskchaos, which is on both sides of whatever is compared."""
    return ", ".join(f"{name} {version}" for name, version in found.items() if name != "taskchaos")
