"""What pytest shows of a case that did not come out as expected.

Its short summary has the first line only, cut at the edge of the terminal: which rule, how many
tasks, which ones, and why.
"""

from __future__ import annotations

from pathlib import Path

import taskchaos.faults
import taskchaos.harness
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult
from taskchaos.harness.report.phrases import SAMPLES_NAMED, causes_of, complaints, cut, demand, figure, one_line

#: How long the first line may be.
_LONGEST = 200
#: Rules whose figure is a number of tasks out of all that were acknowledged.
_OF_ALL = frozenset({Rule.LOST, Rule.DURABILITY, Rule.STUCK})


def failure_text(case: CaseResult) -> str:
    """The message for pytest: the worst rule in the first line, below it all that failed, and how to run it again."""
    expected = f"{case.id}: expected {case.expected}, found {case.outcome}"
    if case.trouble:
        lines = [one_line(case.error) or case.trouble.value, case.id]
    elif case.outcome is Outcome.FAIL:
        lines = [headline(case), expected]
    else:
        lines = [expected]  # a control that passed, or a verdict that is unknown
    if not case.trouble:
        lines += _found(case)
    return "\n".join([*lines, f"again: {case.replay}"])


def headline(case: CaseResult) -> str:
    """`lost: 3 of 132 (op-42, op-76, op-80): ` and its likely cause. Of a case that failed a rule.

    A rule that the subject was expected to fail comes last.
    """
    surprising = [rule for rule in case.failed_rules if rule not in case.expected.must | case.expected.may]
    worst = next(iter(surprising or case.failed_rules))
    rule = next(one for one in case.rules if one.rule is worst)
    text = f"{rule.rule}: {_figure(case, rule)}"
    likely = next((cause.text for cause in causes_of(case, worst)), "")
    return cut(one_line(f"{text}: {likely}" if likely else text), _LONGEST)


def _figure(case: CaseResult, rule: RuleResult) -> str:
    ops = list(dict.fromkeys(sample.op for sample in rule.samples if sample.op is not None))
    of_all = f" of {case.operations.acknowledged:,}" if rule.rule in _OF_ALL else ""
    if not ops:
        return f"{figure(rule.observed)}{of_all}, has to be {demand(rule)}"
    named = [f"op-{op}" for op in ops[:SAMPLES_NAMED]] + ["..."] * (max(rule.found, len(ops)) > SAMPLES_NAMED)
    return f"{figure(rule.observed)}{of_all} ({', '.join(named)})"


def _found(case: CaseResult) -> list[str]:
    lines = []
    for one in complaints(case):
        if one.outcome is case.outcome:
            observed = "" if one.observed is None else f", observed {figure(one.observed)}"
            lines.append(f"{one.named}{observed}: {one.reason}")
            lines += [f"  {text}" for text in (one.findings, one.remark) if text]
            lines += [f"  likely cause, {cause}" for cause in one.causes]
    return lines


#: What refuses a value that a suite gives is below these.
_OURS = tuple(str(Path(package.__path__[0]).resolve()) for package in (taskchaos.faults, taskchaos.harness))


def end_at_the_user(error: BaseException) -> None:
    """Let the traceback of a value that we refuse end at the line of the user's that gave it."""
    if not isinstance(error, ValueError):
        return
    last, frame = None, error.__traceback__
    innermost = ""
    while frame is not None:
        innermost = frame.tb_frame.f_code.co_filename
        if innermost != "<string>" and not innermost.startswith(_OURS):  # <string>: the __init__ of a dataclass
            last = frame
        frame = frame.tb_next
    if last is not None and innermost.startswith(_OURS):
        last.tb_next = None
