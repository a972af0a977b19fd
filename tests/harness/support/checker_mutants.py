"""Mutants of the checker: the package loaded again from changed source, beside the real one.

`python tests/harness/support/checker_mutants.py [MODULE ...]` (tox -e mutants) makes every mutant that the tables below
know, and asks the known histories to notice it. Those that survive have to be explained in mutants_survivors.toml, and
what is explained there has to survive; anything else ends with 1.
"""

from __future__ import annotations

import ast
import copy
import os
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import taskchaos.harness.checker
from taskchaos.harness.record.history import History

ROOT = Path(taskchaos.harness.checker.__file__).parent
REAL, MUTANT = "taskchaos.harness.checker", "mutant_checker"
#: The survivors that are no matter, each with the reason.
EXPLAINED = Path(__file__).with_name("mutants_survivors.toml")
#: A mutant that takes longer never ends. Processor time: on a busy machine, all take longer by the clock.
DEADLINE_S = 10
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.py"))}
#: In an order in which each imports only what stands before it.
ORDER = (
    "results",
    "chords",
    "columns",
    "letters",
    "flight",
    "faults",
    "evidence",
    "offered",
    "loss",
    "durability",
    "waits",
    "back_off",
    "early",
    "storm",
    "duration",
    "priority",
    "revoked",
    "growth",
    "execution",
    "exclusion",
    "unique",
    "order",
    "reports",
    "kept",
    "seen",
    "preconditions",
    "rates",
    "throughput",
    "windows",
    "__init__",
)
assert set(ORDER) == set(SOURCES), "a module is missing from ORDER"  # else each mutant of it would count as caught
_CODE = {name: compile(source.replace(REAL, MUTANT), f"<mutant {name}>", "exec") for name, source in SOURCES.items()}


@contextmanager
def mutant(module: str, source: str | ast.Module) -> Iterator[Any]:
    """The checker package with one module's source replaced; gone again afterwards."""
    changed = source.replace(REAL, MUTANT) if isinstance(source, str) else source
    try:
        _install(MUTANT)
        for name in ORDER:
            code = compile(changed, f"<mutant {name}>", "exec") if name == module else _CODE[name]
            into = sys.modules[MUTANT] if name == "__init__" else _install(f"{MUTANT}.{name}")
            exec(code, into.__dict__)
            if name != "__init__":
                setattr(sys.modules[MUTANT], name, into)
        yield sys.modules[MUTANT]
    finally:
        for name in [name for name in sys.modules if name == MUTANT or name.startswith(f"{MUTANT}.")]:
            del sys.modules[name]


