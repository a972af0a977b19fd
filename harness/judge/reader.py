"""Reads a case folder into a History: the ledger files, the events and the final inspection.

Whatever the files hold, reading them raises nothing but `OSError`: a record that is
none, or that fits nothing before it, is counted as torn. Whether the files are those that were written, the manifest
tells (harness/record/manifest.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.faults.state import FaultState
from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.stack_options import roles
from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.files import open_file
from taskchaos.harness.record import events
from taskchaos.harness.record.history import (
    MOST_ERRORS,
    NEVER,
    UNFENCED,
    AttemptOutcome,
    ClaimKind,
    FaultInterval,
    FinalState,
    History,
    Outage,
    Phase,
    ReleaseSeen,
    SubmitOutcome,
)
from taskchaos.harness.record.layout import EVENTS, LEDGER, SUFFIX
from taskchaos.harness.record.ledger import BOUND, Record, RecordKind, parse
from taskchaos.harness.workload import Workload

_SUBMIT_OUTCOMES = {
    RecordKind.ACKNOWLEDGED: SubmitOutcome.ACKNOWLEDGED,
    RecordKind.REFUSED: SubmitOutcome.REFUSED,
    RecordKind.UNKNOWN: SubmitOutcome.UNKNOWN,
}
_ENDS = frozenset(AttemptOutcome) - {AttemptOutcome.OPEN}
_CLAIMS = frozenset(ClaimKind)


def read_ledger(folder: Path, history: History) -> None:
    """Append every record of the ledger files in `folder` to the history's columns."""
    roles = list(history.roles)
    finished = set(history.finished)
    seen: dict[tuple[str, str], int] = {(one.release, one.versions): one.effects for one in history.releases}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        role = path.name.split(".")[0]
        if role not in roles:
            roles.append(role)
        reader = _Reader(history, roles.index(role))
        with open_file(path) as lines:
            for line in lines:
                record = parse(line) if line.endswith(b"\n") else None
                if record is None or not reader.take(record):
                    history.torn_records += 1
        if reader.finished is not None:
            finished.add(role)
            history.gone_through = (history.gone_through or 0) + reader.finished
        if reader.release:
            seen[reader.release] = seen.get(reader.release, 0) + reader.effects
    history.releases = tuple(ReleaseSeen(*which, effects) for which, effects in sorted(seen.items()))
    history.roles, history.finished = tuple(roles), frozenset(finished)


