"""Stored runs as they are compared and listed: their results, and a digest of what was asked of each case."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from taskchaos.harness.errors import UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.judge.compare import StoredRun
from taskchaos.harness.record.layout import CASES, EVENTS, PLAN
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.report import json_file, read_run

VERDICT = "verdict.json"
#: Of a plan: where its files are, and what is expected of its subject. It is the same plan wherever it is run again.
_BESIDE = frozenset({"subject", "nodeid", "sources", "expectation", "baseline", "schema"})
_DIGITS = 12


def load(folder: Path) -> StoredRun:
    """A run as its events have it, or, where there are none, as its verdict.json has. Raises UsageError."""
    result, details = read_run(folder) if (folder / EVENTS).is_file() else (_verdict(folder), {})
    plans, sources = {}, {}
    for case in result.cases:
        plan = read_plan(folder, case.id)
        if plan is not None:
            plans[case.id] = plan_digest(plan)
            sources[case.id] = _sources_digest(plan)
    return StoredRun(result, details, plans, sources)


def _verdict(folder: Path) -> RunResult:
    if not (folder / VERDICT).is_file():
        raise UsageError(f"{folder} holds no run: it has neither {EVENTS} nor {VERDICT}")
    return json_file.read(folder / VERDICT)


def read_plan(folder: Path, case: str) -> dict[str, Any] | None:
    """The plan of a case, of whichever release; None if it cannot be read."""
    if case != Path(case).name:
        return None
    try:
        plan = json.loads(read_file(folder / CASES / case / PLAN))
    except (OSError, ValueError, RecursionError):
        return None
    return plan if isinstance(plan, dict) else None


def plan_digest(plan: dict[str, Any]) -> str:
    """What was asked of a case, whoever was asked and wherever that is."""
    return _digest({key: value for key, value in plan.items() if key not in _BESIDE})


def _sources_digest(plan: dict[str, Any]) -> str:
    sources = plan.get("sources")
    found = [one.get("sha256") for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []
    return _digest(found)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]
