"""A case: subject + workload + schedule + seed. What `taskchaos replay` runs again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from taskchaos.faults.bounds import LONGEST_S, Real, check
from taskchaos.faults.schedule import Schedule
from taskchaos.harness import codec
from taskchaos.harness.backoff import WAIT
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.contract import Contract, Slo
from taskchaos.harness.errors import UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.record.sources import SourceRole, StoredSource
from taskchaos.harness.workload import Workload

PLAN = "plan.json"
SCHEMA = 3


def case_id(suite: str, scenario: str, subject_name: str) -> str:
    """What a case is called: `suite.scenario.subject`, fit for a file name."""
    parts = [part for part in (suite, scenario, subject_name) if part]
    return ".".join("".join(c if c.isalnum() or c in "-_" else "-" for c in part) for part in parts)


@dataclass(frozen=True, slots=True)
class Case:
    """One case as planned. Everything the seed decided is written out, so that a replay needs no generator.

    contract, longest_wait_s: what the subject claimed when the case was planned; it is judged by these, wherever and
    whenever that is. baseline: what stock Celery at its best is known to fail in this scenario. drain_deadline_s: how
    long to wait for convergence after the load. must_see: without these states the case is unknown. nodeid: the pytest
    test it came from. sources: the user's own files that it was run with.
    """

    suite: str
    scenario: str
    subject: str  # a spec that resolves
    subject_name: str
    seed: int
    workload: Workload
    contract: Contract
    longest_wait_s: Annotated[float, WAIT] = 0.0
    schedule: Schedule = Schedule()
    slo: Slo = Slo()
    expectation: Expectation = Expectation()
    baseline: Expectation = Expectation()
    stack: StackOptions = field(default_factory=StackOptions)
    drain_deadline_s: Annotated[float, Real(0, LONGEST_S, above=True)] = 20.0
    must_see: frozenset[Seen] = frozenset()
    nodeid: str = ""
    sources: tuple[StoredSource, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for what is out of its bounds."""
        check(self)

    @property
    def id(self) -> str:
        """Names the case in output, folders and `taskchaos replay`."""
        return case_id(self.suite, self.scenario, self.subject_name)

    def source(self, role: SourceRole) -> StoredSource | None:
        """The file of its subject or suite; None if it came with taskchaos, or was never stored."""
        return next((source for source in self.sources if source.role is role), None)

    def as_planned(self) -> Case:
        """The case as its plan tells it to every process. Raises ValueError for what no plan holds."""
        return codec.decode(Case, codec.encode(self), "case")

    def save(self, folder: Path) -> None:
        """Write `plan.json` into the case folder. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps(codec.encode(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Case:
        """Read `plan.json`. Raises UsageError when it is missing, broken, or of another schema."""
        path = folder / PLAN
        try:
            data = json.loads(read_file(path))
            schema = data.get("schema") if isinstance(data, dict) else None
            if schema != SCHEMA:
                raise UsageError(
                    f"{path}: written with schema {schema}, this version reads {SCHEMA}: run the case again"
                )
            return codec.decode(cls, data)
        except FileNotFoundError:
            raise UsageError(f"{path} does not exist: not a case folder") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: {error}") from None
