"""A container's memory, from inside: made to run out, and how often the kernel killed for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskchaos.harness.stack.child_process import die_with_parent
from taskchaos.harness.stack.procfs import alive

#: Where the kernel counts, in cgroups of version 1 and of version 2.
COUNTERS = (Path("/sys/fs/cgroup/memory/memory.oom_control"), Path("/sys/fs/cgroup/memory.events"))
STEP_BYTES = 4 << 20
#: An end also where the container has no limit.
MOST_STEPS = 1024
DEADLINE_S = 10.0


def oom_kills() -> int:
    """How many processes of this container the kernel has killed because memory had run out; 0 if it does not say."""
    for path in COUNTERS:
        if path.exists():
            counts = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
            return int(counts.get("oom_kill", 0))
    return 0


def exhaust(victim: int) -> bool:
    """Make a process the kernel's first choice, and have a child of ours use memory until it is gone.

    Returns at once; False if there is no such process. The child ends with the victim, after MOST_STEPS or DEADLINE_S;
    or by the kernel too, when memory runs out once more before the victim's has come back: it holds the most by then.
    """
    try:
        Path(f"/proc/{victim}/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return False
    if os.fork() == 0:
        try:
            die_with_parent()
            _use_memory_while(victim)
        finally:
            os._exit(0)
    return True


def _use_memory_while(victim: int) -> None:
    until = time.monotonic() + DEADLINE_S
    used: list[bytes] = []
    while alive(victim) and len(used) < MOST_STEPS and time.monotonic() < until:
        used.append(b"\1" * STEP_BYTES)  # written, so that it is there and not only promised
