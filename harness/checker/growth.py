"""Growth: connections, memory, keys and open files come back to what they were before, once everything is done."""

from __future__ import annotations

from dataclasses import replace

from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, with_texts
from taskchaos.harness.record.history import FinalState, Usage
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

#: What is opened once, later than in the baseline, and kept for use: files by worker, connections of all roles.
SLACK = 30
#: Keys that come once and stay.
SLACK_KEYS = 10
#: What the server needs for itself, and for what a task may leave for a while (its result, that it is done).
SLACK_BYTES, BYTES_PER_TASK = 2 << 20, 4 << 10
#: A dead letter is kept on purpose, in so many keys.
KEYS_PER_DEAD_LETTER = 4
#: With fewer tasks after the first count, one thing kept by each could not be told from that.
FEWEST_TASKS = 100


def growth(evidence: CaseEvidence) -> RuleResult:
    """After the drain there is no more of anything than at the end of the baseline, but for some slack."""
    final = evidence.history.final
    result = RuleResult(
        Rule.GROWTH, Outcome.NOT_CLAIMED, "back to baseline", None, "the case does not count what grows"
    )
    if not evidence.history.slo.growth:
        return result
    before, after = final.usage_before, final.usage
    if before is None or after is None:
        reason = "what grows was not counted before and after; run the case again"
        return replace(result, outcome=Outcome.UNKNOWN, reason=reason)
    tasks = _since(evidence, before)
    if why := _why_unknown(final, tasks):
        return replace(result, outcome=Outcome.UNKNOWN, reason=why)
    figures = _figures(before, after, tasks, len(final.dead))
    grown = [f"{what}: {then:,} before, {now:,} after" for what, then, now, more in figures if now > then + more]
    counts = ", ".join(f"{what} {then:,} to {now:,}" for what, then, now, _ in figures)
    outcome = Outcome.FAIL if grown else Outcome.PASS
    reason = f"after {counted(tasks, 'task')}: {counts}" + ("" if after.files else " (files cannot be counted here)")
    return with_texts(replace(result, outcome=outcome, observed=len(grown), reason=reason), grown)


def _why_unknown(final: FinalState, tasks: int) -> str:
    """Why what was counted says nothing; "" if it does."""
    if not final.converged or not final.healed:
        return "the case did not come to rest, so what is there may still be in use; drain for longer"
    if tasks < FEWEST_TASKS:
        return f"only {counted(tasks, 'task')} after the first count, {FEWEST_TASKS} are needed; send more"
    return ""


def _since(evidence: CaseEvidence, before: Usage) -> int:
    return sum(1 for at_ns in evidence.history.submits.begun_ns if at_ns > before.at_ns)


def _figures(before: Usage, after: Usage, tasks: int, dead: int) -> list[tuple[str, int, int, int]]:
    """What is counted: its name, how many there were and are, and how many more there may be."""
    workers = [
        (f"files of {role}", before.files[role], after.files[role], SLACK)
        for role in sorted(before.files.keys() & after.files.keys())
    ]
    memory = SLACK_BYTES + BYTES_PER_TASK * tasks
    return [
        ("connections", before.connections, after.connections, SLACK),
        ("keys", before.keys, after.keys, SLACK_KEYS + KEYS_PER_DEAD_LETTER * dead),
        ("bytes of memory", before.memory_bytes, after.memory_bytes, memory),
        *workers,
    ]
