"""Random small histories: the checker against the definitions, written down as plainly as possible."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

from checker_histories import ALL, LEASE, READ_AT, HistoryBuilder, shuffled
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checker import check
from harness.history import NEVER, UNFENCED, AttemptOutcome, ClaimKind, History, SubmitOutcome
from harness.verdict import MAX_SAMPLES, Outcome, Rule

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


def naive_lost(history: History) -> set[int]:
    told = list(zip(history.submits.op, history.submits.outcome, strict=True))
    acked = {op for op, outcome in told if outcome == SubmitOutcome.ACKNOWLEDGED}
    admitted = {
        op
        for op, kind in zip(history.claims.op, history.claims.kind, strict=True)
        if kind in (ClaimKind.FAILURE, ClaimKind.REJECTED)
    }
    ended = list(zip(history.attempts.op, history.attempts.outcome, strict=True))
    gave_up = {op for op, outcome in ended if outcome == AttemptOutcome.PERMANENT}
    dead = history.final.dead | (history.permanent & gave_up & admitted)
    return acked - set(history.effects.op) - dead - history.final.pending


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
def test_lost_duplicate_and_overlap_are_what_they_are_defined_to_be(history: History) -> None:
    verdict = check(history, ALL)
    lost = naive_lost(history)
    result = verdict.rule(Rule.LOST)
    workers_wrote = bool(history.attempts.op or history.effects.op)
    assert {sample.op for sample in result.samples} == (lost if workers_wrote else set())
    assert result.observed == len(lost)
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


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers())
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
    assert all(len(result.samples) <= MAX_SAMPLES for result in verdict.rules)