@dataclass(slots=True)
class _Reader:
    """Takes the records of one file in order; `role` is the index of who wrote it."""

    history: History
    role: int
    finished: int | None = None
    release: tuple[str, str] | None = None
    effects: int = 0
    _open_submits: dict[int, int] = field(default_factory=dict)
    _open_attempts: dict[int, int] = field(default_factory=dict)
    _open_revokes: dict[int, int] = field(default_factory=dict)

    def take(self, record: Record) -> bool:
        """Whether the record fits what came before it."""
        return _TAKE[record.kind](self, record)

    def _submit(self, record: Record) -> bool:
        submits = self.history.submits
        self._open_submits[record.op] = len(submits.op)
        submits.op.append(record.op)
        submits.due_ns.append(record.a)
        submits.begun_ns.append(record.at_ns)
        submits.done_ns.append(NEVER)
        submits.outcome.append(SubmitOutcome.PENDING)
        submits.role.append(self.role)
        return True

    def _answer(self, record: Record) -> bool:
        row = self._open_submits.pop(record.op, None)
        if row is None:
            return False
        self.history.submits.done_ns[row] = record.at_ns
        self.history.submits.outcome[row] = _SUBMIT_OUTCOMES[record.kind]
        errors = self.history.submit_errors
        if record.text and len(errors) < MOST_ERRORS:
            errors[record.op] = record.text.decode("utf-8", "replace").strip()
        return True

    def _dropped(self, record: Record) -> bool:
        self.history.drops.op.append(record.op)
        self.history.drops.due_ns.append(record.a)
        return True

    def _finished(self, record: Record) -> bool:
        self.finished = record.op
        return True

    def _revoke(self, record: Record) -> bool:
        revokes = self.history.revokes
        self._open_revokes[record.op] = len(revokes.op)
        revokes.op.append(record.op)
        revokes.begun_ns.append(record.at_ns)
        revokes.heard_ns.append(NEVER)
        return True

    def _heard(self, record: Record) -> bool:
        row = self._open_revokes.pop(record.op, None)
        if row is None:
            return False
        if record.kind is RecordKind.HEARD:
            self.history.revokes.heard_ns[row] = record.at_ns
        elif not self.history.unheard:
            self.history.unheard = record.text.decode("utf-8", "replace").strip()
        return True

    def _delivery(self, record: Record) -> bool:
        deliveries = self.history.deliveries
        deliveries.op.append(record.op)
        deliveries.at_ns.append(record.at_ns)
        deliveries.role.append(self.role)
        return True

    def _begin(self, record: Record) -> bool:
        fence = UNFENCED
        if record.text:
            try:
                fence = int(record.text)
            except ValueError:
                return False
        if record.a in self._open_attempts or not -BOUND <= fence < BOUND:
            return False
        attempts = self.history.attempts
        self._open_attempts[record.a] = len(attempts.op)
        attempts.op.append(record.op)
        attempts.begun_ns.append(record.at_ns)
        attempts.ended_ns.append(NEVER)
        attempts.outcome.append(AttemptOutcome.OPEN)
        attempts.role.append(self.role)
        attempts.pid.append(record.b)
        attempts.fence.append(fence)
        return True

    def _effect(self, record: Record) -> bool:
        self.history.effects.op.append(record.op)
        self.history.effects.at_ns.append(record.at_ns)
        self.effects += 1
        return True

    def _which_release(self, record: Record) -> bool:
        name, _, versions = record.text.decode("utf-8", "replace").strip().partition(" ")
        self.release = (name, versions)
        return bool(name)

    def _end(self, record: Record) -> bool:
        row = self._open_attempts.pop(record.a, None) if record.b in _ENDS else None
        if row is None:
            return False
        self.history.attempts.ended_ns[row] = record.at_ns
        self.history.attempts.outcome[row] = record.b
        return True

    def _claim(self, record: Record) -> bool:
        if record.a not in _CLAIMS:
            return False
        claims = self.history.claims
        claims.op.append(record.op)
        claims.at_ns.append(record.at_ns)
        claims.kind.append(record.a)
        return True

    def _holding(self, record: Record) -> bool:
        return True  # of use to a running case only


_TAKE: Mapping[RecordKind, Callable[[_Reader, Record], bool]] = {
    RecordKind.SUBMIT: _Reader._submit,
    RecordKind.DROPPED: _Reader._dropped,
    RecordKind.FINISHED: _Reader._finished,
    RecordKind.ACKNOWLEDGED: _Reader._answer,
    RecordKind.REFUSED: _Reader._answer,
    RecordKind.UNKNOWN: _Reader._answer,
    RecordKind.REVOKE: _Reader._revoke,
    RecordKind.HEARD: _Reader._heard,
    RecordKind.UNHEARD: _Reader._heard,
    RecordKind.DELIVERY: _Reader._delivery,
    RecordKind.BEGIN: _Reader._begin,
    RecordKind.EFFECT: _Reader._effect,
    RecordKind.END: _Reader._end,
    RecordKind.CLAIM: _Reader._claim,
    RecordKind.HELD: _Reader._holding,
    RecordKind.RELEASED: _Reader._holding,
    RecordKind.RELEASE: _Reader._which_release,
}


