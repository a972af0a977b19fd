"""A Celery worker of a stack: in a process forked by the zygote, or by Celery's own command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import signals

from taskchaos.harness.stack.runtime import RoleConfig, Runtime, build, record_worker, refuse
from taskchaos.harness.subject_calls import SubjectFault

CONFIG_VARIABLE = "TASKCHAOS_ROLE_CONFIG"
READY_VARIABLE = "TASKCHAOS_READY_FD"
#: An autoscaled worker keeps a process that it does not need for so long (Celery: 30 s), so that a case sees it go.
SHRINKS_AFTER_S = 0.5


def _prepare(config: RoleConfig, ready_fd: int) -> Runtime:
    runtime = build(config, refuse(ready_fd))
    record_worker(runtime.ledger)

    def announce(sender: Any = None, **_: Any) -> None:
        if config.settings.autoscale:
            sender.controller.autoscaler.keepalive = SHRINKS_AFTER_S
        os.write(ready_fd, b"1")
        os.close(ready_fd)

    signals.worker_ready.connect(announce, weak=False)
    return runtime


def run(config_path: Path, ready_fd: int) -> None:
    """Be the worker until it is told to stop.

    Gossip and heartbeat are left out, and mingle unless it is asked for: they cost a second of boot.
    """
    config = RoleConfig.load(config_path)
    runtime = _prepare(config, ready_fd)
    from celery.apps.worker import Worker

    worker = Worker(
        app=runtime.app,
        hostname=f"{config.role}@taskchaos",
        pool=config.pool,
        concurrency=config.settings.concurrency,
        autoscale=autoscale(config),
        without_gossip=True,
        without_mingle=not config.settings.mingle,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def autoscale(config: RoleConfig) -> str | None:
    """The most and the fewest pool processes, as Celery takes them; None when they are always as many."""
    return f"{config.settings.concurrency},1" if config.settings.autoscale else None


def run_command_line(config_path: Path, ready_fd: int) -> None:
    """Replace this process by `celery worker`, which finds its application in this module."""
    config = RoleConfig.load(config_path)
    os.set_inheritable(ready_fd, True)
    environment = {**os.environ, CONFIG_VARIABLE: str(config_path), READY_VARIABLE: str(ready_fd)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "celery", *command_line(config)], environment)


def command_line(config: RoleConfig) -> list[str]:
    """The arguments after `celery`."""
    return [
        "--app=taskchaos.harness.stack.worker_app",
        "worker",
        f"--hostname={config.role}@taskchaos",
        f"--pool={config.pool}",
        f"--concurrency={config.settings.concurrency}",
        *(f"--autoscale={processes}" for processes in (autoscale(config),) if processes),
        "--without-gossip",
        *(() if config.settings.mingle else ("--without-mingle",)),
        "--without-heartbeat",
        "--loglevel=WARNING",
    ]


def application_from_environment() -> Any:
    """The application of the role that the environment names; for `celery --app`."""
    config, ready_fd = RoleConfig.load(Path(os.environ[CONFIG_VARIABLE])), int(os.environ[READY_VARIABLE])
    try:
        return _prepare(config, ready_fd).app
    except SubjectFault as fault:
        refuse(ready_fd)(str(fault))
