"""Stored shards made of the sample cases, as `taskchaos run --shard` leaves them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import report_samples as samples

from taskchaos.harness import codec
from taskchaos.harness.record import events
from taskchaos.harness.record.events import CasesCollected, Event, Problem, RunEnded, RunStarted
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.shard import Shard, Share, deal
from taskchaos.harness.run.folder import RunOptions

GOOD = tuple(c for c in samples.cases() if c.as_expected)
SUBJECTS = ("locked_retry", "stock_best", "interview_inside", "stock_acks_late")


def options(out: Path, shard: Shard | None, **changes: object) -> RunOptions:
    """The options of the sample run."""
    return replace(RunOptions(out=str(out), subjects=SUBJECTS, seed=7, shard=shard), **changes)  # type: ignore[arg-type]


def hands(results: Sequence[CaseResult], count: int) -> list[tuple[CaseResult, ...]]:
    """The cases that each shard gets."""
    dealt = deal([Share(c.id, c.wall_s) for c in results], count)
    return [tuple(results[i] for i in hand) for hand in dealt]


def stream(results: Sequence[CaseResult], shard: Shard, *, began_ns: int = samples.T0) -> list[Event]:
    """The events of one shard; its clock begins at began_ns, its wall clock 10 s after the shard before it."""
    dealt = hands(results, shard.count)
    mine = dealt[shard.index - 1]
    found: list[Event] = []
    for event in samples.stream(mine):
        event = replace(event, at_ns=event.at_ns - samples.T0 + began_ns)
        if isinstance(event, RunStarted):
            started = f"2026-11-23T02:31:{10 * shard.index:02d}+00:00"
            event = replace(event, shard=shard, chosen=("--shard", str(shard)), started=started)
        elif isinstance(event, CasesCollected):
            event = replace(event, dealt=tuple(tuple(c.id for c in hand) for hand in dealt))
        elif isinstance(event, RunEnded):
            event = replace(event, wall_s=10.0 + shard.index)
        if not isinstance(event, Problem):
            found.append(event)
    return found


def shard_folder(
    out: Path, index: int, count: int, *, results: Sequence[CaseResult] = GOOD, found: Sequence[Event] | None = None,
    **changes: object
) -> Path:  # fmt: skip
    """Write the run folder of one shard. found: other events than the usual; changes: other options."""
    shard = Shard(index, count)
    found = stream(results, shard, began_ns=samples.T0 * index) if found is None else found
    mine = hands(results, count)[index - 1]
    samples.run_folder(out, list(found), {c.id: samples.detail(c) for c in mine if not c.error})
    (out / "plan.json").write_text(json.dumps(codec.encode(options(out, shard, **changes))))
    for case in mine:
        ledger = out / "cases" / case.id / "ledger" / "producer-1.ledger"
        ledger.parent.mkdir(parents=True)
        ledger.write_text("S 1 1 1 0\n")
    (out / "logs").mkdir()
    (out / "logs" / "pytest.log").write_text(f"shard {shard}\n")
    samples.seal(out, list(found))
    return out


def cut(found: Sequence[Event], name: str) -> list[Event]:
    """The events before a case was judged: what is left of a shard that was killed."""
    end = next(i for i, e in enumerate(found) if isinstance(e, events.CaseJudged) and e.case == name)
    return list(found[:end])
