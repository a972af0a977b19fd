"""The conductor: runs one case from start to verdict and always leaves a healed or dead world behind."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faults.base import FaultError, Undo
from faults.nemesis import Change, Nemesis
from harness import codec, events, judge
from harness.case import Case
from harness.clock import NS_PER_S, now_ns
from harness.contract import PhaseName
from harness.errors import StackError, TaskchaosError, UsageError
from harness.history_io import EVENTS, FINAL
from harness.result import CaseResult
from harness.settle import LedgerTail, Settled, Settling, ledger_tail
from harness.stack.base import Stack
from harness.stack.local import LocalStack
from harness.stack.options import Place
from harness.subject import Subject, resolve
from harness.workload import LoadModel

UNDO = "undo.jsonl"
#: Between telling the producers and the first due time.
LEAD_S = 0.1
_TICK_S = 0.02
#: A producer that is still sending this long after its last due time is ended; its open submits are unknown.
LOAD_GRACE_S = 6.0


@dataclass(slots=True)
class _Stage:
    """The running case, passed between the steps."""

    case: Case
    subject: Subject
    folder: Path
    log: events.Log
    stack: Stack
    nemesis: Nemesis
    tail: LedgerTail

    def tick(self) -> None:
        """Look after the world: revive workers that crashed by themselves, and say that they did.

        Raises StackError when what everything rests on is gone.
        """
        self.stack.check()
        for repair in self.stack.repairs():
            self.log.emit(events.StackRepaired(case=self.case.id, detail=repair))
        for role, how in self.stack.revive():
            self.log.emit(events.WorkerDied(case=self.case.id, role=role, detail=how))


def conduct(case: Case, folder: Path, run_log: Path, *, tries: int = 1) -> CaseResult:
    """Run the case in `folder`, judge it, and emit its events there and to the run's log.

    tries: the how-manieth run of this case this is. A stack that fails gives an unknown result with the error. Raises
    UsageError for a case that cannot be run at all.
    """
    subject = resolve(case.subject)
    case.save(folder)
    (folder / "logs").mkdir(exist_ok=True)
    log = events.Log(folder / EVENTS, run_log)
    began = time.monotonic()
    try:
        log.emit(
            events.CaseStarted(
                case=case.id,
                suite=case.suite,
                scenario=case.scenario,
                subject=case.subject_name,
                expected=str(case.expectation),
                control=bool(case.expectation.must),
                folder=folder.name,
            )
        )
        try:
            _run(case, subject, folder, log)
            result = judge.judge(case, subject.contract, folder, time.monotonic() - began, tries=tries)
        except UsageError:
            raise
        except Exception as error:
            # Whatever broke (Redis gone, proxy gone, a bug of ours): no verdict, one line for the person, the rest in
            # the case's logs.
            (folder / "logs" / "harness.log").write_text(traceback.format_exc())
            known = isinstance(error, (TaskchaosError, FaultError))
            text = str(error) if known else f"{type(error).__name__}: {error}"
            result = judge.failed_stack(case, folder, " ".join(text.split()), time.monotonic() - began)
        log.emit(events.CaseJudged(case=case.id, result=result))
        return result
    finally:
        log.close()


def _stack(case: Case, folder: Path) -> Stack:
    if case.stack.place is Place.COMPOSE:
        from harness.stack.compose import ComposeStack  # the Docker SDK is not installed everywhere

        return ComposeStack(folder, case.subject, case.workload, case.stack)
    return LocalStack(folder, case.subject, case.workload, case.stack)


def _run(case: Case, subject: Subject, folder: Path, log: events.Log) -> None:
    began = time.monotonic()
    with _stack(case, folder) as stack:
        if case.workload.model is LoadModel.OPEN:
            stack.start_workers()
        log.emit(events.StackReady(case=case.id, server=stack.server, boot_s=round(time.monotonic() - began, 3)))
        nemesis = _nemesis(case, folder, log, stack)
        stage = _Stage(case, subject, folder, log, stack, nemesis, ledger_tail(folder, stack.alive))
        try:
            if case.workload.model is LoadModel.OPEN:
                _open_load(stage)
            else:
                _prefill(stage)
        except StackError:
            nemesis.abandon()
            raise
        finally:
            healed = nemesis.heal_all()
        _finish(stage, healed)


def _nemesis(case: Case, folder: Path, log: events.Log, stack: Stack) -> Nemesis:
    undo_file = folder / UNDO

    def note_undo(index: int, undo: Undo) -> None:
        with undo_file.open("a") as lines:
            lines.write(json.dumps({"fault": index, **codec.encode(undo)}) + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def changed(change: Change) -> None:
        log.emit(
            events.FaultChanged(
                case=case.id,
                fault=change.index,
                kind=change.planned.kind,
                target=change.planned.target,
                state=change.state.value,
                evidence=change.evidence.seen,
                killed_pids=change.evidence.killed_pids,
                stopped_pids=change.evidence.stopped_pids,
            )
        )

    try:
        return Nemesis(case.schedule, stack.links, stack.workers, changed, note_undo, stack.servers)
    except FaultError as error:
        raise UsageError(f"case {case.id}: {error}") from error


@contextlib.contextmanager
def _phase(stage: _Stage, name: PhaseName, planned_s: float | None, offered_tps: float | None) -> Iterator[list[str]]:
    """Announce a phase, and its figures when it ends. The list takes notes for the line that is printed."""
    stage.log.emit(events.PhaseBegan(case=stage.case.id, phase=name, planned_s=planned_s))
    stage.tail.follow()
    effects, began, notes = stage.tail.effect_count, now_ns(), list[str]()
    yield notes
    stage.tail.follow()
    at_ns = now_ns()
    took_s = (at_ns - began) / NS_PER_S
    stage.log.emit(
        events.PhaseEnded(
            at_ns=at_ns,
            case=stage.case.id,
            phase=name,
            took_s=took_s,
            offered_tps=offered_tps,
            done_tps=round((stage.tail.effect_count - effects) / took_s, 1),
            note="; ".join(notes),
        )
    )


def _sleep_until(stage: _Stage, until_s: float, stop: Callable[[], bool] = lambda: False) -> None:
    """Wait for a moment of the schedule, looking after the workers meanwhile."""
    while (left := until_s - time.monotonic()) > 0 and not stop():
        stage.tick()
        time.sleep(min(_TICK_S, left))


def _open_load(stage: _Stage) -> None:
    """Baseline, fault and healed phase under one schedule of due times; a fault phase ends after its last heal."""
    workload = stage.case.workload
    begin_ns = now_ns() + int(LEAD_S * NS_PER_S)
    begin_s = begin_ns / NS_PER_S
    stage.stack.begin_load(begin_ns)
    _sleep_until(stage, begin_s)
    rate = float(workload.rate_tps)
    fault_s = begin_s + workload.baseline_s
    healed_s = fault_s + workload.fault_s
    with _phase(stage, PhaseName.BASELINE, workload.baseline_s, rate):
        _sleep_until(stage, fault_s)
    if workload.fault_s:
        with _phase(stage, PhaseName.FAULT, workload.fault_s, rate):
            stage.nemesis.start(fault_s)
            _sleep_until(stage, healed_s)
    if workload.healed_s:
        with _phase(stage, PhaseName.HEALED, workload.healed_s, rate):
            _sleep_until(stage, healed_s + workload.healed_s)
    _sleep_until(stage, time.monotonic() + LOAD_GRACE_S, stage.stack.load_done)
    stage.stack.end_load()


def _prefill(stage: _Stage) -> None:
    """Fill the queue, start the workers, measure until everything is done or the drain deadline passes."""
    with _phase(stage, PhaseName.PREFILL, None, None) as notes:
        stage.stack.begin_load(now_ns())
        _sleep_until(stage, time.monotonic() + 60.0, stage.stack.load_done)
        if not stage.stack.load_done():
            raise StackError("the queue could not be filled within 60 s")
        stage.tail.follow()
        notes.append(f"{len(stage.tail.acknowledged)} queued")
    # Before the workers: what is aimed at a worker's first command has to be in place when it is sent.
    stage.nemesis.start(time.monotonic())
    stage.stack.start_workers()
    with _phase(stage, PhaseName.BASELINE, None, None):
        _sleep_until(stage, time.monotonic() + stage.case.drain_deadline_s, lambda: _all_done(stage.tail))


def _all_done(tail: LedgerTail) -> bool:
    tail.follow()
    return tail.missing() == 0


def _finish(stage: _Stage, healed: bool) -> None:
    """Prove that the world is whole, wait for convergence, read what is left, write it down."""
    why_not = "" if healed else "; ".join(stage.nemesis.unhealed) or "a fault did not end in time"
    whole = ""
    until = time.monotonic() + 5.0
    while not why_not and (whole := stage.stack.whole()) and time.monotonic() < until:
        stage.tick()
        time.sleep(_TICK_S)
    why_not = why_not or whole
    settling = Settling(stage.subject, stage.stack.inspector, stage.tail, stage.case.stack.settings)
    with _phase(stage, PhaseName.DRAIN, None, None) as notes:
        settled: Settled = settling.wait(stage.case.drain_deadline_s, stage.tick)
        notes.append(settled.reason or "converged")
    final = settling.read(settled, not why_not, why_not)
    (stage.folder / FINAL).write_text(json.dumps(codec.encode(final)) + "\n")
    if not healed:
        raise StackError(f"not healed: {why_not}; how to undo it by hand is in {stage.folder.name}/{UNDO}")
