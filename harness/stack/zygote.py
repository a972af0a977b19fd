"""The zygote: a process that has imported Celery once and forks workers and producers from that.

A forked worker is ready in about 40 ms instead of 350 ms. The zygote opens no connection and starts no thread
before it forks; what differs between roles (broker URL, subject) is set in the child. It speaks over a Unix socket
(SOCK_SEQPACKET): one JSON request, one JSON answer; a spawn request carries two descriptors, one to say "ready" on
and one to be told things on. When the harness goes, the socket ends and the zygote with it, and with the zygote, by
the kernel's parent-death signal, everything it forked. In a container it is also the harness's hand: it signals
processes and looks at them where their pids are known.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from dataclasses import astuple
from enum import StrEnum
from pathlib import Path
from typing import Any

from taskchaos.harness.case.subject_names import registered
from taskchaos.harness.stack import memory, sockets
from taskchaos.harness.stack.child_process import die_with_parent
from taskchaos.harness.stack.procfs import alive, children_of, kill_group, send
from taskchaos.harness.stack.runtime import BROKEN, refuse
from taskchaos.harness.subject_calls import SubjectFault

MESSAGE_BYTES = 65536
#: The folder of a case for its roles' temporary files.
TEMPORARY = "tmp"
PRELOADED = (
    "billiard.heap",
    "billiard.pool",
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "billiard.synchronize",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.concurrency.asynpool",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.events.dispatcher",
    "celery.events.receiver",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "kombu.matcher",
    "kombu.mixins",
    "kombu.pidbox",
    "kombu.transport.redis",
    "taskchaos.harness.stack.inspection",
    "taskchaos.harness.stack.producer",
    "taskchaos.harness.stack.runtime",
    "taskchaos.harness.stack.worker",
)
#: What a user's shell may say about Celery, and would lead roles past the links that they are given.
FOREIGN = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")


class Spawn(StrEnum):
    """What a spawned process becomes."""

    WORKER = "worker"
    CLI_WORKER = "cli_worker"
    PRODUCER = "producer"
    INSPECTOR = "inspector"


def import_celery() -> None:
    """Import what a worker imports, so that a fork has it already."""
    for module in PRELOADED:
        importlib.import_module(module)
    registered()  # each fork asks for the subject's name: look it up once
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve on the descriptor given as first argument until it ends."""
    serve(socket.socket(fileno=int(sys.argv[1])))


def serve(control: socket.socket) -> None:
    """Answer requests until the other end goes."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    import_celery()
    exits: dict[int, int] = {}
    # A dying child only has to wake the loop; waitpid below does the rest.
    signal.signal(signal.SIGCHLD, lambda *_: _reap(exits))
    control.send(b'{"ready": true}')
    while True:
        message, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 2)
        if not message:
            return
        request = json.loads(message)
        if "spawn" in request:
            what, config, log = Spawn(request["spawn"]), Path(request["config"]), Path(request["log"])
            answer: object = _fork(control, what, config, log, fds)
        else:
            _reap(exits)
            answer = _look(request, exits)
        control.send(json.dumps(answer).encode())


def _look(request: dict[str, Any], exits: dict[int, int]) -> object:
    """The answer to a question about processes, or to the request to signal one."""
    match request:
        case {"status": pid}:
            return exits.get(pid)
        case {"alive": pid}:
            return alive(pid)
        case {"children": pid}:
            return children_of(pid)
        case {"send": number, "to": pids}:
            for pid in pids:
                send(pid, signal.Signals(number))
        case {"end": group}:
            kill_group(group)
        case {"exhaust": victim}:
            return memory.exhaust(victim)
        case {"oom_kills": _}:
            return memory.oom_kills()
        case {"connections_to": [host, port]}:
            return [astuple(each) for each in sockets.connections(host, port)]
    return None


def _reap(exits: dict[int, int]) -> None:
    """Collect ended children; their return codes stay readable."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        exits[pid] = os.waitstatus_to_exitcode(status)


def _fork(control: socket.socket, what: Spawn, config: Path, log: Path, fds: list[int]) -> int:
    ready_fd, told_fd = fds
    pid = os.fork()
    if pid:
        os.close(ready_fd)
        os.close(told_fd)
        return pid
    status = BROKEN
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        zygote = os.getppid()
        os.setsid()  # a group of its own, so that one signal reaches its pool children too
        die_with_parent()
        if os.getppid() != zygote:
            os._exit(1)  # the zygote died before the line above could take effect
        control.close()
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        os.environ["TMPDIR"] = _own_folder(log)
        _use_page(page_of(config))
        _become(what, config, ready_fd, told_fd)
        status = 0
    except SubjectFault as fault:
        refuse(ready_fd)(str(fault))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def page_of(config: Path) -> Path:
    """Where the page is that tells a role's process what to see (taskchaos.faults.preload), if there is one."""
    return config.with_suffix(".page")


def _use_page(path: Path) -> None:
    if path.exists() and ctypes.CDLL(None).taskchaos_use_page(os.fsencode(path)):
        raise OSError(f"{path} cannot be mapped")


def _own_folder(log: Path) -> str:
    """Where a role's temporary files belong: with the case, so that nothing of it is left elsewhere."""
    folder = log.parent.parent / TEMPORARY
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = None  # the zygote may have looked its own up
    return str(folder)


def _become(what: Spawn, config: Path, ready_fd: int, told_fd: int) -> None:
    from taskchaos.harness.stack import worker

    if what is Spawn.PRODUCER:
        from taskchaos.harness.stack import producer as load

        load.run(config, ready_fd, told_fd)
    elif what is Spawn.INSPECTOR:
        from taskchaos.harness.stack import inspection

        inspection.serve(config, ready_fd, told_fd)
    elif what is Spawn.WORKER:
        worker.run(config, ready_fd)
    else:
        worker.run_command_line(config, ready_fd)


if __name__ == "__main__":
    main()
