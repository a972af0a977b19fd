"""How many cases a run can have at most, read from its suites without importing them.

Each test worker costs a second of processor time before its first case; more of them than cases only delay the run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from taskchaos.harness.profile import Depth, Profile

#: What a test asks for that is run with several seeds.
SEED = "chaos_seed"


def most_cases(paths: Iterable[str], subjects: int, profile: Profile) -> int | None:
    """An upper bound for the tests of these files, each with every subject; None where it cannot be told.

    Not told are node ids, folders, files that cannot be read, and tests of classes, of parameters and of seeds.
    """
    most = 0
    for path in paths:
        try:
            tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            return None
        for test in tree.body:
            if isinstance(test, ast.ClassDef):
                return None
            if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test"):
                if any(argument.arg == SEED for argument in test.args.args):
                    return None
                marks = list(_marks(test))
                if any(name == "chaos_depth" and _deeper(given, profile) for name, given in marks):
                    continue
                if any(name != "chaos_depth" for name, _ in marks) or test.name == "test":
                    return None
                most += 1
    return most * subjects


def _marks(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, list[ast.expr]]]:
    """The decorators of a test by the last part of their names, with what they are given."""
    for one in test.decorator_list:
        name, given = (one.func, one.args) if isinstance(one, ast.Call) else (one, [])
        yield (name.attr if isinstance(name, ast.Attribute) else ""), given


def _deeper(given: list[ast.expr], profile: Profile) -> bool:
    """Whether a mark names, in so many words, a profile that is deeper than this."""
    depth = given[0].value if len(given) == 1 and isinstance(given[0], ast.Constant) else None
    return isinstance(depth, str) and depth.upper() in Depth.__members__ and Depth[depth.upper()] > profile.depth
