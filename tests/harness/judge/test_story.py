"""Stories from histories built by hand; whole results are compared."""

from __future__ import annotations

import time

import pytest
import report_samples as samples
from report_samples import MS, attempt, claim, deliver, effect, ns, submit

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.judge import story
from taskchaos.harness.record.history import (
    NEVER,
    AttemptOutcome,
    ClaimKind,
    FaultInterval,
    FinalState,
    History,
    OperationHit,
    Phase,
    Redrive,
    SubmitOutcome,
)
from taskchaos.harness.record.result import Band, CaseDetail, Story, StoryLine, Window
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Sample, Throughput, Verdict

WINDOWS = (Window(0.0, 1.0, 5, 5, 5.0, 3.0, 9.0),)


def verdict(*rules: RuleResult) -> Verdict:
    return Verdict(Outcome.FAIL, rules, OperationCounts(), Throughput())


def failing(rule: Rule, *ops: int | None, outcome: Outcome = Outcome.FAIL) -> RuleResult:
    return RuleResult(rule, outcome, f"{rule} = 0", len(ops), "", tuple(Sample(op, "") for op in ops))


def told(detail: CaseDetail) -> dict[int, list[tuple[float, str, str]]]:
    return {s.op: [(line.at_s, line.who, line.what) for line in s.lines] for s in detail.stories}


def new_history() -> History:
    table = History(planned=100, roles=("producer-1", "worker-1", "worker-2"))
    table.phases = (Phase(PhaseName.BASELINE, ns(0), ns(2)), Phase(PhaseName.FAULT, ns(2), ns(5)))
    table.final = FinalState(reads=3, read_at_ns=ns(6), converged=True)
    return table


def test_a_lost_and_a_duplicated_operation_are_told_in_whole() -> None:
    table = new_history()
    table.faults = (
        FaultInterval("process.kill_tree", "worker-1", ns(2.1), ns(3), True, True, "2 pids gone", frozenset({11})),
        FaultInterval("network.reset", "worker-2", ns(4.5), NEVER, False, False),
    )
    submit(table, 7, 2.0, 2.004)
    deliver(table, 7, 2.01, role=1)
    attempt(table, 7, 2.011, None, role=1, pid=11)
    submit(table, 8, 2.5, None)  # no complaint about it: never told
    submit(table, 3, 1.0, 1.5, SubmitOutcome.UNKNOWN)
    deliver(table, 3, 1.01, role=1)
    attempt(table, 3, 1.2, 1.25, role=2, pid=12, fence=9)  # rows of another file may come first
    attempt(table, 3, 1.02, 1.03, role=1, pid=11, outcome=AttemptOutcome.TRANSIENT)
    claim(table, 3, 1.03, ClaimKind.RETRY)
    effect(table, 3, 1.22)
    effect(table, 3, 1.24)
    claim(table, 3, 1.25, ClaimKind.SUCCESS)
    detail = story.detail(table, verdict(failing(Rule.LOST, 7), failing(Rule.DUPLICATE, 3)), WINDOWS)
    assert detail == CaseDetail(
        phases=(Band("baseline", 0.0, 2.0), Band("fault", 2.0, 5.0)),
        faults=(Band("process.kill_tree", 2.1, 3.0, "worker-1"), Band("network.reset", 4.5, 6.0, "worker-2")),
        windows=WINDOWS,
        stories=(
            Story(
                7,
                (Rule.LOST,),
                (
                    StoryLine(2.0, "producer", "submit begins, 2.0 ms after it was due"),
                    StoryLine(2.004, "producer", "submit acknowledged after 4.0 ms"),
                    StoryLine(2.01, "worker-1", "receives it"),
                    StoryLine(2.011, "worker-1", "attempt 1 begins (pid 11)"),
                    StoryLine(2.1, "fault", "process.kill_tree worker-1 injected: 2 pids gone"),
                    StoryLine(2.1, "worker-1", "attempt 1 is cut short: pid 11 was killed"),
                    StoryLine(3.0, "fault", "process.kill_tree worker-1 healed"),
                    StoryLine(4.5, "fault", "network.reset worker-2 injected: no evidence that it bit"),
                    StoryLine(6.0, "final state", "nowhere: no effect, no dead letter, not on the broker"),
                ),
            ),
            Story(
                3,
                (Rule.DUPLICATE,),
                (
                    StoryLine(1.0, "producer", "submit begins, 2.0 ms after it was due"),
                    StoryLine(1.01, "worker-1", "receives it"),
                    StoryLine(1.02, "worker-1", "attempt 1 begins (pid 11)"),
                    StoryLine(1.03, "worker-1", "attempt 1 ends: transient error after 10 ms"),
                    StoryLine(1.03, "subject", "says: will be retried"),
                    StoryLine(1.2, "worker-2", "attempt 2 begins (pid 12, fence 9)"),
                    StoryLine(1.22, "effect", "takes effect"),
                    StoryLine(1.24, "effect", "takes effect again (no. 2)"),
                    StoryLine(1.25, "worker-2", "attempt 2 ends: ok after 50 ms"),
                    StoryLine(1.25, "subject", "says: success"),
                    StoryLine(1.5, "producer", "submit failed: unknown whether it was sent after 500 ms"),
                    StoryLine(6.0, "final state", "done, nothing is left"),
                ),
            ),
        ),
    )


