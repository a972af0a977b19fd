"""`taskchaos new-subject`: a template for a subject of your own, with a test."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from taskchaos.harness.case.subject_names import controls, shipped_names
from taskchaos.harness.errors import UsageError

TEMPLATES = Path(__file__).with_name("templates")


def write_template(name: str, folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write NAME.py and test_NAME.py into the folder. Raises UsageError for a bad name or a file that exists."""
    if why := _unfit(name, folder):
        raise UsageError(f"new-subject {name}: {why}, such as {_suggestion(name)}")
    targets = {"subject.py.txt": folder / f"{name}.py", "test_subject.py.txt": folder / f"test_{name}.py"}
    taken = [p.name for p in targets.values() if p.exists()]
    if taken and not force:
        raise UsageError(f"new-subject {name}: {', '.join(taken)} exists; use --force to overwrite")
    for template, target in targets.items():
        text = (TEMPLATES / template).read_text(encoding="utf-8").replace("@NAME@", name)
        target.write_text(text, encoding="utf-8")
    return tuple(targets.values())


def _unfit(name: str, folder: Path) -> str:
    """Why a module of this name could not be imported, or would be taken for another; "" if it can be used."""
    if not name.isidentifier():
        return "has to be a Python name"
    if keyword.iskeyword(name):
        return "is a keyword of Python, choose a name"
    if name in sys.stdlib_module_names:
        return "is a module of Python's own, choose another name"
    if name in shipped_names() or name in {i.name for pair in controls() for i in (pair, pair.twin)}:
        return "is a subject that ships with taskchaos, choose another name"
    if name == __name__.partition(".")[0] or _is_installed(name, folder):  # ours is a namespace, and has no file
        return "is the name of an installed package, choose another"
    return ""


def _is_installed(name: str, folder: Path) -> bool:
    """Whether `import name` finds something that is not in the folder."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # it is loaded, and has hidden where it is from (kombu)
        return True
    return bool(spec and spec.origin and Path(spec.origin).parent.resolve() != folder.resolve())


def _suggestion(name: str) -> str:
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return f"my_{word}" if word else "my_retry"
