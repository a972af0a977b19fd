"""The sabotage matrix: whatever a suite or a subject does, no front end says that it passed.

What cannot disturb its neighbours shares a run with them, and with something sound that has to pass beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from breakages import CHANGES, HEAD, ONE_OF_EACH_KIND, PROJECTS, SUBJECTS, SUITE, TESTS, BadProject, BadSubject, Comes
from honesty_support import Came, Front, assert_no_pass, through

pytestmark = pytest.mark.usefixtures("linux")
fronts = pytest.mark.parametrize("front", list(Front), ids=lambda front: front.name.lower())
SOUND = "stock_best"


def _case(came: Came, name: str) -> dict[str, Any]:
    found = [case for case in came.verdict["cases"] if case["id"] == name]
    assert len(found) == 1, f"{name}: {[case['id'] for case in came.verdict['cases']]}"
    return dict(found[0])


def _wrong(came: Came, name: str, comes: Comes, says: str) -> Iterator[str]:
    """What is not as it should be about a case."""
    case = _case(came, name)
    if case["as_expected"]:
        yield f"{name}: is as expected"
    if comes is Comes.FAIL:
        if not case["assertion"] and case["outcome"] != "fail":
            yield f"{name}: is {case['outcome']} {case['error']}"
    elif case["outcome"] != "unknown":
        yield f"{name}: is {case['outcome']}, not unknown"
    trouble = None if comes in (Comes.FAIL, Comes.UNKNOWN) else comes.value
    if case["trouble"] != trouble:
        yield f"{name}: {case['trouble']} {case['error']}, not {trouble}"
    if says not in str(case):
        yield f"{name}: does not say {says!r}, but {case['error'] or [r['reason'] for r in case['rules']][:13]}"


@fronts
def test_a_lying_subject_never_passes(tmp_path: Path, front: Front) -> None:
    """All of them side by side; through the other front ends one of each kind."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    subjects = [bad for bad in SUBJECTS if front is Front.SIDE_BY_SIDE or bad.name in ONE_OF_EACH_KIND]
    specs = [bad.write(tmp_path) for bad in subjects]
    came = through(front, tmp_path, ["test_suite.py"], [*specs, SOUND], parallel=4)
    assert_no_pass(came)
    wrong = [text for bad in subjects for text in _wrong(came, f"suite.small.{bad.name}", bad.comes, bad.says)]
    assert wrong == [], came.out
    assert _case(came, f"suite.small.{SOUND}")["outcome"] == "pass", came.out
    assert came.code == 1, "some of them lose tasks, which is more than a doubt"


@pytest.mark.parametrize("bad", CHANGES, ids=lambda bad: bad.name)
@pytest.mark.parametrize("front", [Front.ALONE, Front.PYTEST], ids=lambda front: front.name.lower())
def test_a_harness_that_was_tampered_with_never_passes(
    tmp_path: Path, bad: BadSubject, front: Front, monkeypatch: pytest.MonkeyPatch, other_redis: int
) -> None:
    monkeypatch.setenv("TASKCHAOS_TEST_OTHER_REDIS", str(other_redis))
    (tmp_path / "test_suite.py").write_text(SUITE)
    came = through(front, tmp_path, ["test_suite.py"], [bad.write(tmp_path)])
    assert_no_pass(came)
    assert list(_wrong(came, f"suite.small.{bad.name}", bad.comes, bad.says)) == [], came.out
    assert front is Front.PYTEST or came.code == (3 if bad.comes is Comes.STACK else 2), came.out


@fronts
def test_a_broken_test_never_passes(tmp_path: Path, front: Front) -> None:
    (tmp_path / "test_suite.py").write_text("\n\n".join([SUITE, *(bad.source for bad in TESTS)]))
    came = through(front, tmp_path, ["test_suite.py"], [SOUND], parallel=4)
    assert_no_pass(came)
    wrong = []
    for bad in TESTS:
        if bad.comes is not None:
            wrong += list(_wrong(came, f"suite.{bad.name}.{SOUND}", bad.comes, bad.says))
            continue
        told = [t for t in came.verdict["failed_tests"] if t["test"].endswith(f"::test_{bad.name}")]
        if [(t["assertion"], bad.says in t["reason"]) for t in told] != [(bad.assertion, True)]:
            wrong.append(f"{bad.name}: {told}")
    assert wrong == [], came.out
    assert _case(came, f"suite.small.{SOUND}")["outcome"] == "pass", came.out
    assert came.code == 1, came.out


@fronts
@pytest.mark.parametrize("bad", PROJECTS, ids=lambda bad: bad.name)
def test_a_broken_project_never_passes(tmp_path: Path, bad: BadProject, front: Front) -> None:
    if front in bad.not_by:
        pytest.skip("the process that ends is pytest's own: only `taskchaos run` has somebody who knows")
    files = {"test_suite.py": SUITE, "subject.py": HEAD.replace("@NAME@", "sound"), **bad.files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    tests = [name for name in files if name.rpartition("/")[2].startswith("test_")]
    came = through(front, tmp_path, tests, ["subject.py:Subject", SOUND])
    assert_no_pass(came)
    code, says = bad.other.get(front, (bad.code, bad.says))
    assert says in came.said, came.out
    assert front is Front.PYTEST or came.code == code, came.out


@fronts
def test_what_is_sound_passes_through_every_front_end(tmp_path: Path, front: Front) -> None:
    """The twin of all of the above: the matrix can tell."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "subject.py").write_text(HEAD.replace("@NAME@", "sound"))
    came = through(front, tmp_path, ["test_suite.py"], ["subject.py:Subject", SOUND])
    assert came.code == 0, came.out
    assert came.verdict["outcome"] == "pass"
