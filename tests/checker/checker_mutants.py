"""Mutants of the checker: the package loaded again from changed source, beside the real one."""

from __future__ import annotations

import ast
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import harness.checker

ROOT = Path(harness.checker.__file__).parent
REAL, MUTANT = "harness.checker", "mutant_checker"
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.py"))}
#: In an order in which each imports only what stands before it.
ORDER = (
    "tally",
    "evidence",
    "results",
    "loss",
    "execution",
    "exclusion",
    "statements",
    "conditions",
    "pace",
    "throughput",
    "windows",
    "__init__",
)
_CODE = {name: compile(source.replace(REAL, MUTANT), f"<mutant {name}>", "exec") for name, source in SOURCES.items()}


@contextmanager
def mutant(module: str, source: str | ast.Module) -> Iterator[Any]:
    """The checker package with one module's source replaced; gone again afterwards."""
    assert set(ORDER) == set(SOURCES), "a module is missing from ORDER"
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


_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
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


def every_mutant(module: str) -> Iterator[tuple[str, ast.Module]]:
    """One mutant per comparison, boolean operator, negation, bit test and conditional of a module."""
    source = SOURCES[module].replace(REAL, MUTANT)
    number = 0  # in place of annotations there is nothing to change: they are never evaluated
    while True:
        tree = ast.parse(source)
        skipped = {id(part) for node in ast.walk(tree) for part in _annotations(node)}
        sites = [(node, change) for node in ast.walk(tree) if id(node) not in skipped for change in _changes(node)]
        if number >= len(sites):
            return
        node, change = sites[number]
        line = node.lineno  # type: ignore[attr-defined]
        change()
        yield f"{module}:{line}:{number}: {source.splitlines()[line - 1].strip()}", ast.fix_missing_locations(tree)
        number += 1


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("annotation", "returns"):
        part = getattr(node, name, None)
        if part is not None:
            yield from ast.walk(part)


def _changes(node: ast.AST) -> list[Any]:
    if isinstance(node, ast.Compare):
        return [lambda at=at, op=op: node.ops.__setitem__(at, _FLIPS[type(op)]()) for at, op in enumerate(node.ops)]
    if isinstance(node, ast.BoolOp):
        return [lambda: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [lambda: (setattr(node, "op", ast.UAdd()), setattr(node, "operand", _truth(node.operand)))]
    if isinstance(node, ast.IfExp):
        return [lambda: setattr(node, "test", ast.Constant(True)), lambda: setattr(node, "test", ast.Constant(False))]
    if isinstance(node, ast.If):
        return [lambda: setattr(node, "test", ast.Constant(True)), lambda: setattr(node, "test", ast.Constant(False))]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        return [lambda: setattr(node.func, "id", "max" if node.func.id == "min" else "min")]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.BitAnd | ast.BitOr):
        swap = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
        return [lambda: setattr(node, "op", swap[type(node.op)]())]
    return []


def _truth(operand: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("bool", ast.Load()), [operand], [])


def survivors(modules: list[str]) -> Iterator[str]:
    """The mutants that no known history notices. Takes a minute; some never end and are cut off."""
    from checker_catalogue import KNOWN

    def cut(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, cut)
    cases = sorted(KNOWN, key=lambda case: len(case.history.submits.op))
    real = [repr(harness.checker.check(case.history, case.contract)) for case in cases]
    for module in modules:
        for name, tree in every_mutant(module):
            signal.alarm(4)
            try:
                with mutant(module, tree) as broken:
                    found = (repr(broken.check(case.history, case.contract)) for case in cases)
                    if all(now == then for now, then in zip(found, real, strict=True)):
                        yield name
            except Exception:
                continue
            finally:
                signal.alarm(0)


if __name__ == "__main__":
    for survivor in survivors(sys.argv[1:] or [name for name in ORDER if name != "windows"]):
        print(survivor)
