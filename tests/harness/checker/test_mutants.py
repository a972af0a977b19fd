"""The known histories catch a broken checker: every rule silenced, turned round, or subtly wrong.

`tox -e mutants` (checker_mutants.py) goes further: it changes every comparison, condition, sum and number of the
package. What no known history notices then is listed in mutants_survivors.toml, with the reason why it is no matter.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from checker_catalogue import KNOWN
from checker_mutants import ORDER, SOURCES, every_mutant, explained, mutant

import taskchaos.harness.checker as checker
from taskchaos.harness.record.verdict import Outcome, Rule

#: (rule that must notice, module, source, what the mutant has in its place)
SUBTLE = (
    (Rule.LOST, "loss", "op in letters.due or op in letters.all", "op in letters.all"),
    (Rule.LOST, "loss", "op in letters.due or op in letters.all", "op in letters.due"),
    (Rule.LOST, "loss", " and op not in evidence.stalled", ""),
    (Rule.LOST, "loss", "if evidence.stalled:  #", "if False:  #"),
    (Rule.LOST, "loss", "_bound(len(evidence.sound))", "_bound(len(evidence.history.faults))"),
    (Rule.LOST, "loss", "op not in evidence.history.final.pending and ", ""),
    (Rule.LOST, "loss", "if doubts := doubts_about(history.final):", "if doubts := []:"),
    (Rule.LOST, "loss", "if gone <= _room(history):", "if gone < _room(history):"),
    (Rule.LOST, "loss", "op not in running", "True"),
    (Rule.LOST, "loss", "if evidence.history.final.converged:", "if False:"),
    (Rule.LOST, "columns", "flags & ACKED and not flags & EFFECT", "flags & ACKED and not flags & TRIED"),
    (Rule.LOST, "letters", " if attempts.outcome[row] == AttemptOutcome.PERMANENT)", ")"),
    (Rule.DEAD_LETTER, "letters", "if op not in history.permanent", ""),
    (Rule.DEAD_LETTER, "letters", "number >= limit", "number > limit"),
    (Rule.DEAD_LETTER, "letters", "AttemptOutcome.PERMANENT, AttemptOutcome.INTERRUPTED)", "AttemptOutcome.PERMANENT)"),
    (Rule.DEAD_LETTER, "letters", "if contract.has(Claim.RETRIES_BOUNDED) else None", ""),
    (Rule.DEAD_LETTER, "letters", "elif attempts.outcome[row] in _CRASHES:", "else:"),
    (Rule.DEAD_LETTER, "letters", "(AttemptOutcome.OPEN, AttemptOutcome.CRASHED)", "(AttemptOutcome.OPEN,)"),
    (Rule.LOST, "letters", "if _used_up(crashes[op], contract.max_crashes)", ""),
    (Rule.LOST, "letters", "op for op in history.poison if", "op for op in range(history.planned) if"),
    (Rule.RETRIES, "execution", "crashes > most_crashes", "crashes >= most_crashes"),
    (Rule.EVIDENCE, "preconditions", "evidence.history.poison - crashed", "evidence.history.poison & crashed"),
    (Rule.DEAD_LETTER, "letters", "flags[op] & (ACKED | UNSURE) and", "flags[op] & ACKED and"),
    (Rule.DEAD_LETTER, "letters", " and not flags[op] & EFFECT", ""),
    (Rule.DEAD_LETTER, "loss", "redrive.effect and not redrive.error", "redrive.effect"),
    (Rule.DEAD_LETTER, "loss", "if number <= torn:", "if number < torn:"),
    (Rule.DEAD_LETTER, "loss", "if final.reads == 0:", "if False:"),
    (Rule.FALSE_FAILURE, "columns", "at_ns < redrive.begun_ns", "at_ns <= redrive.begun_ns"),
    (Rule.FALSE_FAILURE, "columns", "effects=cut(history.effects, history.effects.at_ns)", "effects=history.effects"),
    (Rule.RETRIES, "columns", "attempts=cut(history.attempts, history.attempts.begun_ns)", "attempts=history.attempts"),
    (Rule.DUPLICATE, "columns", "op // size != chord or ", ""),
    (Rule.FALSE_FAILURE, "reports", "not evidence.tally.spoke and not dead", "not evidence.tally.spoke"),
    (Rule.FALSE_FAILURE, "reports", "if effective[op] and op not in evidence.zombies", "if effective[op]"),
    (Rule.STUCK, "loss", "held and final.overdue and final.quiet", "held and final.overdue"),
    (Rule.STUCK, "evidence", "or not final.healed:", "or False:"),
    (Rule.THROUGHPUT, "rates", "min(len(effects) - before, due)", "len(effects) - before"),
    (Rule.THROUGHPUT, "rates", "history.faults if not idle(fault)]", "history.faults]"),
    (Rule.THROUGHPUT, "rates", "min(most, default", "max(most, default"),
    (Rule.THROUGHPUT, "rates", ">= span_ns]", "> span_ns]"),
    (Rule.THROUGHPUT, "rates", "max(f.injected_ns, phase.begun_ns)", "phase.begun_ns"),
    (Rule.THROUGHPUT, "rates", "if seen_ns >= phase.ended_ns:", "if False:"),
    (Rule.STUCK, "evidence", "since_ns.__le__", "since_ns.__lt__"),
    (Rule.STUCK, "evidence", "pending | delivered.keys() | tried.keys()", "delivered.keys() | tried.keys()"),
    (Rule.STUCK, "evidence", "pending | delivered.keys() | tried.keys()", "pending | tried.keys()"),
    (Rule.STUCK, "evidence", "pending | delivered.keys() | tried.keys()", "pending | delivered.keys()"),
    (Rule.STUCK, "evidence", "given_up = letters.all | letters.due", "given_up = letters.due"),
    (Rule.STUCK, "evidence", "if wanted[op])", "if True)"),
    (Rule.STUCK, "loss", "if len(stalled) <= torn:", "if len(stalled) < torn:"),
    (Rule.DUPLICATE, "columns", "REPEATED if flags & EFFECT else EFFECT", "REPEATED if flags < 1 else EFFECT"),
    (Rule.DUPLICATE, "faults", "bisect_left(self.ends, begin_ns)", "bisect_right(self.ends, begin_ns)"),
    (Rule.DUPLICATE, "faults", "self.begins[at] <= end_ns", "self.begins[at] < end_ns"),
    (Rule.DUPLICATE, "execution", "if op not in evidence.zombies", ""),
    (Rule.DUPLICATE, "execution", "if target == role and in_time", "if in_time"),
    (Rule.DUPLICATE, "execution", " and at_ns <= evidence.tally.last_effect[op]", ""),
    (Rule.DUPLICATE, "execution", "evidence.role(submits.role[row])", "'worker-1'"),
    (Rule.DUPLICATE, "execution", "for role in roles):", "for role in evidence.history.roles):"),
    (Rule.DUPLICATE, "execution", '{op: {""} for op in seen}', "{op: set() for op in seen}"),
    (Rule.DUPLICATE, "execution", "sent[op] <= healed_ns <= at_ns", "healed_ns <= at_ns"),
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
    (Rule.UNIQUE, "unique", "if times > 1]", "if times > 0]"),
    (Rule.UNIQUE, "unique", " if op not in explained]", "]"),
    (Rule.UNIQUE, "unique", "    if not twice:", "    if False:"),
    (Rule.UNIQUE, "unique", "if not evidence.history.again:", "if False:"),
    (Rule.DUPLICATE, "evidence", "if times > 1)", "if times > 0)"),
    (Rule.DUPLICATE, "execution", "for seen in (op, *members(history, op))]", "for seen in (op,)]"),
    (Rule.ORDER, "order", "    if last_ns <= begun_ns:", "    if True:"),
    (Rule.ORDER, "order", "max((effects[op], op)", "min((effects[op], op)"),
    (Rule.ORDER, "order", "min(begun.get(op, at_ns), at_ns)", "max(begun.get(op, at_ns), at_ns)"),
    (Rule.ORDER, "order", "    if never:", "    if False:"),
    (Rule.ORDER, "order", "    elif not begun and not called_off:", "    elif False:"),
    (Rule.ORDER, "order", "if len(notes) <= history.torn_records:", "if False:"),
    (Rule.ORDER, "order", "    if not history.chord_of:", "    if False:"),
    (Rule.ORDER, "letters", "if not found.flags[op] & EFFECT}", "}"),
    (Rule.LOST, "loss", " or _waits(evidence, op)", ""),
    (Rule.DURATION, "waits", "    for body in bodies(evidence.history):", "    for body in ():"),
    (Rule.THROUGHPUT, "rates", "        for body in bodies(history):", "        for body in ():"),
    (Rule.DURATION, "duration", "first.get(op, from_ns - delays_ns.get(op, 0))", "from_ns - delays_ns.get(op, 0)"),
    (Rule.RECOVERY, "throughput", " or history.chord_of:", ":"),
    (Rule.KEY_OVERLAP, "exclusion", "op % keys", "op // keys"),
    (Rule.KEY_OVERLAP, "exclusion", "is of_one]", "is not of_one]"),
    (Rule.KEY_OVERLAP, "exclusion", "elif all(len(mine) < 2 for mine in rows.values()):", "elif False:"),
    (Rule.KEY_OVERLAP, "exclusion", "bool(met)", "False"),
    (Rule.KEY_OVERLAP, "exclusion", "    if not keys:", "    if False:"),
    (Rule.FENCE, "exclusion", "highest = fences[row]\n", "highest = highest\n"),
    (Rule.FENCE, "exclusion", "fences[row] > highest", "fences[row] >= highest"),
    (Rule.FENCE, "exclusion", "in islice(rows, number)", "in rows[number - 1 : number]"),
    (Rule.FENCE, "exclusion", "dict.fromkeys(unnamed, ", "dict.fromkeys((), "),
    (Rule.OVERLAP, "evidence", "if attempts.pid[row] in killed_at:", "if False:"),
    (Rule.OVERLAP, "__init__", "if result.outcome is not Outcome.FAIL or not suspects:", "if True:"),
    (Rule.UNEXPECTED, "execution", "evidence.outside.effects | evidence.outside.attempts", "evidence.outside.effects"),
    (Rule.RESURRECTED, "execution", "flags & SUBMITTED == REFUSED", "flags & REFUSED"),
    (Rule.FALSE_SUCCESS, "reports", "said & SUCCEEDED", "said & RESULT_SUCCESS"),
    (Rule.FALSE_FAILURE, "reports", "success[op] < failure[op]", "success[op] <= failure[op]"),
    (Rule.ZOMBIE, "evidence", "map(gt, map(last", "map(int.__ge__, map(last"),
    (Rule.RESULTS, "kept", "if not evidence.history.keep_results:", "if False:"),
    (Rule.RESULTS, "kept", "flags & ACKED and flags & EFFECT", "flags & EFFECT"),
    (Rule.RESULTS, "kept", " and op not in final.pending", ""),
    (Rule.RESULTS, "kept", "    if not done:", "    if False:"),
    (Rule.RESULTS, "kept", "elif doubts := doubts_about(final):", "elif doubts := []:"),
    (Rule.LOST, "loss", "op not in forgotten and ", ""),
    (Rule.LOST, "evidence", "since <= done_ns <= end + NOTED_LATE_NS", "since <= done_ns"),
    (
        Rule.LOST,
        "evidence",
        "min(first.get(op, (done_ns, begun_ns)), (done_ns, begun_ns))",
        "max(first.get(op, (done_ns, begun_ns)), (done_ns, begun_ns))",
    ),
    (Rule.DURABILITY, "durability", "op in forgotten and unaccounted(evidence, op)", "op in forgotten"),
    (Rule.DURABILITY, "durability", "if doubts := doubts_about(evidence.history.final):", "if False:"),
    (Rule.LEAK, "preconditions", "elif final.converged:", "elif True:"),
    (Rule.LEAK, "preconditions", "if not final.reads:", "if False:"),
    (Rule.RETRIES, "execution", "if number > limit:", "if number >= limit:"),
    (Rule.RETRIES, "execution", "if _counts(evidence, row)", ""),
    (Rule.RETRIES, "execution", "evidence.role(attempts.role[row])", "'worker-1'"),
    (Rule.DUPLICATE, "faults", "fault.role != QUEUE and not", "not"),
    (Rule.RETRIES, "faults", "self.by_role.get(role, self.servers)", "self.by_role.get(role, self)"),
    (Rule.RETRIES, "faults", "_joined([*servers, *(", "_joined([*("),
    (Rule.RETRIES, "faults", "ends[-1] = max(ends[-1], end_ns)", "ends[-1] = end_ns"),
    (Rule.RETRIES, "faults", "not fault.role.rpartition", "not fault.target.rpartition"),
    (Rule.RETRIES, "results", "found=len(ops)", "found=len(samples)"),
    (Rule.BACKOFF, "waits", "if evidence.tally.flags[op] & UNSURE:", "if False:"),
    (Rule.BACKOFF, "waits", "met.meet(attempts.begun_ns[rows[0]], begun_ns)", "met.meet(begun_ns, begun_ns)"),
    (Rule.BACKOFF, "waits", "attempts.outcome[row] != AttemptOutcome.TRANSIENT or ", ""),
    (Rule.BACKOFF, "waits", " or begun_ns < ended_ns", ""),
    (Rule.BACKOFF, "back_off", "- LATE_S - near_s", "- LATE_S"),
    (Rule.BACKOFF, "back_off", "near_s is None or near_s > max(LATE_S, longest_s / 2 - LATE_S)", "near_s is None"),
    (Rule.BACKOFF, "back_off", "shortest_s(law, wait) - EARLY_S", "0"),
    (Rule.BACKOFF, "back_off", "len(side) >= FEWEST_WAITS", "len(side) > FEWEST_WAITS"),
    (Rule.BACKOFF, "back_off", "if wait.retries == retries]", "]"),
    (Rule.BACKOFF, "back_off", "if evidence.history.slo.waits:", "if True:"),
    (Rule.BACKOFF, "back_off", "    if not late:\n", "    if False:\n"),
    (Rule.RETRY_STORM, "storm", "again <= allowed and back <= expected", "again <= allowed"),
    (Rule.RETRY_STORM, "storm", "again <= allowed and back <= expected", "back <= expected"),
    (Rule.RETRY_STORM, "storm", "met.meet(begins[0], outage.ended_ns)", "False"),
    (Rule.RETRY_STORM, "storm", "evidence.contract.max_attempts - 1 if bounded else MOST_RETRIES", "MOST_RETRIES"),
    (Rule.RETRY_STORM, "storm", "(within - before) / (1.0 - before)", "within"),
    (Rule.RETRY_STORM, "storm", "squares += longest**2", "squares += 0"),
    (Rule.DURATION, "duration", "min(until_ns, line.passed_ns(step.op, due_ns))", "until_ns"),
    (Rule.DURATION, "duration", "rest.within(due_ns, until_ns))", "0)"),
    (Rule.DURATION, "duration", "yield due_ns, min(begin_ns, step.begun_ns)", "yield due_ns, due_ns"),
    (Rule.DURATION, "duration", "if step.probed else 0.0", ""),
    (Rule.DURATION, "duration", "if attempts.outcome[row] in _FAILED:", "if True:"),
    (Rule.DURATION, "duration", "if evidence.history.keys:", "if False:"),
    (Rule.GROWTH, "growth", "now > then + more", "now > then"),
    (Rule.GROWTH, "growth", "now > then + more", "now >= then + more"),
    (Rule.GROWTH, "growth", "KEYS_PER_DEAD_LETTER * dead", "0"),
    (Rule.GROWTH, "growth", "not final.converged or not final.healed", "not final.converged"),
    (Rule.EVIDENCE, "preconditions", "evidence.history.planned_outage and not _felt(evidence)", "False"),
    (Rule.LOST, "letters", "if ended[op] >= tries", ""),
    (Rule.LOST, "letters", "if outage or failures[op] >= tries", ""),
    (Rule.EVIDENCE, "preconditions", "if history.torn_records:", "if False:"),
    (Rule.EVIDENCE, "preconditions", "gaps += left.gaps()", ""),
    (Rule.EVIDENCE, "offered", "healed_ns + max(healed_ns - begun_ns, REACH_NS)", "healed_ns"),
    (Rule.EVIDENCE, "offered", "max(healed_ns - begun_ns, REACH_NS)", "healed_ns - begun_ns"),
    (Rule.EVIDENCE, "offered", "min(done_ns, begun_ns + REACH_NS)", "done_ns"),
    (Rule.EVIDENCE, "offered", "due_ns + LATE_NS", "due_ns"),
    (Rule.EVIDENCE, "offered", "op // together(history) % len(history.producers)", "0"),
    (Rule.EVIDENCE, "offered", "_first_due(due, min(begun)", "_first_due(due, max(begun)"),
    (Rule.EVIDENCE, "offered", "of_server(fault) or (fault.role == producer and", "(fault.role == producer and"),
    (Rule.EVIDENCE, "offered", "(fault.role == producer and not _of_process(fault))", "fault.role == producer"),
    (Rule.EVIDENCE, "offered", "bool(fault.killed_pids) and not of_server(fault)", "bool(fault.killed_pids)"),
    (Rule.EVIDENCE, "offered", "bool(fault.killed_pids) and not of_server(fault)", "False"),
    (Rule.EVIDENCE, "offered", "return begun_ns, healed_ns\n", "return begun_ns, begun_ns\n"),
    (Rule.EVIDENCE, "offered", "return due[later - 1][0] + 1 if later else 0", "return due[later][0]"),
    (Rule.EVIDENCE, "faults", "fault.injected_ns != NEVER and fault.proven and fault.held", "True"),
    (Rule.FAULTS, "faults", "if not fault.proven:", "if False:"),
    (Rule.FAULTS, "faults", "if not fault.held:", "if False:"),
    (Rule.FAULTS, "faults", "return fault.unused and not fault.proven", "return fault.unused"),
    (Rule.FAULTS, "preconditions", "    if unused:\n", "    if False:\n"),
    (Rule.FAULTS, "flight", "bisect_left(self.effects, begin_ns)", "bisect_right(self.effects, begin_ns)"),
    (Rule.FAULTS, "flight", " - bisect_left(self.others, begin_ns)", ""),
    (Rule.FAULTS, "flight", " - bisect_left(self.given_up, begin_ns)", ""),
    (Rule.FAULTS, "flight", "if begun.total() > sent.count(1):", "if False:"),
    (Rule.FAULTS, "evidence", "max(ended.get(op, NEVER), ", "min(ended.get(op, FOREVER), "),
    (Rule.DUPLICATE, "faults", "not happened(fault) and not idle(fault)", "not happened(fault)"),
    (Rule.DUPLICATE, "__init__", "_safe(rule, lambda: _TASK_RULES[rule](evidence.believing()))", "result"),
    (Rule.CONVERGED, "preconditions", "    if final.converged:", "    if True:"),
    (Rule.WORKERS, "preconditions", "Outcome.FAIL if deaths", "Outcome.PASS if deaths"),
    (Rule.THROUGHPUT, "throughput", "tps >= required", "tps > required"),
    (Rule.THROUGHPUT, "rates", "failures[op] * history.longest_wait_ns", "history.longest_wait_ns"),
    (Rule.EARLY, "early", "if by_ns > TOLERANCE_NS", "if by_ns > 0"),
    (Rule.PRIORITY, "priority", "lines.get((way.role, less), [])", "lines.get((0, less), [])"),
    (Rule.PRIORITY, "priority", "if line[place].begun_ns < way.begun_ns:", "if True:"),
    (Rule.PRIORITY, "priority", "range(way.rank + 1, ", "range(way.rank, "),
    (Rule.PRIORITY, "priority", "key=_taken_ns), len(line)", "key=_taken_ns), len(line) - 1"),
    (Rule.PRIORITY, "priority", " and not met.meet(sent_ns, taken[op][0])", ""),
    (Rule.PRIORITY, "priority", "met.meet(sent_ns, taken", "met.meet(queued[op], taken"),
    (Rule.PRIORITY, "priority", "all_bites(evidence.history, as_long_again)", "all_bites(evidence.history)"),
    (Rule.PRIORITY, "priority", "min((at_ns, role), taken.get(op, (at_ns, role)))", "at_ns, role"),
    (Rule.PRIORITY, "evidence", "queued[op] = min(done_ns, queued.get(op, done_ns))", "queued[op] = done_ns"),
    (Rule.DURATION, "duration", "max(from_ns, min(queued_ns.get(op, from_ns), begun_ns))", "from_ns"),
    (Rule.PRIORITY, "priority", "    elif unseen:", "    elif False:"),
    (Rule.PRIORITY, "priority", "max(1, history.priorities - 1)", "1"),
    (Rule.PRIORITY, "priority", "range(max(1, history.priorities - 1))", "range(history.priorities - 1)"),
    (Rule.PRIORITY, "priority", "lines.get((role, mine + 1), [])", "lines.get((0, mine + 1), [])"),
    (Rule.PRIORITY, "priority", "bisect_right(queued, way.taken_ns - waited_ns)", "len(queued)"),
    (Rule.PRIORITY, "priority", "    elif not surely.total():", "    elif False:"),
    (Rule.PRIORITY, "priority", "min(bisect_left(queued, way.sent_ns), ", "min(len(queued), "),
    (Rule.REVOKED, "revoked", "if heard_ns != NEVER}", "}"),
    (Rule.REVOKED, "revoked", "times[place - 1] > until_ns[op]", "times[0] > until_ns[op]"),
    (Rule.REVOKED, "revoked", "times[place - 1] > until_ns[op]", "times[-1] > until_ns[op]"),
    (Rule.REVOKED, "revoked", "came.get((op, attempts.role[row]), [])", "came.get((op, 0), [])"),
    (Rule.REVOKED, "revoked", "at_ns + late_ns for op", "at_ns for op"),
    (Rule.REVOKED, "revoked", "if op not in early and ", "if "),
    (Rule.REVOKED, "revoked", " and waited[op]]", "]"),
    (Rule.REVOKED, "revoked", "    elif not in_time:", "    elif False:"),
    (Rule.REVOKED, "revoked", "    elif unnoted:", "    elif False:"),
    (Rule.REVOKED, "revoked", "if not history.revoking:", "if False:"),
    (Rule.LOST, "loss", " or op in evidence.revoked", ""),
    (Rule.FAULTS, "evidence", "letters.due.union(revokes.op)", "letters.due"),
    (Rule.DURATION, "duration", "if rank(self._history, op) >= urgent", "if True"),
    (Rule.DURATION, "duration", "if rank(self._history, op) >= urgent", "if rank(self._history, op) == urgent"),
    (Rule.EVIDENCE, "seen", "attempts.pid[row] != attempts.pid[later]", "True"),
    (Rule.THROUGHPUT, "rates", "first[op] - waits[op] for", "first[op] for"),
    (Rule.THROUGHPUT, "rates", "first[op] - waits[op] for", "first[op] - max(waits.values()) for"),
    (Rule.THROUGHPUT, "rates", "max(span_ns, done", "max(1, done"),
    (Rule.THROUGHPUT, "rates", "if first[op] != NEVER)", ")"),
    (Rule.THROUGHPUT, "throughput", "if late + dropped + never <= LATE_SHARE", "if late + never <= LATE_SHARE"),
    (Rule.THROUGHPUT, "throughput", "if late + dropped + never <= LATE_SHARE", "if late + dropped <= LATE_SHARE"),
    (Rule.THROUGHPUT, "rates", "effects * WARM_UP_PERCENT // 100", "0"),
    (Rule.THROUGHPUT, "columns", "first[op] = times[0]", "first[op] = times[-1]"),
    (Rule.RECOVERY, "rates", "WINDOWS_IN_A_ROW = 3", "WINDOWS_IN_A_ROW = 2"),
    (Rule.RECOVERY, "rates", "max(fault.healed_ns for", "min(fault.healed_ns for"),
    (Rule.RECOVERY, "rates", "and not idle(fault)]", "]"),
    (Rule.RECOVERY, "rates", "for fault in injected):", "for fault in injected if fault.proven):"),
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


def test_an_unchanged_checker_is_not_caught() -> None:
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


def test_every_survivor_on_the_list_exists() -> None:
    there = {name for module in ORDER for name, _ in every_mutant(module)}
    assert explained().keys() - there == set(), "these mutants cannot be made any more: take them off the list"
    assert all(why.strip() for why in explained().values())


def test_every_module_is_mutated_and_every_mutant_has_a_name_of_its_own() -> None:
    assert set(ORDER) == set(SOURCES)
    names = [name for module in ORDER for name, _ in every_mutant(module)]
    assert len(names) == len(set(names)) > 1000
