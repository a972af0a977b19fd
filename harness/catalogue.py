"""What there is: subjects, suites and faults, for the commands of these names."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from taskchaos.faults.base import Ability
from taskchaos.faults.schedule import FAULTS
from taskchaos.harness.case.stack_options import ProxyKind, StackKind, StackOptions
from taskchaos.harness.case.subject_loading import place_of, resolve
from taskchaos.harness.case.subject_names import ControlInfo, registered
from taskchaos.harness.errors import UsageError
from taskchaos.harness.profile import Depth
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.stack.mounted_disk import no_fuse

#: What the file of a control says, by the names that `taskchaos controls --json` has for it.
TOLD = {"bug": "Bug", "exposed_by": "Exposed by", "shows_as": "Symptom", "met_by": "Met by"}

#: The profile that a scenario without a marker is part of.
_SHALLOWEST = Depth.QUICK.name.lower()
#: The stacks there are, by the names that `taskchaos faults --json` has for them.
STACKS = {
    "local": StackOptions(),
    "compose": StackOptions(place=StackKind.COMPOSE),
    "compose_toxiproxy": StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY),
}


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


def control_rows(pairs: Iterable[ControlInfo]) -> list[dict[str, Any]]:
    """Name, the one scenario it runs in, the rules that have to fail there, its twin, and what its file says of it."""
    rows = []
    for pair in pairs:
        subject = resolve(pair.name)
        place = place_of(pair.name)
        must = subject.expectation(*place.split(".", 1)).must
        told = inspect.getmodule(type(subject)).__doc__ or ""
        rows.append(
            {
                "control": pair.name,
                "in": place,
                "symptom": ", ".join(rule.value for rule in Rule if rule in must),
                "twin": pair.twin.name,
                "quick": pair.quick,
                **{key: _told(told, label) for key, label in TOLD.items()},
            }
        )
    return rows


def _told(text: str, label: str) -> str:
    """What stands after a label at the beginning of a line, and in the lines that belong to it."""
    found = re.search(rf"^{label}: (.*(?:\n +.*)*)", text, re.MULTILINE)
    return " ".join(found.group(1).split()) if found else ""


def suite_rows(folder: Path) -> list[dict[str, Any]]:
    """Name, first line of the docstring and scenarios of each suite, read without importing it.

    details: of each scenario its name, the first profile that it is part of, and the first sentence of its docstring.
    """
    rows = []
    for path in sorted(folder.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tests = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
        marks = [n.value for n in tree.body if isinstance(n, ast.Assign) and _targets(n) == ["pytestmark"]]
        usual = _depth(marks) or _SHALLOWEST
        names = [test.name.removeprefix("test_") for test in tests]
        details = [
            {"scenario": name, "profile": _depth(test.decorator_list) or usual, "does": _first_sentence(test)}
            for name, test in zip(names, tests, strict=True)
        ]
        suite = path.stem.removeprefix("test_")
        rows.append({"suite": suite, "does": _first_line(tree), "scenarios": names, "details": details})
    return rows


def _targets(assignment: ast.Assign) -> list[str]:
    return [target.id for target in assignment.targets if isinstance(target, ast.Name)]


def _first_line(node: ast.Module) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _first_sentence(node: ast.FunctionDef) -> str:
    text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    return re.sub(r"(?<=\.) [A-Z].*", "", text)


def _depth(marks: Iterable[ast.expr]) -> str:
    """What the marker chaos_depth among these says; "" if it is not among them."""
    calls = [node for mark in marks for node in ast.walk(mark) if isinstance(node, ast.Call) and node.args]
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "chaos_depth":
            return str(ast.literal_eval(call.args[0]))
    return ""


def fault_rows() -> list[dict[str, Any]]:
    """Name and summary of each fault, and for each stack True or why it does not work there."""
    return [
        {
            "fault": kind,
            "does": fault.summary,
            **{name: options.lacks(kind) or True for name, options in STACKS.items()},
        }
        for kind, fault in FAULTS.items()
    ]


def _here(kind: str) -> str:
    """How it is done on this machine, if that depends on what there is."""
    if Ability.VOLATILE_DISK not in FAULTS[kind].needs:
        return ""
    why = no_fuse()
    return f"[here the append-only file is cut at the last known sync: {why}]" if why else "[here by FUSE]"


def with_where(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for people: only stacks where a fault does not work, once for each reason; and how it is done here."""
    found = []
    for row in rows:
        reasons = dict.fromkeys(str(row[name]) for name in STACKS if row[name] is not True)
        where = f"({'; '.join(reasons)})" if reasons else ""
        found.append({"fault": row["fault"], "does": row["does"], "where": where, "here": _here(row["fault"])})
    return found
