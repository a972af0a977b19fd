"""Tells what happened to the operations that a rule complains about.

A history may hold millions of rows and a verdict at most a few hundred samples, so each table is read once and only
rows of sampled operations are kept. The join of producer, broker, worker, effect and fault by operation is the point:
nobody should have to grep for a task id in five logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter

from taskchaos.harness.checker.faults import kills
from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.judge.logs import LogLine, around
from taskchaos.harness.record.history import (
    NEVER,
    UNFENCED,
    AttemptOutcome,
    ClaimKind,
    FaultInterval,
    FinalState,
    History,
    SubmitOutcome,
)
from taskchaos.harness.record.result import Band, CaseDetail, Story, StoryLine, Window
from taskchaos.harness.record.verdict import MAX_SAMPLES, Outcome, Rule, Verdict
from taskchaos.harness.record.wire import WireCommand

MAX_STORIES = 200
MAX_LINES = 200  # per story; a retry storm has thousands
MAX_FAULTS = 12  # fault lines per story
MAX_EVIDENCE = 160
MAX_LOGGED, LOG_WITHIN_NS = 6, NS_PER_S  # log lines per story, and how far from where it ends
#: Who says a line that no role says.
PRODUCER, SUBJECT, EFFECT, FAULT, FINAL = "producer", "subject", "effect", "fault", "final state"
HARNESS = "harness"

_CLAIMS: Mapping[int, str] = {
    ClaimKind.SUCCESS: "success",
    ClaimKind.FAILURE: "failure",
    ClaimKind.RETRY: "will be retried",
    ClaimKind.REJECTED: "rejected",
    ClaimKind.REVOKED: "revoked",
}
_ENDS: Mapping[int, str] = {
    AttemptOutcome.OK: "ends: ok",
    AttemptOutcome.TRANSIENT: "ends: transient error",
    AttemptOutcome.PERMANENT: "ends: permanent error",
    AttemptOutcome.INTERRUPTED: "ends: interrupted from outside (time limit or exit)",
    AttemptOutcome.CRASHED: "ends: kills its process, as planned",
}
#: A line before it is told: time, tie-break (order within one instant), who, what.
_Line = tuple[int, int, str, str]


def detail(
    history: History,
    verdict: Verdict,
    windows: tuple[Window, ...],
    wire: tuple[WireCommand, ...] = (),
    logs: tuple[LogLine, ...] = (),
) -> CaseDetail:
    """What the report draws of one case. wire: the commands that carried tasks, as far as they were noted."""
    start = _start(history)
    end = _end(history, start)

    def at_s(at_ns: int) -> float:
        return round((at_ns - start) / 1e9, 6)

    return CaseDetail(
        phases=tuple(Band(p.name.value, at_s(p.begun_ns), at_s(p.ended_ns)) for p in history.phases),
        faults=tuple(
            Band(f.kind, at_s(f.injected_ns), at_s(end if f.healed_ns == NEVER else f.healed_ns), f.target)
            for f in history.faults
        ),
        windows=windows,
        stories=_stories(history, _sampled(verdict), end, at_s, wire, logs),
    )


def _sampled(verdict: Verdict) -> dict[int, tuple[Rule, ...]]:
    """The operations to tell about, failures first, each with the rules that complain about it."""
    order = [Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_CLAIMED]
    complaining = sorted((r for r in verdict.rules if r.outcome in order), key=lambda r: order.index(r.outcome))
    sampled: dict[int, tuple[Rule, ...]] = {}
    for result in complaining:
        for sample in result.samples[:MAX_SAMPLES]:
            op = sample.op
            if op is None or (op not in sampled and len(sampled) >= MAX_STORIES):
                continue
            rules = sampled.get(op, ())
            sampled[op] = rules if result.rule in rules else (*rules, result.rule)
    return sampled


def _stories(
    history: History,
    sampled: dict[int, tuple[Rule, ...]],
    end: int,
    at_s: Callable[[int], float],
    wire: tuple[WireCommand, ...],
    logs: tuple[LogLine, ...],
) -> tuple[Story, ...]:
    if not sampled:
        return ()
    lines: dict[int, list[_Line]] = {op: [] for op in sampled}
    for op, line in _own_lines(history, frozenset(sampled)):
        if not _redriven(history.final, op, line[0]):
            lines[op].append(line)
    for op, line in _wire_lines(wire, frozenset(sampled)):
        if not _redriven(history.final, op, line[0]):
            lines[op].append(line)
    stories = []
    for op, rules in sampled.items():
        own = sorted(lines[op], key=itemgetter(0, 1))
        effective = any(who == EFFECT for _, _, who, _ in own)
        told = own + _fault_lines(history.faults, own, effective, end)
        told += _log_lines(logs, own, effective)
        told.sort(key=itemgetter(0, 1))
        told = _shorten(told)
        told += _last_lines(history, op, effective, max(end, told[-1][0] if told else end))
        stories.append(Story(op, rules, tuple(StoryLine(at_s(at), who, what) for at, _, who, what in told)))
    return tuple(stories)


def _redriven(final: FinalState, op: int, at_ns: int) -> bool:
    """Whether a record is of the dead letter's new run, which is no part of the case."""
    redrive = final.redrive
    return redrive is not None and redrive.op == op and NEVER != redrive.begun_ns <= at_ns


