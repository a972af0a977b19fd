"""Helpers of the Docker tests: is there an engine, and what of a stack is in it."""

from __future__ import annotations

import subprocess

from repository import ROOT

COMPOSE_FILE = ROOT / "docker-compose.chaos.yml"
IMAGES = ("redis:7", "python:3.11-slim-bookworm", "ghcr.io/shopify/toxiproxy:2.12.0")


def docker(*arguments: str, timeout_s: float = 120.0) -> str:
    """What a `docker` command prints. Raises CalledProcessError when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=timeout_s)
    return done.stdout.strip()


def missing(*images: str) -> str:
    """What keeps this machine from running the stack, or what needs these images; "" when nothing does."""
    try:
        docker("info")
        docker("compose", "version")
    except (OSError, subprocess.SubprocessError) as error:
        return f"no Docker engine with Compose answers here ({type(error).__name__})"
    for image in images or IMAGES:
        if not docker("images", "--quiet", image):
            return f"the image {image} is not there: docker/offline/build-images.sh pulls or makes it"
    return ""


def left(stack: str) -> list[str]:
    """Containers, networks and volumes that bear the label of a stack."""
    label = ("--quiet", "--filter", f"label=taskchaos.stack={stack}")
    return [
        *docker("ps", "--all", *label).split(),
        *docker("network", "ls", *label).split(),
        *docker("volume", "ls", *label).split(),
    ]
