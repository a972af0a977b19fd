"""How a subject's own code reaches a container: mounted read-only, or in an image of the person's own."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.errors import UsageError

#: Where the folder with a subject's code is mounted; on the module path there.
MOUNT = Path("/subject")
PROJECT = Path(__file__).parents[3]
IMAGE_VARIABLE = "CHAOS_WORKER_IMAGE"


@dataclass(frozen=True, slots=True)
class Code:
    """The subject as a container is to name it, and the folder to mount at `MOUNT` (None: nothing to mount)."""

    spec: str
    folder: Path | None = None


def _top(module: str) -> Path | None:
    """The folder or file of the outermost of its packages that is one; a namespace has no place of its own."""
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        try:
            found = importlib.util.find_spec(".".join(names[:depth]))
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        if found.origin is not None:
            file = Path(found.origin).resolve()
            return file.parent if file.name == "__init__.py" else file
    return None


def code_of(spec: str) -> Code:
    """Where the code of a subject is. Raises UsageError when it can neither be mounted nor is in an own image."""
    target = spec_of(spec)
    place, _, attribute = target.rpartition(":")
    if place.endswith(".py"):
        path = Path(place).resolve()
        return Code(f"{MOUNT / path.name}:{attribute}", path.parent)
    if os.environ.get(IMAGE_VARIABLE):
        return Code(target)  # it may be installed there; what is mounted comes first
    top = _top(place)
    if top is None:
        raise UsageError(
            f"subject {spec!r}: no file is known for {place}; install it in an image, set {IMAGE_VARIABLE}"
        )
    root = top.parent
    if root == PROJECT:
        return Code(target)  # mounted anyway
    if "site-packages" in root.parts or "dist-packages" in root.parts:
        raise UsageError(
            f"subject {spec!r} is installed in {root}, with packages for this machine: build an image with it "
            f"(FROM taskchaos-worker) and set {IMAGE_VARIABLE}"
        )
    return Code(target, root)
