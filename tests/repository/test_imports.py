"""Imports point down only: suites -> harness -> faults; locked_retry and faults stand alone; nothing imports suites."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

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
            yield from ((node.lineno, _room(alias.name)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, _room(name)) for name in names)


def _room(module: str) -> str:
    """`harness` of taskchaos.harness.cli; else the top of its name."""
    return module.removeprefix("taskchaos.").split(".")[0]


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


#: The wings of a package, from below: each imports only those before it. Files beside the folders have a place too.
WINGS = {
    "locked_retry": (
        {"backoff", "budget", "clock", "lease", "limits", "log", "options", "text"},
        {"broker"},
        {"worker"},
        {"adapter"},
        {"producer"},
        {"operator"},
        {"__init__", "__main__", "django", "fencing", "task"},
    ),
    "taskchaos.harness": (
        {
            "__init__",
            "backoff",
            "clock",
            "codec",
            "contract",
            "errors",
            "files",
            "fitting",
            "profile",
            "subject_calls",
            "verbosity",
            "versions",
            "workload",
        },
        {"record"},
        {"subject"},
        {"case", "suite_paths"},
        {"checker"},
        {"judge"},
        {"stack"},
        {"conduct"},
        {"report"},
        {"run"},
        {"serve"},
        {"pytest"},
        {"cli", "catalogue", "scaffold", "start", "templates"},
    ),
    "taskchaos.faults.proxy": (
        {"errors", "gojson", "lag", "options", "timers"},
        {"toxics"},
        {"tcp"},
        {"redis"},
        {"collection", "metrics", "proxy"},
        {"api"},
        {"__init__", "__main__", "server"},
    ),
}


@pytest.mark.parametrize("package", WINGS)
def test_wings_import_those_below(package: str) -> None:
    floor = {name: number for number, names in enumerate(WINGS[package]) for name in names}
    folder = ROOT.joinpath(*package.removeprefix("taskchaos.").split("."))
    wrong = []
    for path in sorted(folder.rglob("*.py")):
        here = path.relative_to(folder).with_suffix("").parts[0]
        assert here in floor, f"{path}: which floor is it on?"
        for line, name in _modules(path):
            if name.startswith(f"{package}."):
                there = name.removeprefix(f"{package}.").split(".")[0]
                if floor.get(there, floor["__init__"]) > floor[here]:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def _modules(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


ROLES = """
import sys
import taskchaos.harness.stack.containers.role, taskchaos.harness.record.ledger_tail
from taskchaos.harness.stack.zygote import import_celery
import_celery()
tops = {name.removeprefix("taskchaos.").partition(".")[0] for name in sys.modules}
ours = {name for name in sys.modules if name.startswith("taskchaos.faults.")} - {"taskchaos.faults.bounds"}
print(*sorted(ours | tops & {"requests", "toxiproxy", "docker", "pytest"}))
"""


def test_roles_import_nothing_that_an_image_of_workers_has_not() -> None:
    """A worker's image has Celery and redis-py; and what a zygote imports costs each run its time."""
    done = subprocess.run([sys.executable, "-c", ROLES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_is_installed_is_what_there_is() -> None:
    """pyproject.toml names each package, because their folders are not where they are installed."""
    rooms = [room for room in ROOMS if room != "locked_retry"]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for room in rooms for path in (ROOT / room).rglob("__init__.py")}
    assert set(settings["packages"]) == {".".join(("taskchaos", *folder.parts)) for folder in folders}
    assert settings["package-dir"] == {f"taskchaos.{room}": room for room in rooms}
    theirs = tomllib.loads((ROOT / "locked_retry" / "pyproject.toml").read_text())["tool"]["setuptools"]
    wings = {path.parent.name for path in (ROOT / "locked_retry").glob("*/__init__.py")}
    assert set(theirs["packages"]) == {"locked_retry", *(f"locked_retry.{wing}" for wing in wings)}


@pytest.mark.parametrize("rooms", [("faults", "harness"), ("locked_retry",)], ids=["taskchaos", "locked_retry"])
def test_a_class_name_stands_in_one_file(rooms: tuple[str, ...]) -> None:
    """So that a reader who searches for a name finds the one thing that it means."""
    places: dict[str, list[str]] = {}
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_the_rooms_of_the_layout_are_there() -> None:
    assert {p.name for p in ROOT.iterdir() if p.is_dir()} >= {*ROOMS, "tests", "bench", "docs"}
