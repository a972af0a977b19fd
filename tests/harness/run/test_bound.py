"""How many cases a run can have at most: too many workers are waste, and too few only where it is certain."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository import ROOT

from taskchaos.harness.profile import PROFILES
from taskchaos.harness.run.bound import most_cases

QUICK, NIGHTLY = PROFILES["quick"], PROFILES["nightly"]
ONE = "def test_one(chaos):\n    pass\n"


def bound(folder: Path, source: str, profile_name: str = "quick", subjects: int = 2) -> int | None:
    (folder / "test_suite.py").write_text(source)
    return most_cases([str(folder / "test_suite.py")], subjects, PROFILES[profile_name])


@pytest.mark.parametrize(
    ("source", "most"),
    [
        (ONE, 2),
        (ONE + "async def test_two(chaos):\n    pass\ndef helper():\n    pass\n", 4),
        (ONE + "@pytest.mark.chaos_depth('default')\ndef test_deep(chaos):\n    pass\n", 2),
        (ONE + "@pytest.mark.chaos_depth('quick')\ndef test_two(chaos):\n    pass\n", 4),
        (ONE + "@pytest.mark.chaos_depth(DEPTH)\ndef test_two(chaos):\n    pass\n", 4),
        ("", 0),
        ("@pytest.mark.parametrize('n', range(9))\n" + ONE, None),
        ("@decorated\n" + ONE, None),
        ("def test_one(chaos, chaos_seed):\n    pass\n", None),
        ("class TestMine:\n    def test_one(self, chaos):\n        pass\n", None),
        ("def broken(:\n", None),
        ("\0", None),
    ],
)
def test_tests_are_counted_where_they_can_be(tmp_path: Path, source: str, most: int | None) -> None:
    assert bound(tmp_path, source) == most


def test_a_deeper_profile_has_more(tmp_path: Path) -> None:
    deep = ONE + "@pytest.mark.chaos_depth('default')\ndef test_deep(chaos):\n    pass\n"
    assert (bound(tmp_path, deep), bound(tmp_path, deep, "nightly")) == (2, 4)


def test_what_is_no_file_is_not_counted(tmp_path: Path) -> None:
    assert bound(tmp_path, ONE) == 2
    for path in (tmp_path, tmp_path / "none.py", f"{tmp_path / 'test_suite.py'}::test_one"):
        assert most_cases([str(path)], 1, QUICK) is None


def test_the_suites_that_ship_have_few_quick_cases() -> None:
    """A run of one of them against one subject needs no other process."""
    suites = [str(ROOT / "suites" / f"test_{name}.py") for name in ("worker_kill", "partition", "transient_error")]
    assert [most_cases([path], 1, QUICK) for path in suites] == [1, 1, 1]
    assert most_cases(suites[:1], 1, NIGHTLY) == 6
