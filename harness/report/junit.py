"""junit.xml: one testsuite per suite, one testcase per case, numbers and the replay line as properties.

An expected failure of a control is a passed testcase: CI marks red only what somebody has to look at.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from harness.report.files import replace_text
from harness.report.wording import (
    Standing,
    exit_phrase,
    explain,
    incomplete_phrase,
    samples_phrase,
    standing,
    surprises,
)
from harness.result import CaseResult, RunResult
from harness.verdict import Outcome

#: Attributes of Throughput that become properties.
_RATES = ("baseline_tps", "fault_tps", "healed_tps", "recovery_s", "target_tps")


def dumps(result: RunResult) -> str:
    """The text of junit.xml."""
    suites: dict[str, list[CaseResult]] = {}
    for case in result.cases:
        suites.setdefault(case.suite, []).append(case)
    root = ET.Element("testsuites", name="taskchaos")
    for name, cases in suites.items():
        root.append(_suite(name, cases, result))
    if result.left_out:
        root.append(_left_out(result))
    if result.incomplete or (result.exit_code and not surprises(result.cases)):
        root.append(_run_suite(result))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    root.set("time", f"{result.wall_s:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write(result: RunResult, path: Path) -> None:
    """Write junit.xml."""
    replace_text(path, dumps(result))


def _suite(name: str, cases: list[CaseResult], result: RunResult) -> ET.Element:
    kinds = [standing(c) for c in cases]
    suite = ET.Element(
        "testsuite",
        name=_legal(name),
        tests=str(len(cases)),
        failures=str(sum(k in (Standing.FAILED, Standing.MISSED) for k in kinds)),
        errors=str(sum(k in (Standing.UNKNOWN, Standing.STACK) for k in kinds)),
        skipped="0",
        time=f"{sum(c.wall_s for c in cases):.3f}",
    )
    if result.started:
        suite.set("timestamp", _legal(result.started))
    for case in cases:
        suite.append(_case(case))
    return suite


def _case(case: CaseResult) -> ET.Element:
    name = case.id.removeprefix(f"{case.suite}.")
    element = ET.Element("testcase", classname=_legal(case.suite), name=_legal(name), time=f"{case.wall_s:.3f}")
    _properties(element, case)
    kind = standing(case)
    if kind in (Standing.FAILED, Standing.MISSED):
        element.append(_finding("failure", failure_type(case), case))
    elif kind is Standing.UNKNOWN:
        element.append(_finding("error", "unknown", case))
    elif kind is Standing.STACK:
        element.append(_finding("error", "stack", case))
    else:
        ET.SubElement(element, "system-out").text = _legal(explain(case))
    return element


def failure_type(case: CaseResult) -> str:
    """A short name of what went wrong, by which CI tools group failures."""
    if case.outcome is Outcome.PASS:
        return "control_passed"
    return ",".join(r.value for r in case.failed_rules) or "unexpected"


def _properties(element: ET.Element, case: CaseResult) -> None:
    facts: dict[str, object] = {
        "seed": case.seed,
        "subject": case.subject,
        "outcome": case.outcome.value,
        "expected": case.expected,
        "replay": case.replay,
    }
    facts.update({name: value for name in _RATES if (value := getattr(case.throughput, name)) is not None})
    facts.update({name: getattr(case.operations, name) for name in ("submitted", "acknowledged", "effects", "dead")})
    properties = ET.SubElement(element, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_legal(str(value)))


def _finding(tag: str, kind: str, case: CaseResult) -> ET.Element:
    element = ET.Element(tag, type=kind, message=_legal(explain(case)))
    lines = [explain(case), f"expected: {case.expected}, outcome: {case.outcome}"]
    for rule in case.rules:
        if rule.outcome in (Outcome.FAIL, Outcome.UNKNOWN):
            lines.append(f"{rule.outcome} {rule.expression}, observed {rule.observed}: {rule.reason}")
            if rule.samples:
                lines.append(f"  {samples_phrase(rule.samples, limit=8)}")
    lines.append(f"again: {case.replay}")
    element.text = _legal("\n".join(lines))
    return element


def _run_suite(result: RunResult) -> ET.Element:
    """Says what no case says (usage error, interrupted, incomplete): a run that is not green needs a red testcase."""
    message = f"exit code {result.exit_code}: {exit_phrase(result.exit_code)}"
    if result.incomplete:
        message = f"incomplete, {incomplete_phrase(result)} missing"
    suite = ET.Element("testsuite", name="taskchaos", tests="1", failures="0", errors="1", skipped="0", time="0.000")
    case = ET.SubElement(suite, "testcase", classname="taskchaos", name="run", time="0.000")
    error = ET.SubElement(case, "error", type="run", message=message)
    if result.incomplete:
        error.text = _legal("\n".join(f"{m.id}: {m.reason}" for m in result.incomplete))
    return suite


def _left_out(result: RunResult) -> ET.Element:
    count = str(len(result.left_out))
    suite = ET.Element("testsuite", name="left out", tests=count, failures="0", errors="0", skipped=count, time="0.000")
    for one in result.left_out:
        suite_name, _, name = one.id.partition(".")
        case = ET.SubElement(suite, "testcase", classname=_legal(suite_name), name=_legal(name), time="0.000")
        ET.SubElement(case, "skipped", message=_legal(one.reason))
    return suite


def _legal(text: str) -> str:
    """The text without what XML 1.0 cannot hold."""
    return "".join(c if _is_legal(ord(c)) else "?" for c in text)


def _is_legal(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
