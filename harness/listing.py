"""What there is: subjects and suites, for `taskchaos subjects` and `taskchaos suites`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.subject import registered, resolve


def subject_rows() -> list[dict[str, Any]]:
    """Name, where it is, what it claims and what it is; one that cannot be loaded says why."""
    rows = []
    for info in registered():
        try:
            subject = resolve(info.name)
        except UsageError as error:
            rows.append({"subject": info.name, "is": f"cannot be used: {error}", "spec": info.spec, "claims": []})
            continue
        doc = (type(subject).__doc__ or "").strip().splitlines()
        claims = sorted(c.value for c in subject.contract.claims)
        rows.append({"subject": info.name, "is": doc[0] if doc else "", "spec": info.spec, "claims": claims})
    return rows


def suite_rows(folder: Path) -> list[dict[str, Any]]:
    """Name, first line of the docstring and scenarios of each suite, read without importing it."""
    rows = []
    for path in sorted(folder.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        scenarios = [
            n.name.removeprefix("test_")
            for n in tree.body
            if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")
        ]
        doc = (ast.get_docstring(tree) or "").splitlines()
        rows.append({"suite": path.stem.removeprefix("test_"), "does": doc[0] if doc else "", "scenarios": scenarios})
    return rows