def _install(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    return module


# ---------------------------------------------------------------- what is changed

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any", "bisect_left": "bisect_right"}
_SWAPS |= {"bisect_right": "bisect_left"}


def _variants(node: ast.expr) -> Iterator[ast.expr]:
    """What may stand in the place of an expression."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            changed = copy.deepcopy(node)
            changed.ops[at] = _COMPARISONS[type(op)]()
            yield changed
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for left_out in range(len(node.values)):
            kept = [value for at, value in enumerate(node.values) if at != left_out]
            yield kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield ast.Call(ast.Name("bool", ast.Load()), [node.operand], []) if _is_not(node) else node.operand
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SWAPS:
        yield ast.Call(ast.Name(_SWAPS[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value * 1.1 if isinstance(node.value, float) and node.value else node.value + 1)


def _is_not(node: ast.UnaryOp) -> bool:
    return isinstance(node.op, ast.Not)


@dataclass(frozen=True)
class Change:
    """One change of a tree, which `put` makes and `undo` takes back. The name holds no line: it survives edits."""

    name: str
    put: Callable[[], None]
    undo: Callable[[], None]


def _changes(node: ast.AST, where: str) -> Iterator[Change]:
    """The changes of a node and of all below it, except annotations, which are never evaluated."""
    if isinstance(node, ast.AugAssign) and type(node.op) in _OPERATORS:
        other = ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value)
        yield _change(where, node, ast.unparse(other), node, "op", None, other.op)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for at, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr):
                condition = field in ("test", "ifs") and not isinstance(node, ast.IfExp)
                truths = [ast.Constant(True), ast.Constant(False)] if condition else []
                for variant in (*truths, *_variants(child)):
                    ast.fix_missing_locations(ast.copy_location(variant, child))
                    yield _change(where, child, ast.unparse(variant), node, field, at, variant)
            inner = isinstance(child, ast.FunctionDef | ast.ClassDef)
            yield from _changes(child, f"{where}.{child.name}" if inner else where)


def _change(
    where: str, old: ast.AST, new: str, holder: ast.AST, field: str, at: int | None, variant: ast.AST
) -> Change:
    before = getattr(holder, field) if at is None else getattr(holder, field)[at]

    def place(value: ast.AST) -> None:
        if at is None:
            setattr(holder, field, value)
        else:
            getattr(holder, field)[at] = value

    return Change(f"{where}: {ast.unparse(old)} -> {new}", lambda: place(variant), lambda: place(before))


def every_mutant(module: str) -> Iterator[tuple[str, ast.Module]]:
    """The name of each mutant of a module, with its tree, which is that mutant only until the next is asked for."""
    tree = ast.parse(SOURCES[module].replace(REAL, MUTANT))
    names = Counter[str]()
    for change in list(_changes(tree, module)):
        names[change.name] += 1
        name = change.name if names[change.name] == 1 else f"{change.name} (no. {names[change.name]})"
        change.put()
        yield name, tree
        change.undo()


# ---------------------------------------------------------------- what survives


def explained() -> dict[str, str]:
    """The survivors that are no matter, by name, each with the reason."""
    groups = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("group", [])
    return {name: group["why"] for group in groups for name in group["mutants"]}


class _TooLong(Exception):
    """The mutant never ends."""


def _cut(*_: object) -> None:
    raise _TooLong


def _series(of: Any, history: History, window_s: float) -> str:
    try:
        return repr(of.series(history, window_s))
    except ValueError as error:
        return repr(error)


def survivors(module: str, part: int = 0, parts: int = 1) -> list[str]:
    """The mutants of every n-th part of a module that no known history notices. Some never end and are cut off."""
    from checker_catalogue import KNOWN
    from checker_series import SERIES

    def say(of: Any) -> Iterator[str]:
        yield from (repr(of.check(case.history, case.contract)) for case in cases)
        yield from (_series(of, *each) for each in SERIES)

    signal.signal(signal.SIGPROF, _cut)
    cases = sorted(KNOWN, key=lambda case: len(case.history.submits.op))
    real = list(say(taskchaos.harness.checker))
    found = []
    for number, (name, tree) in enumerate(every_mutant(module)):
        if number % parts != part:
            continue
        signal.setitimer(signal.ITIMER_PROF, DEADLINE_S)
        try:
            with mutant(module, tree) as broken:
                if all(now == then for now, then in zip(say(broken), real, strict=True)):
                    found.append(name)
        except Exception:
            continue
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return found


def main(modules: list[str]) -> int:
    """Print what survives, each module as it is done; 1 if that is not what the list of survivors says."""
    parts, found, total = os.cpu_count() or 1, set[str](), 0
    whys = {name: why for name, why in explained().items() if name.split(".")[0].split(":")[0] in modules}
    with ProcessPoolExecutor(parts) as pool:
        began = time.monotonic()
        # In the order in which they are asked, all parts of a module together.
        answers = pool.map(_survivors, [(module, part, parts) for module in modules for part in range(parts)])
        for module in modules:
            survive = {name for names in islice(answers, parts) for name in names}
            number, ended = sum(1 for _ in every_mutant(module)), time.monotonic()
            told = f"{number} mutants, {len(survive)} survive, {len(survive - whys.keys())} unexplained"
            print(f"{module}: {told} ({ended - began:.0f} s)", flush=True)
            found, total, began = found | survive, total + number, ended
    for name in sorted(found):
        print(f"survives: {name}\n    {whys.get(name, 'UNEXPLAINED: a known history has to notice it')}")
    for name in sorted(whys.keys() - found):
        print(f"noticed: {name}\n    take it off the list of survivors")
    print(f"{total} mutants, {len(found)} survive, {len(found - whys.keys())} of them unexplained")
    return 0 if found == whys.keys() else 1


def _survivors(what: tuple[str, int, int]) -> list[str]:
    return survivors(*what)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(ORDER)))