def test_a_revoke_is_told() -> None:
    table = new_history()
    for op, heard in ((1, 2.1), (2, None)):
        submit(table, op, 1.0, 1.001)
        table.revokes.op.append(op)
        table.revokes.begun_ns.append(ns(2.0))
        table.revokes.heard_ns.append(NEVER if heard is None else ns(heard))
    lines = told(story.detail(table, verdict(failing(Rule.REVOKED, 1, 2)), ()))
    assert [lines[op][2:-1] for op in (1, 2)] == [
        [(2.0, "producer", "revokes it"), (2.1, "producer", "revoke heard after 100 ms")],
        [(2.0, "producer", "revokes it; not known to be heard")],
    ]


def test_the_story_ends_with_where_the_operation_was_found() -> None:
    table = new_history()
    for op in (1, 2, 3):
        submit(table, op, 1.0, 1.001)
    table.final = FinalState(
        reads=3, read_at_ns=ns(6), pending=frozenset({1}), dead=frozenset({2}), results={2: int(ClaimKind.FAILURE)}
    )
    lines = told(story.detail(table, verdict(failing(Rule.STUCK, 1, 2, 3)), ()))
    assert [lines[op][-1] for op in (1, 2, 3)] == [
        (6.0, "final state", "still on the broker"),
        (6.0, "final state", "in the dead letters; result backend: failure"),
        (6.0, "final state", "nowhere: no effect, no dead letter, not on the broker"),
    ]
    table.final = FinalState(reason="the server did not answer")
    assert told(story.detail(table, verdict(failing(Rule.STUCK, 1)), ()))[1][-1] == (
        5.0,
        "final state",
        "never read: the server did not answer",
    )


def test_effects_are_numbered_in_the_order_of_time() -> None:
    """Each process has a file of its own, and the files are read in the order of their names."""
    table = new_history()
    submit(table, 1, 0.5, 0.51)
    for at in (3.0, 4.0, 1.0, 2.0):
        effect(table, 1, at)
    lines = told(story.detail(table, verdict(failing(Rule.DUPLICATE, 1)), ()))[1]
    assert [(at, what) for at, who, what in lines if who == "effect"] == [
        (1.0, "takes effect"),
        (2.0, "takes effect again (no. 2)"),
        (3.0, "takes effect again (no. 3)"),
        (4.0, "takes effect again (no. 4)"),
    ]


