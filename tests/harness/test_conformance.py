"""What an object lacks as a subject is said before anything is run with it: its name, its expectations, its figures."""

from __future__ import annotations

from typing import Any

import pytest

from taskchaos.harness.case.expectations import expectation_of
from taskchaos.harness.case.subject_loading import conformance
from taskchaos.harness.errors import SubjectError
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import CelerySubject

LOST = Expectation(must=frozenset({Rule.LOST}))
#: Of each attribute: what it may be, what it may not be, and what is said then.
ATTRIBUTES: dict[str, tuple[list[Any], list[Any], str]] = {
    "name": (
        ["a", "my retry", "größer", "x" * 60, "a.b:c-d_e"],
        ["", " ", "x" * 61, "x" * 500, "a/b", "a\\b", "/", "a\nb", "a\tb", "\ud800", None, 5, b"a"],
        "`name`",
    ),
    "expectations": (
        [{}, {"worker_kill": LOST, "partition.refused": LOST}],
        [5, None, "x", [LOST], {"worker_kill": 5}, {5: LOST}, {"worker_kill": {Rule.LOST}}],
        "`expectations`",
    ),
    "only_in": (["", "worker_kill.tree"], [5, None, ["worker_kill"]], "`only_in`"),
    "contract": ([], [None, 5, {"claims": []}], "`contract`"),
    "commands": ([], [None, "BRPOP", {"pop": "BRPOP"}], "`commands`"),
    "longest_wait_s": (
        [0, 4, 4.5],
        [-1, float("nan"), float("inf"), 1e308, 10**5000, True, "4", None],
        "`longest_wait_s`",
    ),
}


def rows(which: int) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, row in ATTRIBUTES.items()
        for number, value in enumerate(row[which])
    ]


def subject(name: str, value: object) -> CelerySubject:
    made = CelerySubject()
    made.__dict__.update({"name": "mine", name: value})
    return made


@pytest.mark.parametrize(("name", "value"), rows(0))
def test_what_a_subject_may_say_of_itself(name: str, value: object) -> None:
    assert conformance(subject(name, value)) == ()


@pytest.mark.parametrize(("name", "value"), rows(1))
def test_what_a_subject_may_not_say_of_itself(name: str, value: object) -> None:
    (problem,) = conformance(subject(name, value))
    assert ATTRIBUTES[name][2] in problem and "\n" not in problem and len(problem) < 300


@pytest.mark.parametrize("returned", [None, 5, "pass", frozenset({Rule.LOST}), {"must": []}, Expectation])
def test_what_is_returned_as_an_expectation_and_is_none(returned: object) -> None:
    made = subject("expectation", lambda suite, scenario: returned)
    with pytest.raises(SubjectError, match=r"^subject mine: expectation\(\) has to return an Expectation, not [^\n]+$"):
        expectation_of(made, "worker_kill", "tree")


@pytest.mark.parametrize("error", [ValueError("hm\nhm"), KeyError("x"), SystemExit(0), KeyboardInterrupt()])
def test_what_is_raised_for_an_expectation(error: BaseException) -> None:
    def expectation(suite: str, scenario: str) -> Expectation:
        raise error

    with pytest.raises(SubjectError, match=r"^subject mine: expectation\(\) raised \w+[^\n]*in expectation\)$"):
        expectation_of(subject("expectation", expectation), "worker_kill", "tree")


def test_an_expectation_is_passed_on() -> None:
    assert expectation_of(subject("expectations", {"worker_kill": LOST}), "worker_kill", "tree") == LOST