def _own_lines(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    """The lines of the operations that are wanted, table by table."""
    yield from _submit_lines(history, wanted)
    yield from _revoke_lines(history, wanted)
    deliveries = history.deliveries
    for i, op in enumerate(deliveries.op):
        if op in wanted:
            yield op, (deliveries.at_ns[i], 3, history.role_name(deliveries.role[i]), "receives it")
    yield from _attempt_lines(history, wanted)
    yield from _effect_lines(history, wanted)
    claims = history.claims
    for i, op in enumerate(claims.op):
        if op in wanted:
            yield op, (claims.at_ns[i], 7, SUBJECT, f"says: {_claim(claims.kind[i])}")
    for fault in history.faults:
        for hit in fault.hits:
            if hit.op in wanted:
                yield hit.op, (hit.at_ns, 8, FAULT, f"{fault.kind} on {fault.target} hits it: {hit.what}")


def _wire_lines(wire: tuple[WireCommand, ...], wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    """The commands that carried an operation, at the time of their reply where it was the reply that did."""
    for command in wire:
        for op in {*command.sent, *command.given} & wanted:
            given = op in command.given and op not in command.sent
            at_ns = command.reply_ns if given and command.reply_ns is not None else command.at_ns
            came = f", {command.outcome}" if command.outcome not in ("ok", "queued") else ""
            rule = f" by {command.rule}" if command.rule and came else ""
            verb = "shows it" if given and command.reads else "gives it away" if given else "carries it"
            text = f"{command.text} {verb}{came}{rule}"
            yield op, (at_ns, 2, f"{command.link} > redis", text)


def _effect_lines(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    table = history.effects
    numbers: dict[int, int] = {}
    for i in _in_time(table.op, table.at_ns, wanted):
        op = table.op[i]
        numbers[op] = number = numbers.get(op, 0) + 1
        yield op, (table.at_ns[i], 5, EFFECT, "takes effect" if number == 1 else f"takes effect again (no. {number})")


def _in_time(ops: Sequence[int], times: Sequence[int], wanted: frozenset[int]) -> list[int]:
    """The rows of the operations that are wanted, in order of time: each process has a file of its own."""
    return sorted((i for i, op in enumerate(ops) if op in wanted), key=times.__getitem__)


def _submit_lines(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    table = history.submits
    answers: Mapping[int, str] = {
        SubmitOutcome.ACKNOWLEDGED: "submit acknowledged",
        SubmitOutcome.REFUSED: "submit refused: certainly not sent",
        SubmitOutcome.UNKNOWN: "submit failed: unknown whether it was sent",
    }
    for i, op in enumerate(table.op):
        if op not in wanted:
            continue
        begun, done, answer = table.begun_ns[i], table.done_ns[i], answers.get(table.outcome[i])
        late_ms = (begun - table.due_ns[i]) / 1e6
        text = "submit begins" + (f", {_ms(late_ms)} after it was due" if late_ms >= 1 else "")
        if answer is None or done == NEVER:
            yield op, (begun, 0, PRODUCER, f"{text}; no answer was recorded")
            continue
        yield op, (begun, 0, PRODUCER, text)
        yield op, (done, 1, PRODUCER, f"{answer} after {_ms((done - begun) / 1e6)}")


def _revoke_lines(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    revokes = history.revokes
    for i, op in enumerate(revokes.op):
        if op in wanted:
            begun, heard = revokes.begun_ns[i], revokes.heard_ns[i]
            yield op, (begun, 2, PRODUCER, "revokes it" + ("; not known to be heard" if heard == NEVER else ""))
            if heard != NEVER:
                yield op, (heard, 2, PRODUCER, f"revoke heard after {_ms((heard - begun) / 1e6)}")


def _attempt_lines(history: History, wanted: frozenset[int]) -> Iterator[tuple[int, _Line]]:
    table, killed_at = history.attempts, kills(history.faults)
    numbers: dict[int, int] = {}
    for i in _in_time(table.op, table.begun_ns, wanted):
        op = table.op[i]
        numbers[op] = number = numbers.get(op, 0) + 1
        begun, ended, pid = table.begun_ns[i], table.ended_ns[i], table.pid[i]
        role, how = history.role_name(table.role[i]), _ENDS.get(table.outcome[i])
        fence = "" if table.fence[i] == UNFENCED else f", fence {table.fence[i]}"
        text = f"attempt {number} begins (pid {pid}{fence})"
        if how is not None and ended != NEVER:
            yield op, (begun, 4, role, text)
            yield op, (ended, 6, role, f"attempt {number} {how} after {_ms((ended - begun) / 1e6)}")
            continue
        killed = next((at for at in killed_at.get(pid, ()) if at >= begun), None)
        if killed is None:
            yield op, (begun, 4, role, f"{text}; no end was recorded")
        else:
            yield op, (begun, 4, role, text)
            yield op, (killed, 9, role, f"attempt {number} is cut short: pid {pid} was killed")


def _fault_lines(faults: tuple[FaultInterval, ...], own: list[_Line], effective: bool, end: int) -> list[_Line]:
    """The faults that were active while the operation was on its way: until its last line, or, if it never took
    effect, until the end, because what lost it may have struck after the last thing that was seen of it."""
    if not own:
        return []
    first = own[0][0]
    last = own[-1][0] if effective else max(end, own[-1][0])
    active = [f for f in faults if f.injected_ns <= last and (f.healed_ns == NEVER or f.healed_ns >= first)]
    lines: list[_Line] = []
    for fault in sorted(active, key=lambda f: f.injected_ns)[:MAX_FAULTS]:
        lines.append((fault.injected_ns, 8, FAULT, f"{_label(fault)} injected: {_proof(fault)}"))
        if fault.healed_ns != NEVER:
            healed = "healed" if fault.healed else "undone, but not verified to be healed"
            vanished = "" if fault.held else "; it had vanished before its heal"
            lines.append((fault.healed_ns, 8, FAULT, f"{_label(fault)} {healed}{vanished}"))
    if len(active) > MAX_FAULTS:
        lines.append((lines[-1][0], 10, FAULT, f"{len(active) - MAX_FAULTS} more faults are left out here"))
    return lines


def _log_lines(logs: tuple[LogLine, ...], own: list[_Line], effective: bool) -> list[_Line]:
    """What was logged about the time at which an operation that never took effect was last seen."""
    if effective or not own:
        return []
    near = around(logs, max(at_ns for at_ns, *_ in own), LOG_WITHIN_NS, MAX_LOGGED)
    return [(line.at_ns, 11, line.name, line.text) for line in near]


def _proof(fault: FaultInterval) -> str:
    """What is known of whether a fault bit."""
    seen = fault.evidence[:MAX_EVIDENCE]
    if fault.proven:
        return seen or "proven"
    why = "nothing used this link" if fault.unused else "no evidence that it bit"
    return f"{why}: {seen}" if seen and seen != why else why


def _last_lines(history: History, op: int, effective: bool, end: int) -> Iterator[_Line]:
    """Where the operation was found at the end, and what came of running it again if it was dead."""
    final = history.final
    at = max(end, final.read_at_ns)
    yield at, 0, FINAL, _found(final, op, effective)
    redrive = final.redrive
    if redrive is not None and redrive.op == op:
        effect = "took effect" if redrive.effect else "did not take effect"
        came = f"could not be asked for: {redrive.error}" if redrive.error else effect
        yield max(at, redrive.begun_ns), 0, HARNESS, f"run again from its dead letter: {came}"


def _found(final: FinalState, op: int, effective: bool) -> str:
    if not final.reads:
        return "never read" + (f": {final.reason}" if final.reason else "")
    found = []
    if op in final.pending:
        found.append("still on the broker")
    if op in final.dead:
        found.append("in the dead letters")
    if not found:
        found.append("done, nothing is left" if effective else "nowhere: no effect, no dead letter, not on the broker")
    if final.stalled_since_ns != NEVER and (op in final.pending or not effective):
        found.append(f"got no further for the last {(final.read_at_ns - final.stalled_since_ns) / 1e9:.0f} s")
    if op in final.results:
        found.append(f"result backend: {_claim(final.results[op])}")
    return "; ".join(found)


def _shorten(lines: list[_Line]) -> list[_Line]:
    """The beginning and the end of a long story."""
    if len(lines) <= MAX_LINES:
        return lines
    half = MAX_LINES // 2
    gap = (lines[half][0], 0, "...", f"{len(lines) - 2 * half} lines are left out here")
    return [*lines[:half], gap, *lines[-half:]]


def _start(history: History) -> int:
    if history.phases:
        return min(p.begun_ns for p in history.phases)
    return min(history.submits.due_ns, default=0)


def _end(history: History, start: int) -> int:
    """When the last thing that is known of the case happened: an open fault is shaded until here."""
    ends = [p.ended_ns for p in history.phases]
    ends += [max(f.injected_ns, f.healed_ns) for f in history.faults]
    return max([*ends, history.final.read_at_ns, start])


def _claim(kind: int) -> str:
    return _CLAIMS.get(kind, f"something unknown ({kind})")


def _label(fault: FaultInterval) -> str:
    return f"{fault.kind} {fault.target}".strip()


def _ms(value: float) -> str:
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"