def test_a_fault_that_hit_the_operation_is_part_of_its_story() -> None:
    table = new_history()
    hits = (
        OperationHit(1, ns(2.5), "BRPOP, reply lost (reset)"),
        OperationHit(2, ns(2.6), "BRPOP, reply lost (reset)"),
    )
    table.faults = (FaultInterval("reply_lost", "worker-1", ns(2.4), ns(3.0), True, True, "2 hits", hits=hits),)
    submit(table, 1, 1.0, 1.001)
    detail = story.detail(table, verdict(failing(Rule.LOST, 1)), ())
    assert told(detail)[1][2:5] == [
        (2.4, "fault", "reply_lost worker-1 injected: 2 hits"),
        (2.5, "fault", "reply_lost on worker-1 hits it: BRPOP, reply lost (reset)"),
        (3.0, "fault", "reply_lost worker-1 healed"),
    ]
    nothing_else = story.detail(table, verdict(failing(Rule.LOST, 2)), ())
    assert (2.6, "fault", "reply_lost on worker-1 hits it: BRPOP, reply lost (reset)") in told(nothing_else)[2]


def test_a_fault_that_vanished_or_met_no_traffic_is_told_as_such() -> None:
    table = new_history()
    table.faults = (
        FaultInterval("latency", "worker-1", ns(1), ns(2), True, True, "17 ms", held=False),
        FaultInterval("refused", "worker-2-results", ns(1.5), ns(2), False, True, unused=True),
        FaultInterval("pause", "worker-2", ns(1.6), ns(2), False, False, "it ran on"),
    )
    submit(table, 1, 0.5, 0.501)
    lines = told(story.detail(table, verdict(failing(Rule.LOST, 1)), ()))[1]
    assert [what for _, who, what in lines if who == "fault"] == [
        "latency worker-1 injected: 17 ms",
        "refused worker-2-results injected: nothing used this link",
        "pause worker-2 injected: no evidence that it bit: it ran on",
        "latency worker-1 healed; it had vanished before its heal",
        "refused worker-2-results healed",
        "pause worker-2 undone, but not verified to be healed",
    ]


@pytest.mark.parametrize(
    ("redrive", "came"),
    [
        (Redrive(1, ns(7), effect=True), "took effect"),
        (Redrive(1, ns(7), effect=False), "did not take effect"),
        (Redrive(1, NEVER, effect=False, error="it has no payload"), "could not be asked for: it has no payload"),
    ],
)
def test_a_dead_letter_that_was_run_again_says_what_became_of_it(redrive: Redrive, came: str) -> None:
    table = new_history()
    submit(table, 1, 1.0, 1.001)
    attempt(table, 1, 1.1, 1.2, role=1, pid=11, outcome=AttemptOutcome.PERMANENT)
    if redrive.begun_ns != NEVER:  # its records are no part of the case
        deliver(table, 1, 7.1, role=2)
        attempt(table, 1, 7.1, 7.2, role=2, pid=12)
        claim(table, 1, 7.2, ClaimKind.SUCCESS)
        if redrive.effect:
            effect(table, 1, 7.15)
    table.final = FinalState(reads=3, read_at_ns=ns(6), dead=frozenset({1, 2}), redrive=redrive)
    submit(table, 2, 1.0, 1.001)
    stories = told(story.detail(table, verdict(failing(Rule.DEAD_LETTER, 1, 2)), ()))
    assert stories[1][2:] == [
        (1.1, "worker-1", "attempt 1 begins (pid 11)"),
        (1.2, "worker-1", "attempt 1 ends: permanent error after 100 ms"),
        (6.0, "final state", "in the dead letters"),
        (6.0 if redrive.error else 7.0, "harness", f"run again from its dead letter: {came}"),
    ]
    assert stories[2][-1] == (6.0, "final state", "in the dead letters")


def test_a_case_that_got_no_further_says_since_when() -> None:
    table = new_history()
    for op in (1, 2, 3):
        submit(table, op, 1.0, 1.001)
    effect(table, 3, 1.5)
    stalled = FinalState(reads=3, read_at_ns=ns(60), pending=frozenset({1}), stalled_since_ns=ns(12))
    table.final = stalled
    lines = told(story.detail(table, verdict(failing(Rule.STUCK, 1, 2, 3)), ()))
    assert [lines[op][-1][2] for op in (1, 2, 3)] == [
        "still on the broker; got no further for the last 48 s",
        "nowhere: no effect, no dead letter, not on the broker; got no further for the last 48 s",
        "done, nothing is left",
    ]


