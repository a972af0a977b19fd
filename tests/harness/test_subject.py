"""Subjects are found by name, module or file, and what is wrong with one is said in one line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from taskchaos.harness.case.subject_loading import conformance, dry_run, resolve
from taskchaos.harness.case.subject_names import registered
from taskchaos.harness.contract import Contract
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.subject import CelerySubject, Subject

NAMES = [i.name for i in registered()]


@pytest.mark.parametrize("wait_s", [float("nan"), float("inf"), -1.0, 1e308, "4"])
def test_a_wait_that_is_no_duration_is_refused(wait_s: object) -> None:
    subject = type("Odd", (CelerySubject,), {"name": "odd", "longest_wait_s": wait_s})()
    assert any("longest_wait_s" in problem for problem in conformance(subject))


def test_a_subject_that_claims_nothing_is_refused() -> None:
    subject = type("Shy", (CelerySubject,), {"name": "shy", "contract": Contract(frozenset())})()
    assert conformance(subject) == ("claims nothing, so nothing it does could fail: claim Claim.NO_LOSS at least",)


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_subject_can_be_used(name: str) -> None:
    subject = resolve(name)
    assert isinstance(subject, Subject)
    assert subject.name == name
    assert dry_run(subject) == ()


def test_a_subject_is_found_by_module_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from taskchaos.harness.subject import CelerySubject\nclass Mine(CelerySubject):\n    name = 'mine'\n"
    )
    assert resolve(f"{path}:Mine").name == "mine"
    assert resolve("taskchaos.suites.subjects.stock:Defaults").name == "stock_defaults"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no\\nluck')", "importing it raised RuntimeError: no luck"),
        ("import sys; sys.exit(3)", "importing it raised SystemExit: 3"),
        ("def broken(:", "importing it raised SyntaxError"),
        ("x = 1", "has no 'Mine'"),
        ("class Mine:\n    def __init__(self): raise ValueError('x')", r"Mine\(\) raised ValueError: x"),
        ("class Mine: pass", r"lacks install\(\), register\(\), submit\(\)"),
    ],
)
def test_a_subject_that_cannot_be_made_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(source))
    with pytest.raises(UsageError, match=message) as raised:
        resolve(f"{path}:Mine")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "spec", ["nosuch", "no.such.module:X", "/no/such/file.py:X", "taskchaos.suites.subjects.stock:Nosuch"]
)
def test_a_subject_that_does_not_exist_is_an_error(spec: str) -> None:
    with pytest.raises(UsageError):
        resolve(spec)


class _RegistersNothing(CelerySubject):
    name = "registers_nothing"

    def register(self, app: object, body: object) -> object:
        return None


class _InstallRaises(CelerySubject):
    name = "install_raises"

    def install(self, app: object, settings: object) -> None:
        raise KeyError("broker")


def test_a_dry_run_finds_what_an_import_does_not() -> None:
    assert dry_run(_RegistersNothing()) == ("register() has to return a Celery task (it has no apply_async)",)
    (raised,) = dry_run(_InstallRaises())
    assert raised.startswith("install() raised KeyError: 'broker' (test_subject.py:"), "and where"


def test_the_longer_expectation_wins() -> None:
    class Both(CelerySubject):
        expectations = {
            "suite": Expectation(must=frozenset({Rule.LOST})),
            "suite.scenario": Expectation(may=frozenset({Rule.STUCK})),
        }

    assert Both().expectation("suite", "other").must == {Rule.LOST}
    assert Both().expectation("suite", "scenario").may == {Rule.STUCK}
    assert Both().expectation("elsewhere", "x") == Expectation()


@pytest.mark.parametrize(
    ("expectation", "outcome", "failed", "met"),
    [
        (Expectation(), Outcome.PASS, set(), True),
        (Expectation(), Outcome.FAIL, {Rule.LOST}, False),
        (Expectation(), Outcome.UNKNOWN, set(), False),
        (Expectation(must=frozenset({Rule.LOST})), Outcome.PASS, set(), False),
        (Expectation(must=frozenset({Rule.LOST})), Outcome.FAIL, {Rule.LOST}, True),
        (Expectation(must=frozenset({Rule.LOST})), Outcome.FAIL, {Rule.LOST, Rule.STUCK}, False),
        (
            Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.STUCK})),
            Outcome.FAIL,
            {Rule.LOST, Rule.STUCK},
            True,
        ),
        (Expectation(may=frozenset({Rule.LOST})), Outcome.PASS, set(), True),
    ],
)
def test_a_verdict_meets_the_expectation_or_not(
    expectation: Expectation, outcome: Outcome, failed: set[Rule], met: bool
) -> None:
    assert expectation.met(outcome, frozenset(failed)) is met
