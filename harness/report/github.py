"""What GitHub Actions makes of a log: groups that fold, and annotations beside the lines of files.

A line is a command for the runner when it begins with `::`, or has `##[` anywhere; so no other line of ours may. An
annotation stands at the test of the suite if that is in the repository; else at the subject, if that is.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taskchaos.harness.record.result import CaseResult, RunResult
from taskchaos.harness.report import overall
from taskchaos.harness.report.phrases import Assessment, complaints, cut, explain, failed_names, standing, surprises

#: GitHub shows so many errors, and so many warnings, of one step; the worst come first.
MOST = 10
MAX_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a file, as GitHub names it."""

    file: str
    line: int


def runs_here() -> bool:
    """Whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def data(text: str) -> str:
    """A text as what a command says."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    """A text as the value of a property of a command."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


def harmless(line: str) -> str:
    """A line of a log that the runner takes for no command."""
    line = line.replace("##[", "# #[")
    text = line.lstrip()
    return line if not text.startswith("::") else line[: len(line) - len(text)] + f": :{text[2:]}"


def commands(result: RunResult) -> Iterator[str]:
    """A command for each surprise and each failed test, worst first: errors, and warnings for what is unknown."""
    found = [*map(_of_case, surprises(result.cases))]
    for one in overall.remarks(result):
        if one.kind is not None:
            found.append(_command(one.kind, None, "taskchaos", one.sentence))
    for level in ("error", "warning"):
        yield from [command for command in found if command.startswith(f"::{level} ")][:MOST]


def _of_case(case: CaseResult) -> str:
    kind = standing(case)
    what = {Assessment.FAILED: f"FAIL {failed_names(case)}", Assessment.MISSED: "not caught"}
    lines = [explain(case)]
    lines += [f"{one.what}, observed {one.observed}: {one.reason}" for one in complaints(case) if not case.error]
    lines += [f"again: {case.replay}"] if case.replay else []
    return _command(kind, _place_of(case), f"{case.id}: {what.get(kind, kind.value)}", "\n".join(lines))


def _command(kind: Assessment, place: _Place | None, title: str, text: str) -> str:
    level = "warning" if kind is Assessment.UNKNOWN else "error"
    at = f"file={_value(place.file)},line={place.line}," if place else ""
    return f"::{level} {at}title={_value(cut(title, MAX_TEXT))}::{data(cut(text, MAX_TEXT))}"


def _place_of(case: CaseResult) -> _Place | None:
    path, _, rest = case.nodeid.partition("::")
    test = rest.partition("[")[0].rpartition("::")[2]
    subject, _, name = case.spec.rpartition(":")
    return _in_workspace(_whole(path), test) or _in_workspace(Path(subject), name)


def _whole(path: str) -> Path:
    """Where the file of a test is: of a suite that ships only the end of its path is stored."""
    if not path or os.path.isabs(path):
        return Path(path)
    spec = importlib.util.find_spec("taskchaos.suites")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]).parent / path if places else Path(path)


def _in_workspace(path: Path, name: str) -> _Place | None:
    """The line on which a function or class is defined, if its file is in the repository that is checked out."""
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    try:
        real = path.resolve()
        if not workspace or path.suffix != ".py" or not real.is_relative_to(Path(workspace).resolve()):
            return None
        tree = ast.parse(real.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name
    ]
    return _Place(real.relative_to(Path(workspace).resolve()).as_posix(), min(lines, default=1))