def test_records_of_unknown_kinds_do_not_stop_the_story() -> None:
    table = new_history()
    submit(table, 1, 1.0, 1.001)
    submit(table, 1, 1.0, 1.001)
    table.submits.outcome[1] = 77
    attempt(table, 1, 1.1, 1.2, role=99, pid=11)
    table.attempts.outcome[0] = 77
    claim(table, 1, 1.3, ClaimKind.SUCCESS)
    table.claims.kind[0] = 77
    table.final = FinalState(reads=1, read_at_ns=ns(6), results={1: 78})
    whats = [what for _, _, what in told(story.detail(table, verdict(failing(Rule.LOST, 1)), ()))[1]]
    assert whats[1].endswith("no answer was recorded")
    assert "attempt 1 begins (pid 11); no end was recorded" in whats
    assert "says: something unknown (77)" in whats
    assert whats[-1].endswith("result backend: something unknown (78)")


def test_an_operation_without_a_single_record_still_has_a_story() -> None:
    detail = story.detail(new_history(), verdict(failing(Rule.UNEXPECTED, 42)), ())
    assert told(detail) == {42: [(6.0, "final state", "nowhere: no effect, no dead letter, not on the broker")]}


def test_failures_are_told_first_and_passes_are_not_told() -> None:
    rules = (
        failing(Rule.LOST, 1, 2, outcome=Outcome.UNKNOWN),
        failing(Rule.OVERLAP, 3, outcome=Outcome.PASS),
        failing(Rule.DUPLICATE, 2, None, 5),
    )
    stories = story.detail(new_history(), verdict(*rules), ()).stories
    assert [(s.op, s.rules) for s in stories] == [
        (2, (Rule.DUPLICATE, Rule.LOST)),
        (5, (Rule.DUPLICATE,)),
        (1, (Rule.LOST,)),
    ]


def test_stories_lines_and_faults_are_limited_in_number() -> None:
    table = new_history()
    table.faults = tuple(FaultInterval("k", "w", ns(1) + i, ns(1) + i + 1, True, True) for i in range(50))
    submit(table, 0, 0.5, 0.6)
    for i in range(500):
        deliver(table, 0, 1 + i / 1000, role=1)
    rules = [failing(rule, *range(i * 40, i * 40 + 40)) for i, rule in enumerate(list(Rule)[:10])]
    stories = story.detail(table, verdict(*rules), ()).stories
    assert len(stories) == story.MAX_STORIES
    assert sum(Rule.LOST in s.rules for s in stories) == 32
    whats = [line.what for line in stories[0].lines]
    assert len(whats) == story.MAX_LINES + 2  # the note of what is left out, and the final state
    assert "327 lines are left out here" in whats
    assert "38 more faults are left out here" in whats


def test_times_without_phases_count_from_the_first_due_submit() -> None:
    table = History(roles=("worker-1",))
    submit(table, 0, 3.0, 3.001)
    assert told(story.detail(table, verdict(failing(Rule.LOST, 0)), ()))[0][0][0] == 0.002


def test_a_million_rows_are_read_in_one_pass() -> None:
    table = new_history()
    count = 250_000
    table.submits.op.extend(range(count))
    for column in (table.submits.due_ns, table.submits.begun_ns, table.submits.done_ns):
        column.extend(range(samples.T0, samples.T0 + count * MS, MS))
    table.submits.outcome.extend([1] * count)
    table.deliveries.op.extend(range(count))
    table.deliveries.at_ns.extend(table.submits.done_ns)
    table.deliveries.role.extend([1] * count)
    table.effects.op.extend(range(count))
    table.effects.at_ns.extend(table.submits.done_ns)
    table.claims.op.extend(range(count))
    table.claims.at_ns.extend(table.submits.done_ns)
    table.claims.kind.extend([1] * count)
    begun = time.process_time()
    assert len(story.detail(table, verdict(failing(Rule.LOST, *range(32))), ()).stories) == 32
    assert time.process_time() - begun < 3  # about 0.1 s; one pass per story would take 30 times as long
