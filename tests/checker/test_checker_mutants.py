"""The known histories catch a broken checker: every rule silenced, turned round, or subtly wrong.

`python tests/checker/checker_mutants.py` goes further: it changes every comparison, condition, bit test and sum of
the package, and prints what no known history noticed (mostly shortcuts that only save time).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from checker_catalogue import KNOWN
from checker_mutants import SOURCES, mutant

import harness.checker as checker
from harness.verdict import Outcome, Rule

#: (rule that must notice, module, source, what the mutant has in its place)
SUBTLE = (
    (Rule.LOST, "loss", "op not in evidence.dead", "op in evidence.dead"),
    (Rule.LOST, "loss", "op not in evidence.history.final.pending and ", ""),
    (Rule.LOST, "loss", "if doubts:", "if False:"),
    (Rule.LOST, "loss", "if len(gone) <= room:", "if len(gone) < room:"),
    (Rule.LOST, "loss", "op not in running", "True"),
    (Rule.LOST, "loss", "if evidence.history.final.converged:", "if False:"),
    (Rule.LOST, "tally", "flags & ACKED and not flags & EFFECT", "flags & ACKED and not flags & TRIED"),
    (Rule.LOST, "evidence", "ops_in(both(gave_up, mask_of(permanent, history.planned)))", "permanent"),
    (Rule.STUCK, "loss", "held and final.overdue and final.quiet", "held and final.overdue"),
    (Rule.DUPLICATE, "tally", "REPEATED if flags & EFFECT else EFFECT", "REPEATED if flags < 1 else EFFECT"),
    (Rule.DUPLICATE, "evidence", "begin_ns <= other_end_ns and", "begin_ns >= other_end_ns and"),
    (Rule.DUPLICATE, "execution", "if op not in evidence.zombies", ""),
    (Rule.DUPLICATE, "execution", "if target == role and sent", "if sent"),
    (Rule.DUPLICATE, "execution", "sent[op] <= healed_ns and ", ""),
    (Rule.DUPLICATE, "execution", "<= 2 * healed_ns - begun_ns", "<= 3 * healed_ns"),
    (Rule.OVERLAP, "exclusion", "if ends[other] > begun_ns", "if ends[other] >= begun_ns"),
    (Rule.OVERLAP, "exclusion", "if not evidence.contract.has(Claim.FENCED):", "if False:"),
    (Rule.OVERLAP, "exclusion", "UNFENCED < fence[lower] < fence[higher]", "fence[lower] < fence[higher]"),
    (Rule.OVERLAP, "exclusion", "and evidence.overtaken(lower, higher)", ""),
    (Rule.OVERLAP, "exclusion", "        running.append(row)", "        running = [row]"),
    (Rule.OVERLAP, "evidence", "ended_ns(stop) - stop.injected_ns >= self.history.lease_ns", "True"),
    (Rule.OVERLAP, "evidence", "and attempts.begun_ns[row] <= ended_ns(stop)", ""),
    (Rule.OVERLAP, "evidence", "and stop.injected_ns <= attempts.begun_ns[by]", ""),
    (Rule.OVERLAP, "evidence", "if happened(stop) and ", "if "),
    (Rule.FENCE, "exclusion", "highest = fences[row]\n", "highest = highest\n"),
    (Rule.FENCE, "exclusion", "fences[row] > highest", "fences[row] >= highest"),
    (Rule.FENCE, "exclusion", "in islice(rows, number)", "in rows[number - 1 : number]"),
    (Rule.FENCE, "exclusion", "dict.fromkeys(unnamed, ", "dict.fromkeys((), "),
    (Rule.OVERLAP, "evidence", "if self.was_killed(row):", "if False:"),
    (Rule.UNEXPECTED, "execution", "evidence.outside.effects | evidence.outside.attempts", "evidence.outside.effects"),
    (Rule.RESURRECTED, "execution", "flags & SUBMITTED == REFUSED", "flags & REFUSED"),
    (Rule.FALSE_SUCCESS, "statements", "said & SUCCEEDED", "said & RESULT_SUCCESS"),
    (Rule.FALSE_FAILURE, "statements", "success[op] < failure[op]", "success[op] <= failure[op]"),
    (Rule.ZOMBIE, "evidence", "map(gt, map(last", "map(int.__ge__, map(last"),
    (Rule.LEAK, "conditions", "if not final.converged:", "if False:"),
    (Rule.RETRIES, "execution", "if number > limit:", "if number >= limit:"),
    (Rule.RETRIES, "execution", "if _counts(evidence, row)", ""),
    (Rule.EVIDENCE, "conditions", "if history.torn_records:", "if False:"),
    (Rule.FAULTS, "conditions", "if not fault.proven:", "if False:"),
    (Rule.CONVERGED, "conditions", "    if final.converged:", "    if True:"),
    (Rule.WORKERS, "conditions", "Outcome.FAIL if deaths", "Outcome.PASS if deaths"),
    (Rule.THROUGHPUT, "throughput", "if pace.tps >= required:", "if pace.tps > required:"),
    (Rule.THROUGHPUT, "throughput", "if late + dropped <= LATE_SHARE", "if late <= LATE_SHARE"),
    (Rule.THROUGHPUT, "pace", "effects * WARM_UP_PERCENT // 100", "0"),
    (Rule.THROUGHPUT, "tally", "first[op] = times[0]", "first[op] = times[-1]"),
    (Rule.RECOVERY, "pace", "WINDOWS_IN_A_ROW = 3", "WINDOWS_IN_A_ROW = 2"),
    (Rule.RECOVERY, "pace", "max(fault.healed_ns for", "min(fault.healed_ns for"),
)


@pytest.mark.parametrize(("rule", "module", "source", "changed"), SUBTLE, ids=lambda part: str(part)[:40])
def test_a_subtle_mutant_is_caught(rule: Rule, module: str, source: str, changed: str) -> None:
    assert source in SOURCES[module], "the mutant has lost its place in the source"
    with mutant(module, SOURCES[module].replace(source, changed)) as broken:
        for case in (case for case in KNOWN if case.result.rule is rule):
            try:
                found = broken.check(case.history, case.contract).rule(rule)
            except Exception:
                return
            if repr(found) != repr(case.result):
                return
    pytest.fail(f"no known history notices that {changed!r} stands for {source!r}")


def test_without_a_change_nothing_is_caught() -> None:
    with mutant("loss", SOURCES["loss"]) as same:
        for case in KNOWN:
            assert repr(same.check(case.history, case.contract)) == repr(checker.check(case.history, case.contract))


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("fault", ["always passes", "turned round"])
def test_a_broken_rule_is_caught(rule: Rule, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = checker._TASK_RULES if rule in checker._TASK_RULES else checker._FIGURE_RULES
    real = table[rule]  # type: ignore[index]
    turned = {Outcome.PASS: Outcome.FAIL, Outcome.FAIL: Outcome.PASS, Outcome.UNKNOWN: Outcome.PASS}

    def broken(*given: object) -> object:
        result = real(*given)
        if fault == "always passes":
            return replace(result, outcome=Outcome.PASS)
        return replace(result, outcome=turned.get(result.outcome, result.outcome))

    monkeypatch.setitem(table, rule, broken)
    cases = [case for case in KNOWN if case.result.rule is rule]
    assert any(checker.check(case.history, case.contract).rule(rule) != case.result for case in cases)
