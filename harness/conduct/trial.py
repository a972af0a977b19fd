"""Tries every function of a subject once against a live server: one task, from its submit to the final reads."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from taskchaos.faults.base import wait_for
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.clock import now_ns
from taskchaos.harness.conduct.convergence import Reader
from taskchaos.harness.errors import SubjectError
from taskchaos.harness.record.layout import LEDGER, SUFFIX
from taskchaos.harness.record.ledger import RecordKind, parse
from taskchaos.harness.record.ledger_tail import ledger_tail
from taskchaos.harness.stack.child_process import log_tail
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.subject import Subject
from taskchaos.harness.workload import LoadModel, Workload

#: How long the task may take, beyond the subject's longest wait: nothing goes wrong here.
PATIENCE_S = 10.0


def problems_of(subject: Subject, spec: str) -> tuple[str, ...]:
    """What goes wrong with a subject on a stack of its own; empty when one task runs. Raises StackError."""
    with tempfile.TemporaryDirectory(prefix="taskchaos-trial-") as folder:
        stack = LocalStack(
            Path(folder), spec, Workload(model=LoadModel.PREFILL, prefill=1), StackOptions(), name=subject.name
        )
        try:
            with stack:
                return tuple(_try(stack, subject.longest_wait_s + PATIENCE_S))
        except SubjectError as error:
            return (str(error),)


def _try(stack: LocalStack, patience_s: float) -> Iterator[str]:
    tail = ledger_tail(stack.folder, stack.alive)
    stack.begin_load(now_ns())
    wait_for(stack.load_done, patience_s)
    stack.end_load()
    if said := _not_sent(stack.folder):
        yield f"submit() did not send the task: {said}"
        return
    stack.start_workers()
    until = time.monotonic() + patience_s
    while not tail.effects and time.monotonic() < until:
        tail.follow()
        stack.check()
        time.sleep(0.02)
    if not tail.effects:
        yield f"the task did not run within {patience_s:g} s: {log_tail(stack.logs / 'worker-1.log', 3)}"
        return
    reader: Reader = stack.reader
    reader.dead_letters()
    reader.leftovers()
    if not wait_for(lambda: reader.pending().empty, patience_s, every_s=0.05):
        yield f"pending() still names {sorted(reader.pending().operations) or 'something'}, although the task is done"


def _not_sent(folder: Path) -> str:
    """What the producer wrote down when it could not send; "" when it could."""
    for path in (folder / LEDGER).glob(f"producer*{SUFFIX}"):
        for line in path.read_bytes().splitlines():
            record = parse(line)
            if record is not None and record.kind in (RecordKind.REFUSED, RecordKind.UNKNOWN):
                return record.text.decode("utf-8", "replace")
    return ""
