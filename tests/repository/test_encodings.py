"""Every text file is opened with its encoding: what is read and written may not depend on the user's locale."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

ROOMS = ("harness", "faults", "locked_retry", "suites")


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def _without_encoding(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {word.arg for word in call.keywords}
    if name in ("read_text", "write_text"):
        return "encoding" not in given and len(call.args) <= (1 if name == "write_text" else 0)
    if name not in ("open", "fdopen") or (isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "os.open"):
        return False
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    opens_text = any(mode.strip("+") in ("r", "w", "a", "x") for mode in modes) or (name == "open" and not call.args)
    return opens_text and "encoding" not in given


@pytest.mark.parametrize("room", ROOMS)
def test_no_text_file_is_opened_without_its_encoding(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno} {ast.unparse(call)[:80]}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for call in _calls(path)
        if _without_encoding(call)
    ]
    assert found == []
