"""The tests of the contract run against a real Toxiproxy as well, where CHAOS_TOXIPROXY says where one is."""

import os
from collections.abc import Callable
from pathlib import Path

from differences import DIFFERENCES


def test_the_contract_is_held_against_a_real_toxiproxy(require: Callable[[str, bool, str], None]) -> None:
    path = os.environ.get("CHAOS_TOXIPROXY", "")
    require("toxiproxy", os.access(path, os.X_OK), "CHAOS_TOXIPROXY is not the path of a Toxiproxy server")


def test_each_difference_is_a_test() -> None:
    """The table must not outlive what it explains."""
    sources = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    for difference in DIFFERENCES:
        assert f"def {difference.test}(" in sources, difference.test
        assert difference.reason
