"""The images of the compose stack: which ones, and that they are there before a run begins."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping

from taskchaos.harness.case.stack_options import ProxyKind, StackOptions
from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.stack.containers import engine
from taskchaos.harness.stack.containers.subject_code import IMAGE_VARIABLE

EMBEDDED_IMAGE, WORKER_IMAGE = "taskchaos-proxy", "taskchaos-worker"
REDIS_VARIABLE, TOXIPROXY_VARIABLE = "CHAOS_REDIS_IMAGE", "CHAOS_TOXIPROXY_IMAGE"
REDIS_IMAGE, TOXIPROXY_IMAGE = "redis:7", "ghcr.io/shopify/toxiproxy:2.12.0"
#: Who owns the ledger: root on the outside is nobody in a container.
CONTAINER_USER = os.getuid() or 65534
_BUILD_S = 600.0
_HELP = "see docs/how-to/run-behind-a-firewall.md"
#: What workers have to have in the harness's own versions, so that a verdict names the versions it is about.
_SHARED = ("celery[redis]", "kombu[redis]", "billiard", "vine", "redis[hiredis]", "hiredis")


def environment(options: StackOptions) -> dict[str, str]:
    """The part of the compose file's variables that is the same for every case of a run."""
    group = os.getgid() if os.getuid() else CONTAINER_USER
    found = {"CHAOS_USER": f"{CONTAINER_USER}:{group}", "CHAOS_REQUIREMENTS": " ".join(requirements())}
    if options.proxy is ProxyKind.EMBEDDED:
        found[TOXIPROXY_VARIABLE] = EMBEDDED_IMAGE
    return found


def requirements() -> tuple[str, ...]:
    """What a worker image installs: this harness's own versions."""
    return tuple(f"{name}=={importlib.metadata.version(name.partition('[')[0])}" for name in _SHARED)


def prepare(options: StackOptions) -> None:
    """Build what is built here, and see that the rest is there or can be pulled.

    Raises UsageError when there is no engine, no Compose or no image, saying what to do.
    """
    engine.client()
    env = environment(options)
    try:
        engine.compose("taskchaos", "version", env=env)
    except StackError as error:
        raise UsageError(f"Docker has no Compose plugin (docker-compose-plugin, Compose v2): {error}") from None
    _need(os.environ.get(REDIS_VARIABLE, REDIS_IMAGE))
    if options.proxy is ProxyKind.TOXIPROXY:
        _need(os.environ.get(TOXIPROXY_VARIABLE, TOXIPROXY_IMAGE))
    else:
        _build(EMBEDDED_IMAGE, lambda: _build_proxy(env))
    if own := os.environ.get(IMAGE_VARIABLE):
        _need(own)
    else:
        _build(WORKER_IMAGE, lambda: engine.compose("taskchaos", "build", "worker", env=env, timeout_s=_BUILD_S))


def _need(image: str) -> None:
    from docker.errors import APIError, ImageNotFound

    images = engine.client().images
    try:
        images.get(image)
    except ImageNotFound:
        _say(f"pulling {image}")
        try:
            images.pull(image)
        except APIError as error:
            raise UsageError(
                f"the image {image} is neither here nor can it be pulled ({error.explanation}); "
                "without a registry: docker/offline/build-images.sh makes it"
            ) from None


def _build_proxy(env: Mapping[str, str]) -> None:
    """The SDK builds with the old builder only; the command line takes what the engine has."""
    root = str(engine.COMPOSE_FILE.parent)
    arguments = ["build", "--quiet", "--tag", EMBEDDED_IMAGE, "--file", f"{root}/docker/proxy/Dockerfile", root]
    for name, variable in (("PYTHON_IMAGE", "CHAOS_PYTHON_IMAGE"), ("PIP_INDEX_URL", "PIP_INDEX_URL")):
        if value := os.environ.get(variable):
            arguments += ["--build-arg", f"{name}={value}"]
    engine.docker("build", *arguments, env=env, timeout_s=_BUILD_S)


def _build(image: str, build: Callable[[], None]) -> None:
    if not engine.client().images.list(name=image):
        _say(f"building the image {image} (once)")
    try:
        build()
    except StackError as error:
        raise UsageError(f"the image {image} cannot be built: {error}; {_HELP}") from None


def _say(text: str) -> None:
    print(f"taskchaos: {text}", file=sys.stderr, flush=True)  # noqa: T201
