"""verdict.json: what automation reads (docs/reference/run-folder.md)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from taskchaos.harness import codec
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import SCHEMA, Expectation, RunResult


def dumps(result: RunResult) -> str:
    """The text of verdict.json. Keys stand in the order of the dataclasses, `schema` first; versions by name."""
    data = finite(codec.encode(result))
    for case, shown in zip(result.cases, data["cases"], strict=True):
        shown["expected"] = str(case.expected)
    data["versions"] = dict(sorted(data["versions"].items()))
    return json.dumps({"schema": data.pop("schema"), **data}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> RunResult:
    """The result that a verdict.json holds. Raises UsageError naming what is wrong with the file."""
    try:
        data = json.loads(path.read_bytes())
        schema = data.get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise UsageError(f"{path} has schema {schema}; this taskchaos reads up to {SCHEMA}. Upgrade taskchaos.")
        for case in data["cases"] if isinstance(data, dict) and isinstance(data.get("cases"), list) else ():
            case["expected"] = codec.encode(Expectation.read(case["expected"]))
        return codec.decode(RunResult, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no verdict.json: {error}") from error


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; both mean "not measurable" here, which is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return value
