"""The conductor: runs one case from start to verdict and always leaves a healed or dead world behind."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from taskchaos.faults.base import FaultError, On, Undo
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import FAULTS
from taskchaos.harness import codec
from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.stack_options import StackKind
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.conduct.convergence import Convergence, Settled
from taskchaos.harness.conduct.slots import Turn
from taskchaos.harness.conduct.standstill import Standstill, StandstillError
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import StackError, SubjectError, TaskchaosError, UsageError
from taskchaos.harness.judge import judge
from taskchaos.harness.record import alarm, events, wire
from taskchaos.harness.record.history import FinalState, OperationHit, Redrive, Usage
from taskchaos.harness.record.layout import EVENTS, LEDGER, LOGS, MARKS, STOP, UNDO
from taskchaos.harness.record.ledger_tail import LedgerTail, ledger_tail
from taskchaos.harness.record.manifest import seal_case
from taskchaos.harness.record.result import CaseResult, Trouble
from taskchaos.harness.stack.base import Stack
from taskchaos.harness.stack.body import pardon, take_down
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload

#: Between telling the producers and the first due time.
LEAD_S = 0.1
_TICK_S = 0.05
#: A producer that is still sending this long after its last due time is ended; its open submits are unknown.
LOAD_GRACE_S = 6.0
#: The longest that filling a queue may take.
FILL_S = 120.0
#: So far ahead the producers know that the load goes on.
AHEAD_S = 0.3
WORTH_TELLING_S = 0.1
#: How often it is asked whether the harness's own part still is as it should be.
AUDIT_EVERY_S = 0.25
#: Whose an error is, if not the stack's.
_TROUBLES = ((SubjectError, Trouble.SUBJECT), (StandstillError, Trouble.STANDSTILL))
#: So long it is waited for connections, keys and files to be given back.
COME_BACK_S = 1.0
#: How long a dead letter that was run again has to take effect, beyond what the subject may rightly wait.
REDRIVE_S = 5.0


@dataclass(slots=True)
class _Stage:
    """The running case, passed between the steps."""

    case: Case
    folder: Path
    log: events.Log
    stack: Stack
    nemesis: Nemesis
    tail: LedgerTail
    troubles: list[str]  # of other threads
    stop: Path  # there once the user wishes the run to end
    place: Turn | None = None  # among the other cases, if the drain is to be alone
    audited_s: float = 0.0
    usage_before: Usage | None = None  # at the end of the baseline, where the case is to come back to it

    @property
    def overdue_s(self) -> float:
        """After this long without anything that gets further, nothing will."""
        settings, workload = self.case.stack.settings, self.case.workload
        return settings.redelivery_s + self.case.longest_wait_s + (workload.work_ms + workload.eta_ms) / 1000 + 1.0

    def tick(self) -> None:
        """Look after the world: revive workers that crashed by themselves, and say that they did.

        Raises StackError when what everything rests on is gone, and KeyboardInterrupt when the user wishes the run to
        end: here, where nothing is half done, and not wherever the signal came.
        """
        if self.stop.exists():
            raise KeyboardInterrupt("the run is to end")
        self.stack.check()
        if time.monotonic() - self.audited_s > AUDIT_EVERY_S:
            self.audit()
        for repair in self.stack.repairs():
            self.log.emit(events.StackRepaired(case=self.case.id, detail=repair))
        for role, how in self.stack.revive():
            self.log.emit(events.WorkerDied(case=self.case.id, role=role, detail=how))

    def audit(self) -> None:
        """Raises StackError when the harness's own part has failed: that is not held against the subject."""
        if self.troubles:
            raise StackError(self.troubles[0])
        self.tail.follow()
        for pid, alive_ns in self.tail.gone():
            self.log.emit(events.ProcessGone(case=self.case.id, pid=pid, alive_ns=alive_ns))
        full_on_purpose = any(FAULTS[fault.kind].on is On.SERVER for fault in self.case.schedule.faults)
        self.stack.audit(full_on_purpose=full_on_purpose)
        self.audited_s = time.monotonic()


_conducting = False


def conducting() -> bool:
    """Whether this process runs a case, and so looks for the wish to end by itself."""
    return _conducting


