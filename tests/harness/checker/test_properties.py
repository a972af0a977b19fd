"""Random small histories: the checker against the definitions, written down as plainly as possible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, permutations

from checker_histories import ALL, AT_LEAST_ONCE, LEASE, PRODUCER_1, READ_AT, HistoryBuilder, shuffled
from hypothesis import given, settings
from hypothesis import strategies as st

from taskchaos.harness.checker import check
from taskchaos.harness.contract import Contract
from taskchaos.harness.record.history import (
    NEVER,
    UNFENCED,
    AttemptOutcome,
    ClaimKind,
    FaultInterval,
    History,
    SubmitOutcome,
)
from taskchaos.harness.record.verdict import MAX_SAMPLES, Outcome, Rule

OPS = 5
op_numbers = st.integers(-1, OPS)
times = st.integers(0, 60)
submits = st.lists(st.tuples(st.integers(0, OPS - 1), st.sampled_from(SubmitOutcome), times), max_size=8)
attempts = st.lists(
    st.tuples(
        op_numbers,
        times,
        st.integers(0, 20),
        st.sampled_from(AttemptOutcome),
        st.integers(1, 3),
        st.sampled_from((UNFENCED, 1, 2, 3)),
    ),
    max_size=10,
)
effects = st.lists(st.tuples(op_numbers, times), max_size=8)
claims = st.lists(st.tuples(op_numbers, st.sampled_from(ClaimKind), times), max_size=8)
some_ops = st.frozensets(op_numbers, max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> History:
    builder = HistoryBuilder().planned(OPS)
    for op, outcome, at in draw(submits):
        builder.submit(op, outcome, at)
    for op, at, length, outcome, pid, fence in draw(attempts):
        until = NEVER if outcome is AttemptOutcome.OPEN else at + length
        builder.attempt(op, at, until, outcome, pid=pid, fence=fence)
    for op, at in draw(effects):
        builder.effect(op, at)
    for op, kind, at in draw(claims):
        builder.said(op, kind, at)
    if draw(st.booleans()):
        builder.fault(draw(times), 70, kills=(1,))
    if draw(st.booleans()):
        begun = draw(times)
        until = draw(st.sampled_from((begun + 10, begun + LEASE, NEVER)))
        builder.fault(begun, until, stops=(2, 3), proven=draw(st.booleans()))
    return builder.final(pending=draw(some_ops), dead=draw(some_ops)).set(permanent=draw(some_ops)).build()


def told(history: History, *outcomes: SubmitOutcome) -> set[int]:
    """The operations of which some submit had one of these outcomes."""
    rows = zip(history.submits.op, history.submits.outcome, strict=True)
    return {op for op, outcome in rows if outcome in outcomes}


def naive_lost(history: History) -> set[int]:
    admitted = {
        op
        for op, kind in zip(history.claims.op, history.claims.kind, strict=True)
        if kind in (ClaimKind.FAILURE, ClaimKind.REJECTED)
    }
    ended = list(zip(history.attempts.op, history.attempts.outcome, strict=True))
    gave_up = {op for op, outcome in ended if outcome == AttemptOutcome.PERMANENT}
    dead = history.final.dead | (history.permanent & gave_up & admitted)
    return told(history, SubmitOutcome.ACKNOWLEDGED) - set(history.effects.op) - dead - history.final.pending


def naive_undue(history: History, contract: Contract) -> set[int]:
    sent = told(history, SubmitOutcome.ACKNOWLEDGED, SubmitOutcome.UNKNOWN, SubmitOutcome.PENDING)
    undue = set()
    for op in history.final.dead & sent - set(history.effects.op) - history.permanent:
        ends = [end for other, end in zip(history.attempts.op, history.attempts.outcome, strict=True) if other == op]
        crashes = ends.count(AttemptOutcome.OPEN) + ends.count(AttemptOutcome.CRASHED)
        failures = len(ends) - crashes - ends.count(AttemptOutcome.OK)
        crashed = contract.max_crashes is not None and crashes >= contract.max_crashes
        if failures < contract.max_attempts and not crashed:
            undue.add(op)
    return undue


def naive_repeated(history: History) -> set[int]:
    return {op for op in range(OPS) if list(history.effects.op).count(op) > 1}


@dataclass(frozen=True)
class Ran:
    begun: int
    ended: int
    pid: int
    fence: int


def naive_runs(history: History) -> dict[int, list[Ran]]:
    runs: dict[int, list[Ran]] = {op: [] for op in range(OPS)}
    table = history.attempts
    for row, op in enumerate(table.op):
        begun, ended, pid = table.begun_ns[row], table.ended_ns[row], table.pid[row]
        if ended == NEVER:
            kills = [fault.injected_ns for fault in history.faults if pid in fault.killed_pids]
            ended = (max(begun, kills[0])) if kills else READ_AT * 1_000_000
        if op in runs:
            runs[op].append(Ran(begun, ended, pid, table.fence[row]))
    return runs


def naive_excused(history: History, one: Ran, other: Ran) -> bool:
    lower, higher = sorted((one, other), key=lambda ran: ran.fence)
    for fault in history.faults:
        healed = float("inf") if fault.healed_ns == NEVER else fault.healed_ns
        long_enough = healed - fault.injected_ns >= history.lease_ns
        in_time = lower.begun <= healed and higher.begun >= fault.injected_ns
        if fault.proven and lower.pid in fault.stopped_pids and long_enough and in_time:
            return UNFENCED < lower.fence < higher.fence
    return False


def naive_overlap(history: History) -> set[int]:
    return {
        op
        for op, found in naive_runs(history).items()
        for one, other in combinations(found, 2)
        if one.begun < other.ended and other.begun < one.ended and not naive_excused(history, one, other)
    }


def naive_unfenced(history: History) -> set[int]:
    bad = {op for op, found in naive_runs(history).items() if any(ran.fence == UNFENCED for ran in found)}
    for op, found in naive_runs(history).items():
        for earlier, later in permutations(found, 2):
            falls = earlier.begun < later.begun and later.fence <= earlier.fence
            if falls and not naive_excused(history, earlier, later):
                bad.add(op)
    return bad


@settings(max_examples=100, deadline=None)
@given(histories())
def test_lost_duplicate_and_overlap_are_as_they_are_defined(history: History) -> None:
    verdict = check(history, ALL)
    lost = naive_lost(history)
    result = verdict.rule(Rule.LOST)
    workers_wrote = bool(history.attempts.op or history.effects.op)
    assert {sample.op for sample in result.samples} == lost
    assert result.observed == result.found == len(lost)
    assert (result.outcome is Outcome.FAIL) == bool(lost and workers_wrote)
    assert result.outcome is Outcome.UNKNOWN or workers_wrote or not lost
    elsewhere = {
        sample.op for rule in (Rule.ZOMBIE, Rule.UNEXPECTED, Rule.RESURRECTED) for sample in verdict.rule(rule).samples
    }
    repeated = naive_repeated(history)
    assert {sample.op for sample in verdict.rule(Rule.DUPLICATE).samples} == repeated - elsewhere
    assert verdict.operations.duplicates == len(repeated)
    assert {sample.op for sample in verdict.rule(Rule.OVERLAP).samples} == naive_overlap(history)
    begun = [(op, ran.begun) for op, found in naive_runs(history).items() for ran in found]
    if len(begun) == len(set(begun)):  # who came first is not known otherwise
        unfenced = {sample.op for sample in verdict.rule(Rule.FENCE).samples if sample.op in range(OPS)}
        assert unfenced == naive_unfenced(history)


@settings(max_examples=100, deadline=None)
@given(histories(), st.sampled_from((None, 0, 1, 2)), st.integers(1, 3))
def test_a_dead_letter_is_due_as_it_is_defined(history: History, max_crashes: int | None, max_attempts: int) -> None:
    contract = replace(ALL, max_attempts=max_attempts, max_crashes=max_crashes)
    verdict = check(history, contract)
    undue, result = naive_undue(history, contract), verdict.rule(Rule.DEAD_LETTER)
    assert {sample.op for sample in result.samples} == undue
    assert result.observed == result.found == verdict.operations.undue == len(undue)
    workers_wrote = bool(history.attempts.op or history.effects.op)
    expected = Outcome.PASS if not undue else Outcome.FAIL if workers_wrote else Outcome.UNKNOWN
    assert result.outcome is expected
    effective = told(history, *SubmitOutcome) & set(history.effects.op)
    falsely = {sample.op for sample in verdict.rule(Rule.FALSE_FAILURE).samples}
    assert history.final.dead & effective <= falsely | {sample.op for sample in verdict.rule(Rule.ZOMBIE).samples}


TARGETS = ("worker-1", "worker-2", "worker-2-results", "worker-3", "producer-1", "redis")
faults = st.lists(
    st.tuples(st.sampled_from(TARGETS), times, st.integers(0, 15), st.booleans(), st.booleans()), max_size=3
)
workers = st.integers(0, 1)


@st.composite
def fault_histories(draw: st.DrawFn) -> History:
    """Operations that are submitted at 0..4 and come to workers afterwards, and faults of anybody."""
    builder = HistoryBuilder().planned(OPS)
    for op, length in draw(st.lists(st.tuples(st.integers(0, OPS - 1), times), max_size=6)):
        builder.submit(op, SubmitOutcome.ACKNOWLEDGED, op, done=op + length, role=PRODUCER_1)
    for op, at, role in draw(st.lists(st.tuples(op_numbers, times, workers), max_size=4)):
        builder.deliver(op, OPS + at, role)
    for op, at, length, role in draw(st.lists(st.tuples(op_numbers, times, st.integers(0, 9), workers), max_size=12)):
        builder.attempt(op, OPS + at, OPS + at + length, AttemptOutcome.TRANSIENT, role)
    for op, at in draw(st.lists(st.tuples(op_numbers, times), max_size=8)):
        builder.effect(op, OPS + at)
    for target, at, length, proven, held in draw(faults):
        builder.fault(at, at + length, target=target, proven=proven, held=held)
    return builder.build()


def believed(history: History) -> History:
    return replace(history, faults=tuple(replace(fault, proven=True, held=True) for fault in history.faults))


def naive_bitten(history: History, role: str, begun: int, ended: int) -> bool:
    """Whether a fault of this role, or of the server, is evidence for trouble in this stretch."""
    return any(
        fault.proven
        and fault.held
        and fault.role in (role, "redis")
        and fault.injected_ns <= ended
        and begun <= fault.healed_ns
        for fault in history.faults
    )


def naive_over(history: History) -> set[int]:
    counts = dict.fromkeys(range(OPS), 0)
    table = history.attempts
    for row, op in enumerate(table.op):
        role = history.roles[table.role[row]]
        if op in counts and not naive_bitten(history, role, table.begun_ns[row], table.ended_ns[row]):
            counts[op] += 1
    return {op for op, number in counts.items() if number > AT_LEAST_ONCE.max_attempts}


def naive_unexplained(history: History) -> set[int]:
    return {
        op
        for op in naive_repeated(history) & told(history, SubmitOutcome.ACKNOWLEDGED)
        if not naive_explained(history, op)
    }


def naive_explained(history: History, op: int) -> bool:
    submits = [row for row, other in enumerate(history.submits.op) if other == op]
    deliveries = [row for row, other in enumerate(history.deliveries.op) if other == op]
    attempts = [row for row, other in enumerate(history.attempts.op) if other == op]
    for row in submits:
        if naive_bitten(history, "producer-1", history.submits.begun_ns[row], history.submits.done_ns[row]):
            return True
    seen = [history.deliveries.at_ns[row] for row in deliveries] or [history.submits.begun_ns[row] for row in submits]
    seen += [history.attempts.begun_ns[row] for row in attempts]
    last = max(at for other, at in zip(history.effects.op, history.effects.at_ns, strict=True) if other == op)
    had = {history.roles[history.deliveries.role[row]] for row in deliveries}
    had |= {history.roles[history.attempts.role[row]] for row in attempts}
    if any(naive_bitten(history, role, min(seen), last) for role in had | {"redis"}):
        return True
    sent = min(history.submits.begun_ns[row] for row in submits)
    return any(
        fault.proven
        and fault.held
        and fault.target == history.roles[history.deliveries.role[row]]
        and sent <= fault.healed_ns
        and fault.injected_ns <= history.deliveries.at_ns[row] <= 2 * fault.healed_ns - fault.injected_ns
        and history.deliveries.at_ns[row] <= last
        for fault in history.faults
        for row in deliveries
    )


def naive_flying(history: History, fault: FaultInterval) -> bool:
    for op in told(history, SubmitOutcome.ACKNOWLEDGED):
        begun = min(at for other, at in zip(history.submits.op, history.submits.begun_ns, strict=True) if other == op)
        done = [at for other, at in zip(history.effects.op, history.effects.at_ns, strict=True) if other == op]
        if begun <= fault.healed_ns and not (done and min(done) < fault.injected_ns):
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(fault_histories())
def test_faults_explain_what_is_defined(history: History) -> None:
    verdict = check(history, AT_LEAST_ONCE)
    for rule, definition in ((Rule.RETRIES, naive_over), (Rule.DUPLICATE, naive_unexplained)):
        found = definition(history)
        assert {sample.op for sample in verdict.rule(rule).samples} == found
        expected = Outcome.PASS if not found else Outcome.FAIL if definition(believed(history)) else Outcome.UNKNOWN
        assert verdict.rule(rule).outcome is expected
    sound = [fault for fault in history.faults if fault.proven and fault.held and naive_flying(history, fault)]
    result = verdict.rule(Rule.FAULTS)
    assert result.observed == len(sound)
    assert (result.outcome is Outcome.PASS) == (len(sound) == len(history.faults))


@settings(max_examples=60, deadline=None)
@given(st.one_of(histories(), fault_histories()), st.integers())
def test_the_order_of_rows_never_matters(history: History, seed: int) -> None:
    assert check(shuffled(history, seed), ALL) == check(history, ALL)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_counts_add_up(history: History) -> None:
    verdict = check(history, ALL)
    counts = verdict.operations
    assert counts.submitted == counts.acknowledged + counts.refused + counts.unknown
    assert counts.submitted == len(set(history.submits.op))
    assert counts.recovered <= min(counts.unknown, counts.effects)
    assert len(verdict.rules) == len(Rule)
    assert all(len(result.samples) == min(result.found, MAX_SAMPLES) for result in verdict.rules)
