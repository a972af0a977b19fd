"""What somebody meant who named a subject that there is not: found out without running anything."""

from __future__ import annotations

import ast
from difflib import get_close_matches
from pathlib import Path

from taskchaos.harness.case.subject_names import controls, registered
from taskchaos.harness.files import read_file
from taskchaos.harness.suite_paths import suite_meant

#: What a subject has; a class with two of these is taken for one, whatever it derives from.
_VERBS = frozenset({"install", "register", "submit", "pending", "dead_letters", "leftovers", "expectation"})


def subject_names() -> tuple[str, ...]:
    """Every name that stands for a subject."""
    pairs = (info for pair in controls() for info in (pair.control, pair.twin))
    return tuple(info.name for info in (*registered(), *pairs))


def meant(spec: str) -> str:
    """What was to be written in place of a spec that is none."""
    if spec.endswith(".py"):
        return _in_file(spec)
    if suite := suite_meant(spec):
        return f"it is a suite: taskchaos run {suite}"
    known = subject_names()
    if close := get_close_matches(spec, known, 1) or [name for name in known if name == spec.casefold()]:
        return f"did you mean {close[0]}?"
    names = [info.name for info in registered()]
    return f"use package.module:Name, file.py:Name, or one of {', '.join(names)}"


def _in_file(spec: str) -> str:
    if not Path(spec).is_file():
        return f"subject file {spec} does not exist"
    match [f"{spec}:{name}" for name in subjects_in(Path(spec))]:
        case []:
            return f"{spec} holds none: a class that derives from taskchaos.harness.subject.CelerySubject, for example"
        case [one]:
            return f"name its class as well, {one}"
        case several:
            return f"name its class as well, one of {', '.join(several)}"


def subjects_in(file: Path) -> tuple[str, ...]:
    """The classes of a file that look like subjects, in their order. The file is read, and not run."""
    try:
        tree = ast.parse(read_file(file))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    found: list[str] = []
    shipped = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taskchaos.suites.subjects")
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = {_last(base) for base in node.bases}
            own = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            derived = any(base.endswith("Subject") or base in shipped or base in found for base in bases)
            if derived or len(own & _VERBS) > 1:
                found.append(node.name)
    return tuple(found)


def _last(base: ast.expr) -> str:
    """`CelerySubject` of taskchaos.harness.subject.CelerySubject."""
    return base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