@contextlib.contextmanager
def _conduct() -> Iterator[None]:
    global _conducting  # a signal handler has no other way to know
    _conducting = True
    try:
        yield
    finally:
        _conducting = False


def conduct(
    case: Case,
    folder: Path,
    run_log: Path,
    *,
    tries: int = 1,
    place: Turn | None = None,
    disturbed: Callable[[CaseResult], str] = lambda result: "",
    unusable: SubjectError | None = None,
) -> CaseResult:
    """Run the case in `folder`, judge it, and emit its events there and to the run's log.

    tries: which attempt at this case this is. place: given if a full queue is to be drained alone. disturbed: why the
    caller will run it once more, whatever the verdict; "" if not. unusable: what is wrong with the subject, so that
    nothing is run: no verdict, because of the subject. A stack that fails gives an unknown result with the error.
    Raises UsageError for a case that cannot be run at all, and StackError when nothing can be written down.
    """
    began = time.monotonic()
    try:
        case.save(folder)
        (folder / LOGS).mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"{folder} cannot be written: {error.strerror}") from error
    log = events.Log(folder / EVENTS, run_log)
    try:
        log.emit(
            events.CaseStarted(
                case=case.id,
                suite=case.suite,
                scenario=case.scenario,
                subject=case.subject_name,
                expected=case.expectation,
                control=bool(case.expectation.must),
                folder=folder.name,
                wall=datetime.datetime.now().astimezone().isoformat(),
            )
        )
        try:
            if unusable:
                raise unusable
            with _conduct():
                _run(case, folder, log, run_log.with_name(STOP), place)
            began += place.waited_s if place else 0.0
            result = judge.judge(case, folder, time.monotonic() - began, tries=tries)
        except UsageError:
            raise
        except Exception as error:
            # Whatever broke (Redis gone, proxy gone, a bug of ours): no verdict, one line for the person, the rest in
            # the case's logs.
            with contextlib.suppress(OSError):
                (folder / LOGS / "harness.log").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
            known = isinstance(error, (TaskchaosError, FaultError))
            text = str(error) if known else f"{type(error).__name__}: {error}"
            trouble = next((t for kind, t in _TROUBLES if isinstance(error, kind)), Trouble.STACK)
            result = judge.no_verdict(case, folder, " ".join(text.split()), trouble, time.monotonic() - began)
        if why := disturbed(result):
            log.emit(events.CaseDisturbed(case=case.id, reason=why))
        log.emit(events.CaseJudged(case=case.id, result=result))
        return result
    finally:
        log.close()


def _stack(case: Case, folder: Path) -> Stack:
    if case.stack.place is StackKind.COMPOSE:
        from taskchaos.harness.stack.containers.stack import ComposeStack  # the Docker SDK is not installed everywhere

        return ComposeStack(folder, case.subject, case.workload, case.stack, name=case.subject_name)
    return LocalStack(folder, case.subject, case.workload, case.stack, name=case.subject_name)


def _run(case: Case, folder: Path, log: events.Log, stop: Path, place: Turn | None) -> None:
    """Run the case and seal its evidence, when everything that could still write to it has ended."""
    with Standstill():
        state = _on_a_stack(case, folder, log, stop, place)
    if why := alarm.raised(folder / LEDGER):
        raise StackError(why)
    seal_case(folder, state)


def _on_a_stack(case: Case, folder: Path, log: events.Log, stop: Path, place: Turn | None) -> FinalState:
    began = time.monotonic()
    with _stack(case, folder) as stack:
        if case.workload.model is LoadModel.OPEN:
            stack.start_workers()
        log.emit(events.StackReady(case=case.id, server=stack.server, boot_s=round(time.monotonic() - began, 3)))
        troubles: list[str] = []
        nemesis = _nemesis(case, folder, log, stack, troubles)
        tail = ledger_tail(folder, stack.alive, case.contract.max_crashes or 0)
        stage = _Stage(case, folder, log, stack, nemesis, tail, troubles, stop, place)
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
        state = _finish(stage, healed)
        if (commands := stack.wire_commands()) is not None:
            wire.write(folder, commands)
        return state


