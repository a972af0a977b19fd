"""The likely cause of a failure: which way it went, by which command, under which fault."""

from __future__ import annotations

import pytest
from cause_ways import KILL, OPEN, P1, W1, W2, WAYS, H, K, Way, ack, begun, pop, publish, wire
from checker_catalogue import KNOWN
from checker_histories import ALL
from checker_loads import open_load
from repository import ROOT

from taskchaos.harness.checker import check
from taskchaos.harness.judge.causes import causes
from taskchaos.harness.record.result import Cause, CauseKind
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.report.why import WHY


def _found(way: Way) -> Cause:
    history = way.build().build()
    verdict = check(history, ALL)
    found = [cause for cause in causes(history, verdict, way.wire) if cause.rule is way.rule]
    assert found, [(rule.rule, rule.outcome, rule.reason) for rule in verdict.rules if rule.rule is way.rule]
    return found[0]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
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


def test_without_a_record_of_commands_it_says_what_attempts_and_faults_tell() -> None:
    history = begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL).build()  # type: ignore[arg-type]
    (cause,) = causes(history, check(history, ALL), None)
    assert (cause.kind, cause.command, cause.fault) == (K.KILLED, "", "kill_child on worker-1")
    nothing = begun().build()
    (cause,) = causes(nothing, check(nothing, ALL), None)
    assert cause.kind is K.NOT_KNOWN


def test_a_rate_that_is_too_low_is_told_by_what_a_task_costs() -> None:
    history = open_load(((3000, 80),)).build()
    commands = [wire(10 * op + step, W1, "ZREM", "index", sent=(op,)) for op in range(50) for step in range(8)]
    (cause,) = [c for c in causes(history, check(history, ALL), tuple(commands)) if c.rule is Rule.THROUGHPUT]
    assert (cause.kind, cause.command, cause.fault) == (K.TOO_SLOW, "ZREM index", "worker_kill on worker-1")
    assert (
        "a task takes 8.0 commands of its worker's, most often ZREM index, 0.5 ms each at the median: 4.0 ms"
        in cause.text
    )
    (untold,) = [c for c in causes(history, check(history, ALL), None) if c.rule is Rule.THROUGHPUT]
    assert untold.kind is K.NOT_KNOWN


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
