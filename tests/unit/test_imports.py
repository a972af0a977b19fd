"""Imports point down only: suites -> harness -> faults; locked_retry and faults stand alone; nothing imports suites."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("locked_retry", "faults", "harness", "suites")
ALLOWED = {
    "locked_retry": {"locked_retry"},
    "faults": {"faults"},
    "harness": {"harness", "faults"},
    "suites": {"suites", "harness", "faults", "locked_retry"},
}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.split(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, f"no files in {room}"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in _imports(path)
        if name in ROOMS and name not in ALLOWED[room]
    ]
    assert wrong == []


def test_importing_the_pytest_plugin_is_cheap() -> None:
    """The plugin loads in every pytest of an environment: it may not drag the harness in."""
    source = (ROOT / "harness" / "pytest_plugin.py").read_text()
    tree = ast.parse(source)
    top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = {n.module.split(".")[0] if isinstance(n, ast.ImportFrom) and n.module else "" for n in top}
    assert not names & {"harness", "faults", "celery", "redis"}


ROLES = """
import sys
import harness.stack.container, harness.ledger_tail
from harness.stack.zygote import import_celery
import_celery()
tops = {name.partition(".")[0] for name in sys.modules}
print(*sorted(tops & {"faults", "requests", "toxiproxy", "docker", "pytest"}))
"""


def test_roles_import_nothing_that_an_image_of_workers_has_not() -> None:
    """A worker's image has Celery and redis-py; and what a zygote imports costs each run its time."""
    done = subprocess.run([sys.executable, "-c", ROLES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_uses_stale_names_of_layout() -> None:
    assert {p.name for p in ROOT.iterdir() if p.is_dir()} >= {*ROOMS, "tests", "bench", "docs"}
