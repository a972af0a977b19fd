"""Where the suites are, by the names that the commands take."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from taskchaos.faults.bounds import shown
from taskchaos.harness.errors import UsageError
from taskchaos.harness.files import read_file


def suites_folder() -> Path:
    """Where the suites are installed. Raises UsageError if they are not."""
    spec = importlib.util.find_spec("taskchaos.suites")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise UsageError("the suites are not installed: install taskchaos with `pip install -e ./locked_retry -e .`")
    return Path(places[0])


def suite_names() -> tuple[str, ...]:
    """The suites there are."""
    return tuple(sorted(p.stem.removeprefix("test_") for p in suites_folder().glob("test_*.py")))


def own(name: str) -> bool:
    """Whether what was named is a path of the user's own and no suite that ships."""
    return name not in suite_names()


def suite_meant(name: str) -> str:
    """What names a suite, as words of `taskchaos run`, if this stands for one in another spelling; else "".

    WORKER_KILL; worker_kill.tree, as reports write a scenario; test_worker_kill, test_worker_kill.py.
    """
    plain = name.casefold().removesuffix(".py").removeprefix("test_")
    suite, _, scenario = plain.partition(".")
    if suite not in suite_names() or "/" in name:
        return ""
    return f"{suite} -k {scenario.partition('.')[0]}" if scenario else suite


def suite_paths(names: Sequence[str]) -> list[str]:
    """Test paths for suite names or for paths of a person's own; all suites for none. Raises UsageError."""
    folder, there = suites_folder(), suite_names()
    paths = []
    for name in names or there:
        if name in there:
            paths.append(str(folder / f"test_{name}.py"))
        elif why := _no_path(name):
            raise UsageError(why)
        else:
            paths.append(name)
    return paths


def _no_path(name: str) -> str:
    """Why this is no path of suites; "" if it is one."""
    path = Path(name.partition("::")[0])
    try:
        if not name.strip():
            return f"no suite {name!r}: leave it out for all suites"
        if path.is_dir():
            return (why := _no_folder(path)) and (_subject_of(name) or why)
        if path.is_file():
            return _no_file(path)
    except (OSError, ValueError) as error:  # too long, or with a zero in it
        return f"no suite {shown(name)}: {getattr(error, 'strerror', None) or error}"
    if suite := suite_meant(name):
        return f"no suite {name!r}; did you mean {suite}?"
    if why := _subject_of(name):
        return why
    if "/" in name or path.suffix == ".py":
        return f"no suite {shown(name)}: there is no such file"
    close = get_close_matches(name, suite_names(), 1)
    there = f"did you mean {close[0]}?" if close else f"there are {', '.join(suite_names())}, or give a path"
    return f"no suite {shown(name)}; {there}"


def _no_folder(path: Path) -> str:
    """A folder of suites has them not far below: pytest looks through all that is, however much."""
    place = path.resolve()
    if place in (Path(place.anchor), Path.home().resolve()):
        return f"{path} is no folder of suites, and all that is in it would be looked through: name the folder itself"
    if any(any(place.glob(f"{down}{name}")) for down in ("", "*/", "*/*/") for name in ("test_*.py", "*_test.py")):
        return ""
    return f"{path} holds no suite: they are files test_NAME.py in it, or in a folder of it"


def _no_file(path: Path) -> str:
    if path.suffix != ".py":
        return f"{path} is no suite: that is a Python file with tests in it, such as test_mine.py"
    try:
        tree = ast.parse(read_file(path))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ""  # pytest says what is wrong with it
    names = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if any(name.startswith(("test", "Test")) for name in names) or _brings_more(tree):
        return ""
    from taskchaos.harness.case.naming import subjects_in  # late: who gives a suite needs no subjects

    given = "".join(f"; it has a subject: -s {path}:{name}" for name in subjects_in(path)[:1])
    return f"{path} holds no test, a function test_NAME(chaos){given}"


def _brings_more(tree: ast.Module) -> bool:
    """Whether a file may have tests that are not seen in it, or something wrong with it that is seen when it is run."""
    plain = (ast.Import, ast.Expr, ast.FunctionDef, ast.ClassDef, ast.AnnAssign)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not _there(node):
            return True
        if isinstance(node, ast.ImportFrom) and any(alias.name.startswith(("test", "*")) for alias in node.names):
            return True
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if any(name.startswith("test") for name in names):
                return True
        elif not isinstance(node, (*plain, ast.ImportFrom)):
            return True
    return False


def _there(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether there are packages of the names that are imported; those of the file's own folder are not looked for."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return all(importlib.util.find_spec(name.partition(".")[0] or "taskchaos") for name in names)


def _subject_of(name: str) -> str:
    """That this is a subject and no suite; "" if it is none."""
    from taskchaos.harness.case.naming import subject_names

    return f"no suite {name!r}: it is a subject: taskchaos run -s {name}" if name in subject_names() else ""