def read_events(stream: Iterable[events.Event], history: History) -> None:
    """Take phases, faults and unexpected deaths from a case's events."""
    phases: list[Phase] = []
    faults: dict[int, FaultInterval] = {}
    deaths: list[str] = []
    repairs: list[str] = []
    gone: dict[int, int] = {}
    for event in stream:
        if isinstance(event, events.PhaseEnded):
            took_ns = int(event.took_s * NS_PER_S)
            offered = round((event.offered_tps or 0) * event.took_s)
            phases.append(Phase(event.phase, event.at_ns - took_ns, event.at_ns, offered))
        elif isinstance(event, events.FaultChanged):
            faults[event.fault] = _changed(faults.get(event.fault), event)
        elif isinstance(event, events.OutageSet):
            history.outage = Outage(event.begun_ns, event.ended_ns)
        elif isinstance(event, events.WorkerDied):
            deaths.append(f"{event.role}: {event.detail}")
        elif isinstance(event, events.ProcessGone):
            gone[event.pid] = event.alive_ns
        elif isinstance(event, events.StackRepaired):
            repairs.append(event.detail)
        elif isinstance(event, events.Unreadable):
            history.torn_records += event.lines
    history.phases = tuple(phases)
    history.faults = tuple(faults[k] for k in sorted(faults))
    history.deaths = tuple(deaths)
    history.gone = gone
    history.repairs = tuple(repairs)


def _changed(old: FaultInterval | None, event: events.FaultChanged) -> FaultInterval:
    before = old or FaultInterval(event.kind, event.target, event.at_ns, NEVER, False, False)
    state = event.state
    return FaultInterval(
        kind=event.kind,
        target=event.target,
        injected_ns=before.injected_ns,
        healed_ns=event.at_ns if state == FaultState.HEALED else before.healed_ns,
        proven=before.proven or state == FaultState.PROVEN,
        healed=before.healed or state == FaultState.HEALED,
        evidence=event.evidence or before.evidence,
        killed_pids=frozenset(event.killed_pids) | before.killed_pids,
        stopped_pids=frozenset(event.stopped_pids) | before.stopped_pids,
        held=before.held and state != FaultState.VANISHED,
        unused=before.unused or state == FaultState.UNUSED,
        hits=event.hits or before.hits,
        seen_ns=event.at_ns if state == FaultState.HELD else before.seen_ns,
        forgot_since_ns=before.forgot_since_ns if event.forgot_since_ns is None else event.forgot_since_ns,
        began_ns=before.began_ns if event.began_ns is None else event.began_ns,
    )


def load(folder: Path, case: Case, final: FinalState) -> History:
    """The history of a case folder. What is missing there stays empty, which the checker calls unknown.

    Raises OSError for a file that cannot be read.
    """
    happened = list(events.read(folder / EVENTS)) if (folder / EVENTS).is_file() else []
    workload = _as_sent(case.workload, happened)
    history = History(
        planned=workload.operations,
        permanent=workload.permanent,
        poison=workload.poison,
        failures=workload.failure_counts(),
        planned_outage=workload.outage_s > 0,
        producers=roles("producer", case.stack.producers),
        planned_faults=len(case.schedule.faults),
        slo=case.slo,
        keep_results=case.stack.settings.keep_results,
        keys=case.workload.keys,
        priorities=case.workload.priorities,
        chord_of=case.workload.chord_of,
        again=case.workload.again_every > 0,
        revoking=case.workload.revoke_every > 0,
        delays_ns=workload.delays_ns(),
        must_see=case.must_see,
        lease_ns=case.stack.settings.visibility_timeout_s * NS_PER_S,
        longest_wait_ns=round(case.longest_wait_s * NS_PER_S),
        final=final,
    )
    if (folder / LEDGER).is_dir():
        read_ledger(folder / LEDGER, history)
    read_events(happened, history)
    return history


def _as_sent(planned: Workload, happened: Iterable[events.Event]) -> Workload:
    """The workload with the fault phase as long as it was."""
    told = [event.fault_s for event in happened if isinstance(event, events.LoadExtended)]
    if not told or not planned.fault_s <= told[-1] <= planned.fault_s + planned.overtime_s:
        return planned  # what was sent beyond it is outside the plan then
    return planned.lasting(told[-1])
