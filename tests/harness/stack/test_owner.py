"""Who owns a stack of containers: a process that has ended owns none, whether or not somebody has waited for it."""

from __future__ import annotations

import os

import pytest
from waiting import until

from taskchaos.harness.stack.containers.engine import owner_of
from taskchaos.harness.stack.procfs import alive

pytestmark = pytest.mark.usefixtures("linux")


def test_a_zombie_owns_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    until(lambda: not alive(pid), "the child has ended")
    assert owner_of(pid) == f"{pid}:gone", "nobody has waited for it yet"
    os.waitpid(pid, 0)
    assert owner_of(pid) == f"{pid}:gone"


def test_a_process_is_told_from_a_later_one_with_the_same_pid() -> None:
    mine = owner_of(os.getpid())
    assert mine == owner_of(os.getpid()) and mine.startswith(f"{os.getpid()}:") and not mine.endswith(":gone")
    assert owner_of(os.getppid()) != mine