def _nemesis(case: Case, folder: Path, log: events.Log, stack: Stack, troubles: list[str]) -> Nemesis:
    undo_file = folder / UNDO

    def note_undo(index: int, undo: Undo) -> None:
        with undo_file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"fault": index, **codec.encode(undo)}) + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def changed(change: Change) -> None:
        try:
            log.emit(
                events.FaultChanged(
                    case=case.id,
                    fault=change.index,
                    kind=change.planned.kind,
                    target=change.planned.target,
                    state=change.state,
                    evidence=change.evidence.seen,
                    killed_pids=change.evidence.killed_pids,
                    stopped_pids=change.evidence.stopped_pids,
                    hits=tuple(OperationHit(hit.op, hit.at_ns, hit.what) for hit in change.evidence.hits),
                    forgot_since_ns=change.evidence.forgot_since_ns,
                    began_ns=change.evidence.began_ns,
                )
            )
        except StackError as error:
            troubles.append(str(error))  # what cannot be written down must not keep a fault from being healed

    try:
        return Nemesis(
            case.schedule,
            stack.links,
            stack.workers,
            changed,
            note_undo,
            stack.servers,
            stack.queues,
            stack.clocks,
            stack.producers,
        )
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
    _plan_outage(stage, begin_ns)
    stage.stack.begin_load(begin_ns, open_end=workload.fault_s > 0)
    _sleep_until(stage, begin_s)
    rate = float(workload.rate_tps)
    fault_s = begin_s + workload.baseline_s
    with _phase(stage, PhaseName.BASELINE, workload.baseline_s, rate):
        _sleep_until(stage, fault_s)
    if stage.case.slo.growth:
        stage.usage_before = stage.stack.usage()
    if workload.fault_s:
        with _phase(stage, PhaseName.FAULT, workload.fault_s, rate) as notes:
            stage.nemesis.start(fault_s)
            _sleep_until(stage, fault_s + workload.fault_s)
            workload = _until_healed(stage, fault_s)
            if (longer_s := workload.fault_s - stage.case.workload.fault_s) > WORTH_TELLING_S:
                why = "until the last heal" if stage.nemesis.done else "and not all is healed"
                notes.append(f"{longer_s:.1f} s longer, {why}")
    if workload.healed_s:
        with _phase(stage, PhaseName.HEALED, workload.healed_s, rate):
            _sleep_until(stage, begin_s + workload.load_s)
    _sleep_until(stage, time.monotonic() + LOAD_GRACE_S, stage.stack.load_done)
    stage.stack.end_load()


def _plan_outage(stage: _Stage, begin_ns: int) -> None:
    """Tell the bodies, and the record, when what they depend on is down."""
    workload = stage.case.workload
    if workload.outage_s:
        begun_ns = begin_ns + int((workload.baseline_s + workload.outage_after_s) * NS_PER_S)
        ended_ns = begun_ns + int(workload.outage_s * NS_PER_S)
        take_down(stage.folder / MARKS, begun_ns, ended_ns)
        stage.log.emit(events.OutageSet(case=stage.case.id, begun_ns=begun_ns, ended_ns=ended_ns))


def _until_healed(stage: _Stage, began_s: float) -> Workload:
    """Have the load go on for as long as a fault is in force. The workload as it then is.

    Faults and heals are late where a machine has too little time for them: a fault that comes when the load is over
    meets nothing, and what still heals is no healed phase. So the phases wait for them, as the load does.
    """
    planned = workload = stage.case.workload
    ends_s = began_s + planned.fault_s
    # An operation is one of the plan from half an interval before it is due; a chord, when its last would be.
    ahead_s = max(0.0, AHEAD_S + (planned.together - 0.5) / planned.rate_tps - planned.healed_s)

    def so_far() -> Workload:
        late_s = time.monotonic() - ends_s + ahead_s
        return planned.lasting(planned.fault_s + min(late_s, planned.overtime_s))

    while not stage.nemesis.done and time.monotonic() - ends_s < planned.overtime_s:
        workload = so_far()
        stage.stack.extend_load(workload.operations, last=False)
        stage.tick()
        time.sleep(_TICK_S)
    if workload is not planned:
        workload = so_far()
        stage.log.emit(events.LoadExtended(case=stage.case.id, fault_s=workload.fault_s))
    stage.stack.extend_load(workload.operations, last=True)
    return workload


