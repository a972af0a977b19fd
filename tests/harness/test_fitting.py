"""Text that is made to fit is cut between words."""

from __future__ import annotations

import io
import os

import pytest

from taskchaos.harness.fitting import columns_of, fit, size_of


@pytest.mark.parametrize(
    ("parts", "between", "columns", "text"),
    [
        (["one", "two", "three"], " ", 20, "one two three"),
        (["one", "two", "three"], " ", 10, "one two …"),
        (["one: a", "two: b"], ", ", 10, "one: a, …"),
        (["transient_error.once: drain"], ", ", 24, "transient_error.once …"),
        (["transient_error"], " ", 9, "transien…"),
        (["one"], " ", 1, "…"),
        (["one"], " ", 0, ""),
        (["日本", "日本"], " ", 6, "日本 …"),
        ([], " ", 6, ""),
    ],
)
def test_words_are_cut_whole(parts: list[str], between: str, columns: int, text: str) -> None:
    assert fit(parts, between, columns) == text
    assert columns_of(text) <= columns


def test_what_stands_for_the_rest_may_be_ascii() -> None:
    assert fit(["one", "two"], " ", 7, "...") == "one two"
    assert fit(["one", "two", "three"], " ", 9, "...") == "one ..."


def test_columns_are_those_of_letters() -> None:
    assert [columns_of(text) for text in ("", "abc", "日本x", "e\u0301")] == [0, 3, 5, 1]


def test_without_a_terminal_the_size_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "71")
    monkeypatch.setenv("LINES", "17")
    assert size_of(io.StringIO(), (100, 24)) == os.terminal_size((71, 17))


@pytest.mark.parametrize(("told", "columns"), [("", 80), ("60", 60), ("120", 80), ("0", 80), ("many", 80)])
def test_columns_can_make_a_terminal_narrower_and_not_wider(
    monkeypatch: pytest.MonkeyPatch, told: str, columns: int
) -> None:
    """What is wider than the terminal would be wrapped."""
    monkeypatch.setenv("COLUMNS", told)
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _=0: os.terminal_size((80, 24)))

    class Tty(io.StringIO):
        def fileno(self) -> int:
            return 1

    assert size_of(Tty(), (100, 24)).columns == columns
