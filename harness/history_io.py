"""Reads a case folder into a History: the ledger files, the events and the final inspection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from harness import codec, events
from harness.contract import Slo
from harness.history import (
    NEVER,
    UNFENCED,
    AttemptOutcome,
    FaultInterval,
    FinalState,
    History,
    Phase,
    SubmitOutcome,
)
from harness.ledger import SUFFIX, Kind

LEDGER = "ledger"
FINAL = "final.json"
EVENTS = "events.jsonl"

_SUBMIT_OUTCOMES = {
    Kind.ACKNOWLEDGED.value: SubmitOutcome.ACKNOWLEDGED,
    Kind.REFUSED.value: SubmitOutcome.REFUSED,
    Kind.UNKNOWN.value: SubmitOutcome.UNKNOWN,
}


def read_ledger(folder: Path, history: History) -> None:
    """Append every record of the ledger files in `folder` to the history's columns."""
    roles = list(history.roles)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        role = path.name.split(".")[0]
        if role not in roles:
            roles.append(role)
        _read_file(path, roles.index(role), history)
    history.roles = tuple(roles)


def _read_file(path: Path, role: int, history: History) -> None:
    submits, attempts = history.submits, history.attempts
    open_submits: dict[int, int] = {}
    open_attempts: dict[int, int] = {}
    with path.open("rb") as lines:
        for line in lines:
            try:
                kind, at, number, first, second, *text = line.decode().split(" ", 5)
                at_ns, op, a, b = int(at), int(number), int(first), int(second)
                fence = int(text[0]) if text and kind == Kind.BEGIN else UNFENCED
            except ValueError:
                history.torn_records += 1
                continue
            if kind == Kind.SUBMIT:
                open_submits[op] = len(submits.op)
                submits.op.append(op)
                submits.due_ns.append(a)
                submits.begun_ns.append(at_ns)
                submits.done_ns.append(NEVER)
                submits.outcome.append(SubmitOutcome.PENDING)
            elif kind in _SUBMIT_OUTCOMES:
                row = open_submits.pop(op)
                submits.done_ns[row] = at_ns
                submits.outcome[row] = _SUBMIT_OUTCOMES[kind]
            elif kind == Kind.DELIVERY:
                history.deliveries.op.append(op)
                history.deliveries.at_ns.append(at_ns)
                history.deliveries.role.append(role)
            elif kind == Kind.BEGIN:
                open_attempts[a] = len(attempts.op)
                attempts.op.append(op)
                attempts.begun_ns.append(at_ns)
                attempts.ended_ns.append(NEVER)
                attempts.outcome.append(AttemptOutcome.OPEN)
                attempts.role.append(role)
                attempts.pid.append(b)
                attempts.fence.append(fence)
            elif kind == Kind.EFFECT:
                history.effects.op.append(op)
                history.effects.at_ns.append(at_ns)
            elif kind == Kind.END:
                row = open_attempts.pop(a)
                attempts.ended_ns[row] = at_ns
                attempts.outcome[row] = b
            elif kind == Kind.CLAIM:
                history.claims.op.append(op)
                history.claims.at_ns.append(at_ns)
                history.claims.kind.append(a)
            elif kind not in (Kind.HELD, Kind.RELEASED):
                history.torn_records += 1


def read_events(stream: Iterable[events.Event], history: History) -> None:
    """Take phases, faults and unexpected deaths from a case's events."""
    phases: list[Phase] = []
    faults: dict[int, FaultInterval] = {}
    deaths: list[str] = []
    repairs: list[str] = []
    for event in stream:
        if isinstance(event, events.PhaseEnded):
            took_ns = int(event.took_s * 1e9)
            offered = round((event.offered_tps or 0) * event.took_s)
            phases.append(Phase(event.phase, event.at_ns - took_ns, event.at_ns, offered))
        elif isinstance(event, events.FaultChanged):
            faults[event.fault] = _changed(faults.get(event.fault), event)
        elif isinstance(event, events.WorkerDied):
            deaths.append(f"{event.role}: {event.detail}")
        elif isinstance(event, events.StackRepaired):
            repairs.append(event.detail)
    history.phases = tuple(phases)
    history.faults = tuple(faults[k] for k in sorted(faults))
    history.deaths = tuple(deaths)
    history.repairs = tuple(repairs)


def _changed(old: FaultInterval | None, event: events.FaultChanged) -> FaultInterval:
    proven, healed = (old.proven, old.healed) if old else (False, False)
    return FaultInterval(
        kind=event.kind,
        target=event.target,
        injected_ns=old.injected_ns if old else event.at_ns,
        healed_ns=event.at_ns if event.state == "healed" else (old.healed_ns if old else NEVER),
        proven=proven or event.state == "proven",
        healed=healed or event.state == "healed",
        evidence=event.evidence or (old.evidence if old else ""),
        killed_pids=frozenset(event.killed_pids) | (old.killed_pids if old else frozenset()),
        stopped_pids=frozenset(event.stopped_pids) | (old.stopped_pids if old else frozenset()),
    )


def load(
    folder: Path, *, planned: int, permanent: frozenset[int], planned_faults: int, slo: Slo, lease_ns: int
) -> History:
    """The history of a case folder. What is missing there stays empty, which the checker calls unknown."""
    history = History(planned=planned, permanent=permanent, planned_faults=planned_faults, slo=slo, lease_ns=lease_ns)
    if (folder / LEDGER).is_dir():
        read_ledger(folder / LEDGER, history)
    if (folder / EVENTS).is_file():
        read_events(events.read(folder / EVENTS), history)
    if (folder / FINAL).is_file():
        history.final = codec.decode(FinalState, json.loads((folder / FINAL).read_text()))
    history.dropped_sends = max(0, planned - len(history.submits.op))
    return history