def _prefill(stage: _Stage) -> None:
    """Fill the queue, start the workers, measure until everything is done or the drain deadline passes."""
    with _phase(stage, PhaseName.PREFILL, None, None) as notes:
        stage.stack.begin_load(now_ns())
        _sleep_until(stage, time.monotonic() + FILL_S, lambda: stage.stack.load_done() or _stands_still(stage.tail))
        stage.stack.end_load()  # a submit that hangs is written down, and makes the case unknown
        stage.tail.follow()
        notes.append(f"{len(stage.tail.acknowledged)} queued")
    # The phase begins before the workers: what the first one drains while the others start counts too. So do faults:
    # what is aimed at a worker's first command has to be in place when it is sent.
    alone = stage.place.alone() if stage.place else contextlib.nullcontext()
    with alone, _phase(stage, PhaseName.BASELINE, None, None):
        stage.nemesis.start(time.monotonic())
        stage.stack.start_workers()
        _sleep_until(stage, time.monotonic() + stage.case.drain_deadline_s, lambda: _all_done(stage.tail))


def _stands_still(tail: LedgerTail) -> bool:
    """Whether no submit has begun or answered for so long that none will."""
    tail.follow()
    return time.monotonic() - tail.progress_at_s > LOAD_GRACE_S


def _all_done(tail: LedgerTail) -> bool:
    tail.follow()
    return tail.missing() == 0


def _finish(stage: _Stage, healed: bool) -> FinalState:
    """Prove that the world is whole, wait for convergence, and read what is left.

    Raises StackError when the world could not be healed, or the harness's own part failed on the way.
    """
    why_not = "" if healed else "; ".join(stage.nemesis.unhealed) or "a fault did not end in time"
    whole = ""
    until = time.monotonic() + 5.0
    while not why_not and (whole := stage.stack.whole()) and time.monotonic() < until:
        stage.tick()
        time.sleep(_TICK_S)
    why_not = why_not or whole
    keep_results = stage.case.stack.settings.keep_results
    settling = Convergence(
        stage.stack.reader, stage.stack.inspector, stage.tail, stage.overdue_s, keep_results=keep_results
    )
    with _phase(stage, PhaseName.DRAIN, None, None) as notes:
        settled: Settled = settling.wait(stage.case.drain_deadline_s, stage.tick)
        notes.append(settled.reason or "converged")
    final = settling.read(settled, not why_not, why_not)
    if not healed:
        raise StackError(f"not healed: {why_not}; how to undo it by hand is in {stage.folder.name}/{UNDO}")
    if stage.case.slo.growth:
        final = replace(final, usage_before=stage.usage_before, usage=_back_to(stage, stage.usage_before))
    if final.converged and final.dead:
        final = replace(final, redrive=_redrive(stage, min(final.dead)))
    stage.stack.check()
    stage.audit()
    return final


def _back_to(stage: _Stage, before: Usage | None) -> Usage | None:
    """What is in use now; for a while it is waited until that is no more than before."""
    until = time.monotonic() + COME_BACK_S
    while (now := stage.stack.usage()) is not None and before is not None and time.monotonic() < until:
        files = any(number > before.files.get(role, number) for role, number in now.files.items())
        if not files and now.connections <= before.connections and now.keys <= before.keys:
            break
        stage.tick()
        time.sleep(_TICK_S)
    return now


def _redrive(stage: _Stage, op: int) -> Redrive | None:
    """Have a dead letter run again, its body made to succeed; None when the subject offers no way to ask for it."""
    pardon(stage.folder / MARKS, op)
    begun_ns = now_ns()
    try:
        if not stage.stack.reader.redrive(op):
            return None
    except SubjectError as error:
        return Redrive(op, begun_ns, effect=False, error=str(error))
    until = time.monotonic() + stage.case.longest_wait_s + REDRIVE_S
    while time.monotonic() < until:
        stage.tick()
        stage.tail.follow()
        if stage.tail.last_effect_ns.get(op, 0) >= begun_ns:
            return Redrive(op, begun_ns, effect=True)
        time.sleep(_TICK_S)
    return Redrive(op, begun_ns, effect=False)
