"""Shared by all tests: what a machine lacks is skipped with the reason, or fails when CHAOS_REQUIRE names it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

import pytest


def pytest_collection_finish() -> None:
    """Thousands of tests are a million objects that stay: no collection of garbage has to walk over them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def require() -> Callable[[str, bool, str], None]:
    """`require("linux", holds, why)`: skip with `why` unless it holds; fail instead when CHAOS_REQUIRE names it."""

    def check(what: str, holds: bool, why: str) -> None:
        if holds:
            return
        if what in os.environ.get("CHAOS_REQUIRE", "").split(","):
            pytest.fail(f"CHAOS_REQUIRE names {what}, but {why}")
        pytest.skip(why)

    return check


@pytest.fixture(autouse=True)
def _plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output is compared, so the terminal of whoever runs the tests must not matter."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    # A test that is killed must not leave a janitor that takes the outer run for its own.
    monkeypatch.delenv("TASKCHAOS_OWNER", raising=False)


@pytest.fixture(scope="session")
def linux() -> None:
    """The local stack reads /proc."""
    if sys.platform != "linux":
        pytest.skip("the local stack needs /proc: Linux only")
