"""The likely cause of a failure: which way it went, by which command, under which fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cause_doubts import DOUBTS, twice
from cause_ways import KILL, OPEN, P1, TRANSIENT, W1, W2, WAYS, H, K, Way, ack, begun, pop, publish, wire
from checker_catalogue import KNOWN
from checker_histories import ALL, HistoryBuilder, ns
from checker_loads import open_load
from repository import ROOT

from taskchaos.harness.checker import check
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.judge.causes import causes
from taskchaos.harness.judge.causes.course import courses
from taskchaos.harness.judge.causes.lost import lost
from taskchaos.harness.judge.causes.others import back_off, too_soon
from taskchaos.harness.judge.causes.rates import slow
from taskchaos.harness.judge.story import detail
from taskchaos.harness.record.history import AttemptOutcome, History, Redrive
from taskchaos.harness.record.result import Cause, CauseKind
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult
from taskchaos.harness.report.why import WHY


def _found(way: Way) -> Cause:
    history = way.build().build()
    verdict = check(history, ALL)
    found = [cause for cause in causes(history, verdict, way.wire) if cause.rule is way.rule]
    assert found, [(rule.rule, rule.outcome, rule.reason) for rule in verdict.rules if rule.rule is way.rule]
    return found[0]


@pytest.mark.parametrize("way", [*WAYS, *DOUBTS], ids=lambda way: way.name)
def test_a_cause_names_way_command_and_fault(way: Way) -> None:
    cause = _found(way)
    assert (cause.kind, cause.ops, cause.command, cause.fault) == (
        way.kind,
        way.ops or cause.ops,
        way.command,
        way.fault,
    ), cause.text
    assert way.says in cause.text


def test_operations_of_one_signature_have_one_cause() -> None:
    history = H().done(0).ack(1, 2, 3, 4).fault(95, 400, kind="black_hole_replies").build()
    commands = [command for op in (1, 2, 3) for command in (publish(op=op), pop(100 + op, op))]
    commands += [publish(op=4), pop(110, 4), ack(120, 4)]
    lost, other = causes(history, check(history, ALL), tuple(commands))
    assert (lost.kind, lost.ops, other.kind, other.ops) == (K.REPLY_UNSEEN, (1, 2, 3), K.TAKEN_OFF, (4,))


def test_operations_of_several_workers_are_not_told_of_one() -> None:
    history = H().done(0).ack(1, 2).fault(95, 400, kind="reply_lost").fault(96, 400, kind="reply_lost", target=W2)
    commands = (publish(op=1), pop(100, 1), publish(op=2), pop(110, 2, W2))
    (cause,) = causes(history.build(), check(history.build(), ALL), commands)
    assert (cause.ops, cause.fault) == ((1, 2), "reply_lost on a worker")
    assert cause.text.endswith("a worker never saw the reply: reply_lost on a worker was in force")


def test_without_a_record_of_commands_it_says_what_attempts_and_faults_tell() -> None:
    history = begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL).build()  # type: ignore[arg-type]
    (cause,) = causes(history, check(history, ALL), None)
    assert (cause.kind, cause.command, cause.fault) == (K.KILLED, "", "kill_child on worker-1")
    nothing = begun().build()
    (cause,) = causes(nothing, check(nothing, ALL), None)
    assert cause.kind is K.NOT_KNOWN


def test_without_a_record_it_does_not_say_that_nothing_was_sent() -> None:
    """Of what Redis was told, only a record of commands can say that it was not."""
    history = twice((130, 140), (330, 340)).fault(600, 700).build()
    (cause,) = [c for c in causes(history, check(history, ALL), None) if c.rule is Rule.DUPLICATE]
    assert cause.text == "worker-1 was done with attempt 1; worker-2 began it again"
    late = begun().attempt(1, 130, 140, AttemptOutcome.TRANSIENT).attempt(1, 142, 150).effect(1, 145).build()
    assert "memory" not in back_off(late, courses(late, [1], None)[1]).text
    assert "attempt 2 began 2.0 ms later" in back_off(late, courses(late, [1], None)[1]).text


def test_the_commands_of_a_chord_tell_nothing() -> None:
    """A message of its header names its body as well, which has not been sent yet."""
    history = H().done(0).ack(1, 2, at=90).set(chord_of=2).build()
    commands = (wire(90, P1, "LPUSH", "celery", sent=(1, 2)), wire(100, W1, "BRPOP", "celery", given=(1, 2)))
    course = courses(history, [2], commands)[2]
    assert course.wire is None
    assert lost(history, course).kind is K.NOT_KNOWN


def test_a_fault_that_did_not_hold_was_not_in_force() -> None:
    history = begun().fault(95, 400, kind="black_hole", held=False).build()
    found = lost(history, courses(history, [1], (publish(), pop(100)))[1])
    assert (found.kind, found.fault) == (K.REPLY_UNSEEN, "")


def test_an_operation_is_counted_once() -> None:
    history = begun().build()
    verdict = check(history, ALL)
    (rule,) = [rule for rule in verdict.rules if rule.rule is Rule.LOST]
    doubled = replace(verdict, rules=(replace(rule, samples=rule.samples * 3),))
    (cause,) = causes(history, doubled, (publish(), pop(100)))
    assert cause.ops == (1,)


def test_what_is_begun_too_early_is_told_by_its_first_attempt() -> None:
    history = H().ack(1, at=90).attempt(1, 130, 140).effect(1, 135).set(delays_ns={1: ns(5000)}).build()
    found = too_soon(history, courses(history, [1], (publish(), pop(100)))[1])
    asked = "which said that it was to be run 5.0 s later"
    assert found.text == f"worker-1 began it 40 ms after its submit began, {asked}, with BRPOP celery"


def test_a_wait_is_told_of_the_attempts_that_it_is_between() -> None:
    history = begun().attempt(1, 100, 105, AttemptOutcome.INTERRUPTED).attempt(1, 130, 140, AttemptOutcome.TRANSIENT)
    history = history.attempt(1, 142, 150).effect(1, 145).build()
    found = back_off(history, courses(history, [1], ())[1])
    assert "attempt 2 failed, and attempt 3 began 2.0 ms later" in found.text


def test_a_pipeline_is_one_round_trip() -> None:
    history = open_load(((3000, 80),)).build()
    commands = [wire(10 * op, W1, "ZREM", "index", sent=(op,)) for op in range(50) for _ in range(8)]
    (cause,) = [c for c in causes(history, check(history, ALL), tuple(commands)) if c.rule is Rule.THROUGHPUT]
    assert "a task takes 1.0 round trips of its worker's with 8.0 commands" in cause.text


def test_a_rate_that_is_too_low_is_told_by_what_a_task_costs() -> None:
    history = open_load(((3000, 80),)).build()
    commands = [wire(10 * op + step, W1, "ZREM", "index", sent=(op,)) for op in range(50) for step in range(8)]
    (cause,) = [c for c in causes(history, check(history, ALL), tuple(commands)) if c.rule is Rule.THROUGHPUT]
    assert (cause.kind, cause.command, cause.fault) == (K.TOO_SLOW, "ZREM index", ""), "it is to be fast without faults"
    assert (
        "a task takes 8.0 round trips of its worker's with 8.0 commands, most often ZREM index; without the way, Redis "
        "takes 0.5 ms for each at the median" in cause.text
    )
    (untold,) = [c for c in causes(history, check(history, ALL), None) if c.rule is Rule.THROUGHPUT]
    assert untold.kind is K.HELD


def held(turn_ms: int, body_ms: int, *, sent_at: int = 0) -> History:
    """A process that begins a task every so often, of a queue that is full, or of tasks that come one by one."""
    table = HistoryBuilder().phase(PhaseName.BASELINE, 0, 3000).slo(80)
    for op in range(20):
        begun = 100 + op * turn_ms
        table.ack(op, at=begun - 2 if sent_at else 1).attempt(op, begun, begun + body_ms).effect(op, begun + body_ms)
    return table.build()


def test_a_process_that_is_held_between_tasks_is_told_with_and_without_commands() -> None:
    low = RuleResult(Rule.THROUGHPUT, Outcome.FAIL, "effects/s >= 80", 6.0, "too low")
    for noted, more in (((), "; no command of a worker's named a task meanwhile"), (None, "")):
        cause = slow(held(150, 5), low, noted)
        assert cause.kind is K.HELD
        told = "a process took 150 ms from one task to the next at the median, 5.0 ms of that in the task itself"
        assert cause.text == f"while others waited, {told}{more}"
    assert slow(held(150, 5, sent_at=1), low, ()).kind is K.NOT_KNOWN, "who waits for tasks is not held by them"


def test_a_fault_is_named_where_the_rate_is_to_be_kept_under_it() -> None:
    history = open_load(((3000, 80),)).build()
    history.slo = replace(history.slo, phases=history.slo.phases | {PhaseName.FAULT})
    commands = tuple(wire(10 * op, W1, "ZREM", "index", sent=(op,)) for op in range(50))
    low = RuleResult(Rule.THROUGHPUT, Outcome.FAIL, "effects/s >= 80", 6.0, "too low")
    assert slow(history, low, commands).fault == "worker_kill on worker-1"


def test_what_the_harness_did_after_the_case_is_no_part_of_a_cause() -> None:
    """A dead letter is run again to see that it can be: that attempt was neither too often nor the last."""
    redrive = Redrive(op=1, begun_ns=ns(500), effect=True)
    builder = begun().attempt(1, 100, 105, TRANSIENT).attempt(1, 600, 610).effect(1, 605)
    history = builder.final(dead=frozenset({1}), redrive=redrive).build()
    commands = (publish(), wire(106, W1, "HSET", "dead", sent=(1,)), wire(601, W1, "HDEL", "dead", sent=(1,)))
    (cause,) = [c for c in causes(history, check(history, ALL), commands) if c.rule is Rule.DEAD_LETTER]
    assert cause.text == "attempt 1 ended (transient), and worker-1 put it among the dead letters with HSET dead"


def test_a_retry_that_was_sent_twice_because_its_reply_was_lost_is_told() -> None:
    again = wire(140, W1, "ZADD", "delayed", sent=(1,))
    commands = (publish(), pop(99), wire(106, W1, "ZADD", "delayed", sent=(1,), outcome="swallowed"), again)
    history = twice((100, 150), (200, 210)).fault(100, 120, kind="reply_lost").build()
    (cause,) = [c for c in causes(history, check(history, ALL), commands) if c.rule is Rule.DUPLICATE]
    assert (cause.kind, cause.command) == (K.SENT_TWICE, "ZADD delayed")
    assert (
        cause.text
        == "worker-1 sent its retry 2 times with ZADD delayed: reply_lost on worker-1 was in force at the first"
    )


def test_a_retry_that_others_had_from_redis_did_not_wait_in_memory() -> None:
    """Its settling names no task: by whatever token it was put back, it was Redis that gave the other one out again."""
    builder = begun().ack(2).attempt(2, 60, 65, TRANSIENT).attempt(2, 80, 85).effect(2, 84)
    history = builder.attempt(1, 100, 105, TRANSIENT, pid=7).fault(110, 120, **KILL).build()
    commands = (publish(), pop(99), wire(78, W1, "take", given=(2,)))
    (cause,) = [c for c in causes(history, check(history, ALL), commands) if c.rule is Rule.LOST]
    assert cause.kind is K.RETRY_GONE and "memory" not in cause.text


def test_a_pass_has_no_cause() -> None:
    history = H().done(0, 1).build()
    assert causes(history, check(history, ALL), (publish(op=0),)) == ()


def test_each_kind_is_explained() -> None:
    assert set(WHY) == set(CauseKind)
    for why in WHY.values():
        assert why.title and why.why.endswith(".") and why.mend.endswith(".")


@pytest.mark.parametrize("kept", ["nothing", "no command", "any command"])
def test_whatever_happened_has_a_cause_or_none(kept: str) -> None:
    """Over every known history: it explains, so nothing that it meets may end the judging."""
    for known in KNOWN:
        history = known.history
        ops = range(min(history.planned, 4))
        any_command = tuple(
            wire(50 * step, link, command, "celery", sent=(op,) if step % 2 else (), given=(op,), outcome=outcome)
            for step in range(8)
            for op in ops
            for link, command, outcome in ((W1, "BRPOP", "ok"), (W2, "LPUSH", "cut"), (P1, "LPUSH", "no reply"))
        )
        commands = {"nothing": None, "no command": (), "any command": any_command}[kept]
        verdict = check(history, known.contract)
        found = causes(history, verdict, commands)
        assert {cause.rule for cause in found} <= verdict.failed
        assert all(cause.text and cause.text == cause.text.strip() for cause in found)


def test_the_documentation_tells_the_same() -> None:
    text = (ROOT / "docs" / "explanation" / "causes.md").read_text(encoding="utf-8")
    for kind, why in WHY.items():
        assert f"## {why.title}\n\n`{kind.value}`. {why.why}\n\n**What helps:** {why.mend}\n" in text


def test_a_story_does_not_say_that_what_only_asks_gives_it_away() -> None:
    history = begun().build()
    commands = (publish(), wire(95, W1, "ZRANGE", "unacked_index", given=(1,)), pop(100))
    (story,) = detail(history, check(history, ALL), (), commands).stories
    assert [line.what for line in story.lines if line.who == "worker-1 > redis"] == [
        "ZRANGE unacked_index shows it",
        "BRPOP celery gives it away",
    ]
