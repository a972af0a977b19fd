"""junit.xml: one testsuite per suite, one testcase per case, numbers and the replay line as properties.

An expected failure of a control is a passed testcase: CI marks red only what somebody has to look at. Red are
findings (`failure`) and what has no verdict (`error`), each with a `type` by which CI tools group them; a case that an
interrupted run did not come to is skipped. What no case tells is in the testsuite `taskchaos`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from taskchaos.harness.record.result import CaseResult, FailedTest, RunResult
from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report import overall
from taskchaos.harness.report.phrases import Assessment, complaints, explain, standing

#: Attributes of Throughput that become properties.
_RATES = ("baseline_tps", "fault_tps", "healed_tps", "recovery_s", "target_tps")
#: How a standing is told; what is not here is a passed testcase.
_TAGS: Mapping[Assessment, str] = {
    Assessment.FAILED: "failure",
    Assessment.MISSED: "failure",
    Assessment.STACK: "error",
    Assessment.SUBJECT: "error",
    Assessment.SUITE: "error",
    Assessment.UNKNOWN: "error",
    Assessment.INTERRUPTED: "skipped",
}
_RUN = "taskchaos"  # the testsuite of what no case tells


def dumps(result: RunResult) -> str:
    """The text of junit.xml."""
    suites: dict[str, list[ET.Element]] = {}
    for case in result.cases:
        suites.setdefault(case.suite, []).append(_case(case))
    testsuites = [_suite(name, cases, result.started) for name, cases in suites.items()]
    if result.left_out:
        testsuites.append(_suite("left out", [_left_out(one.id, one.reason) for one in result.left_out]))
    red = any(suite.get(key) != "0" for suite in testsuites for key in ("failures", "errors"))
    whole = [_failed_test(test) for test in result.failed_tests]
    whole += _whole_run(result, red=red or bool(whole))
    if whole:
        testsuites.append(_suite(_RUN, whole))
    root = ET.Element("testsuites", name="taskchaos")
    root.extend(testsuites)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in testsuites)))
    root.set("time", _time(result.wall_s))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, testcases: list[ET.Element], started: str = "") -> ET.Element:
    counts = {tag: sum(case.find(tag) is not None for case in testcases) for tag in ("failure", "error", "skipped")}
    suite = ET.Element(
        "testsuite",
        name=_legal(name),
        tests=str(len(testcases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=_time(sum(float(case.get("time", "0")) for case in testcases)),
    )
    if started:
        suite.set("timestamp", _legal(started))
    suite.extend(testcases)
    return suite


def _testcase(classname: str, name: str, wall_s: float = 0.0) -> ET.Element:
    return ET.Element("testcase", classname=_legal(classname), name=_legal(name), time=_time(wall_s))


def _time(value: float) -> str:
    return f"{value if math.isfinite(value) else 0.0:.3f}"


def _case(case: CaseResult) -> ET.Element:
    element = _testcase(case.suite, case.id.removeprefix(f"{case.suite}."), case.wall_s)
    _properties(element, case)
    tag = _TAGS.get(standing(case))
    if tag is None:
        ET.SubElement(element, "system-out").text = _legal(explain(case))
    elif tag == "skipped":
        ET.SubElement(element, tag, message=_legal(explain(case)))
    else:
        element.append(_finding(tag, case))
    return element


def finding_type(case: CaseResult) -> str:
    """A short name of what went wrong, by which CI tools group failures and errors."""
    kind = standing(case)
    if kind not in (Assessment.FAILED, Assessment.MISSED):
        return kind.value
    if case.assertion:
        return "assertion"
    if case.outcome is Outcome.PASS:
        return "control_passed"
    return ",".join(r.value for r in case.failed_rules) or "unexpected"


def facts(case: CaseResult) -> dict[str, str]:
    """What a case's verdict says in names and values; the JUnit file of a pytest session has them too."""
    found: dict[str, object] = {
        "seed": case.seed,
        "subject": case.subject,
        "outcome": case.outcome.value,
        "expected": str(case.expected),
        **({"replay": case.replay} if case.replay else {}),
        **({"failed": ", ".join(case.failed_rules)} if case.failed_rules else {}),
    }
    found.update({rule.rule.value: rule.observed for rule in case.rules if rule.rule in case.failed_rules})
    found.update({name: value for name in _RATES if (value := getattr(case.throughput, name)) is not None})
    found.update({name: getattr(case.operations, name) for name in ("submitted", "acknowledged", "effects", "dead")})
    return {name: _legal(str(value)) for name, value in found.items() if value is not None}


def _properties(element: ET.Element, case: CaseResult) -> None:
    properties = ET.SubElement(element, "properties")
    for name, value in facts(case).items():
        ET.SubElement(properties, "property", name=name, value=value)


def _finding(tag: str, case: CaseResult) -> ET.Element:
    lines = [explain(case), f"expected: {case.expected}, outcome: {case.outcome}"]
    for one in complaints(case, limit=8):
        observed = "" if one.observed is None else f", observed {one.observed}"
        lines.append(f"{one.outcome} {one.what}{observed}: {one.reason}")
        lines += [f"  {text}" for text in (one.findings, one.remark) if text]
        lines += [f"  likely cause, {cause}" for cause in one.causes]
    lines += [f"again: {case.replay}"] if case.replay else []
    return _red(tag, finding_type(case), explain(case), lines)


def _red(tag: str, kind: str, message: str, lines: Iterable[str]) -> ET.Element:
    element = ET.Element(tag, type=kind, message=_legal(message))
    element.text = _legal("\n".join(lines))
    return element


def _failed_test(test: FailedTest) -> ET.Element:
    """A test without a case, or a file that could not be collected."""
    file, _, name = test.test.partition("::")
    element = _testcase(file, name or "collection")
    tag, kind = ("failure", "assertion") if test.assertion else ("error", "test" if test.collected else "collection")
    element.append(_red(tag, kind, overall.about_test(test).sentence, [test.reason]))
    return element


def _whole_run(result: RunResult, *, red: bool) -> list[ET.Element]:
    """The testcase of the run itself, if there is something to say: a run that is not green needs a red testcase."""
    said = [one for one in overall.remarks(result) if not one.about]
    grave = [one.sentence for one in said if one.kind]
    lacks = [f"{m.id}: {m.reason}" for m in result.incomplete]
    element = _testcase(_RUN, "run", 0.0)
    if grave or lacks or result.interrupted or (result.exit_code and not red):
        message = grave[0] if grave else f"exit code {result.exit_code}: {overall.meaning(result)}"
        if lacks:
            message = f"incomplete, {overall.incomplete_phrase(result)} missing"
        element.append(_red("error", "run", message, [*lacks, *grave]))
    elif not said:
        return []
    if notes := [one.sentence for one in said if not one.kind]:
        ET.SubElement(element, "system-out").text = _legal("\n".join(notes))
    return [element]


def _left_out(name: str, reason: str) -> ET.Element:
    suite, _, rest = name.partition(".")
    element = _testcase(suite, rest)
    ET.SubElement(element, "skipped", message=_legal(reason))
    return element


def _legal(text: str) -> str:
    """The text without what XML 1.0 cannot hold."""
    return "".join(c if _is_legal(ord(c)) else "?" for c in text)


def _is_legal(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
