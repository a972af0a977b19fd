"""Makes one run of the shards of a run, and says what is missing. A run with a gap never passes."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from taskchaos.harness import codec
from taskchaos.harness.case.plan import Case
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import TaskchaosError, UsageError
from taskchaos.harness.judge.judge import damaged, replay_line
from taskchaos.harness.record import events
from taskchaos.harness.record.events import Event
from taskchaos.harness.record.layout import CASES, EVENTS, PLAN
from taskchaos.harness.record.manifest import DamagedError, seal_run, unseal_case
from taskchaos.harness.record.result import CaseResult, Missing, RunResult
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.record.sources import SOURCES
from taskchaos.harness.report import doubts_about_run
from taskchaos.harness.report.run import NOT_JUDGED, NOT_STARTED, collect
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.archive import runs_below
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.replay import conclude
from taskchaos.harness.verbosity import Verbosity

#: Events that are about one shard's run; the merged run has its own.
_OF_THE_SHARD = (events.RunStarted, events.CasesCollected, events.RunEnded)


@dataclass(frozen=True, slots=True)
class Part:
    """The stored run of one shard. dealt: which cases each shard gets; () when it was cut off before it knew."""

    folder: Path
    options: RunOptions
    shard: Shard
    stream: tuple[Event, ...]
    result: RunResult
    dealt: tuple[tuple[str, ...], ...]

    @classmethod
    def load(cls, folder: Path) -> Part:
        """Read a run folder. Raises UsageError when it is not that of a shard."""
        options = run.check_stored(folder)
        if options.shard is None:
            raise UsageError(f"{folder} is a whole run, not a shard: give only runs made with --shard")
        try:
            stream = tuple(events.read(folder / EVENTS))
        except OSError as error:
            raise UsageError(f"{folder / EVENTS}: {error.strerror}") from error
        dealt = next((e.dealt for e in stream if isinstance(e, events.CasesCollected) and e.dealt), ())
        return cls(folder, options, options.shard, stream, collect(stream), dealt)

    @property
    def unfinished(self) -> dict[str, str]:
        """The cases of this shard without a verdict, and why."""
        return {c.id: c.error for c in self.result.cases if c.error in (NOT_JUDGED, NOT_STARTED)}


def merge(places: Sequence[Path], out: Path | None, *, verbosity: Verbosity) -> int:
    """Merge the shards found in the places into a run folder, show it, and return the exit code of the whole run.

    A place is the run folder of a shard or contains such folders. Missing shards and cases are named in every report,
    and the exit code is then not 0. Raises UsageError when the places do not hold shards of one run.
    """
    parts = sorted((Part.load(folder) for folder in find_runs(places)), key=lambda part: part.shard)
    check(parts)
    first = parts[0].options
    target = run.fresh_folder(out, first.seed)
    for part in parts:
        if target.resolve().is_relative_to(part.folder.resolve()):
            raise UsageError(f"--out {target} is inside shard {part.folder}: choose another place")
    options = replace(first, out=str(target), shard=None, parallel=1, began_ns=now_ns())
    options = run.reserve(options)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{options.folder}: {error.strerror}; use --out for another place") from error
    try:
        (options.folder / PLAN).write_text(json.dumps(codec.encode(options), indent=1) + "\n", encoding="utf-8")
        for part in parts:
            _copy(part, options.folder)
        stream = list(merged_events(parts, options))
        log = events.Log(options.folder / EVENTS)
        for event in stream:
            log.emit(event)
        log.close()
        seal_run(options.folder)
    except (OSError, shutil.Error) as error:
        raise TaskchaosError(f"merging into {options.folder}: {error}") from error
    run.link_latest(options.folder)
    terminal = Terminal(sys.stdout, verbosity=verbosity)
    for event in stream:
        if isinstance(event, events.RunStarted | events.Problem):
            terminal.handle(event)
    return conclude(options.folder, terminal)


def find_runs(places: Sequence[Path]) -> tuple[Path, ...]:
    """The run folders that the places are or contain, each once. Raises UsageError for a place without any."""
    found: dict[Path, None] = {}
    check_places(places)
    for place in places:
        if not place.is_dir():
            raise UsageError(f"{place}: no such folder")
        below = dict.fromkeys(runs_below(place.resolve()))
        if not below:
            raise UsageError(f"{place} holds no run: give run folders of shards, or a folder that contains them")
        found |= below
    return tuple(found)


def check_places(places: Sequence[Path]) -> None:
    """Raise UsageError for what is given twice, or is not there."""
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"{place} is given twice: give each shard once")
        if not place.exists():
            raise UsageError(f"{place}: no such folder")


def check(parts: Sequence[Part]) -> None:
    """Raise UsageError, naming two folders, unless the parts are different shards of the same run."""
    first = parts[0]
    known: dict[Shard, Part] = {}
    holders: dict[str, Part] = {}
    dealer = next((part for part in parts if part.dealt), first)
    for part in parts:
        _check_options(first, part)
        if part.dealt and part.dealt != dealer.dealt:
            raise UsageError(f"{dealer.folder} and {part.folder} were dealt different cases: not shards of one run")
        twin = known.setdefault(part.shard, part)
        if twin is not part:
            raise UsageError(f"shard {part.shard} is given twice: {twin.folder} and {part.folder}")
        for case in part.result.cases:
            if holders.setdefault(case.id, part) is not part:
                raise UsageError(f"case {case.id} is in two shards: {holders[case.id].folder} and {part.folder}")
            if part.dealt and case.id not in part.dealt[part.shard.index - 1]:
                raise UsageError(f"{part.folder} holds the case {case.id}, which was not dealt to shard {part.shard}")


def _check_options(one: Part, other: Part) -> None:
    """Whatever a person chose has to be the same, whichever machine it was given on."""
    a, b = _portable(one.options), _portable(other.options)
    for option in fields(RunOptions):
        values = getattr(a, option.name), getattr(b, option.name)
        if values[0] != values[1]:
            shown = " and ".join(", ".join(v) if isinstance(v, tuple) else str(v) for v in values)
            name = option.name.replace("_", " ")
            raise UsageError(f"{one.folder} and {other.folder} are of different runs: {name} {shown}")
    if one.shard.count != other.shard.count:
        raise UsageError(f"{one.folder} and {other.folder} are of different runs: shards {one.shard} and {other.shard}")


def _portable(options: RunOptions) -> RunOptions:
    """The options without what may differ between machines."""
    return replace(
        options,
        out="",
        began_ns=0,
        parallel=1,
        shard=None,
        configured=(),
        subjects=tuple(Path(s).name if ".py:" in s else s for s in options.subjects),
        redis_server=Path(options.redis_server).name if options.redis_server else None,
        previous=Path(options.previous).name if options.previous else None,
    )


def missing(parts: Sequence[Part]) -> tuple[Missing, ...]:
    """The shards that are not there, and every case of the whole selection that has no verdict."""
    count = parts[0].shard.count
    dealt = next((part.dealt for part in parts if part.dealt), ((),) * count)
    known = {part.shard.index: part for part in parts}
    found: list[Missing] = []
    cases: list[Missing] = []
    for index, hand in enumerate(dealt, 1):
        shard, part = Shard(index, count), known.get(index)
        if part is not None and part.dealt:
            cases += [Missing(case, f"{why} in shard {shard}") for case, why in part.unfinished.items()]
            continue
        why = "was cut off before it knew its cases" if part else "no run folder of it was given"
        found.append(Missing(f"shard {shard}", why))
        cases += [Missing(case, f"was to run in shard {shard}") for case in hand]
    return (*found, *cases)


def merged_events(parts: Sequence[Part], options: RunOptions) -> Iterator[Event]:
    """The events of the merged run in order.

    Each machine has a clock of its own: the events of a shard keep their distances, and the wall clock at which the
    shard began puts them among the others. Times of different shards say no more than that.
    """
    heads = [event for part in parts for event in part.stream if isinstance(event, events.RunStarted)]
    if not heads:
        raise UsageError(f"no shard in {parts[0].folder.parent} got as far as starting: there is nothing to merge")
    earliest = min(heads, key=lambda head: _wall_ns(head.started))
    zero_ns = _wall_ns(earliest.started)
    yield replace(earliest, at_ns=0, run=options.folder.name, workers=1, chosen=options.chosen, shard=None)
    dealt = next((part.dealt for part in parts if part.dealt), ())
    selection = tuple(case for hand in dealt for case in hand)
    yield events.CasesCollected(at_ns=0, count=len(selection), cases=selection)
    yield from (events.Problem(at_ns=0, text=text) for text in _differences(parts))
    for part in parts:
        for doubt in (*part.result.doubts, *doubts_about_run(part.folder, part.result.cases)):
            yield events.Problem(at_ns=0, text=f"shard {part.shard}: {doubt}", doubt=True)
    placed = [event for part in parts for event in _placed(part, zero_ns, options.folder)]
    placed.sort(key=lambda event: event.at_ns)
    yield from placed
    last_ns = placed[-1].at_ns if placed else 0
    yield events.ShardsMerged(at_ns=last_ns, count=parts[0].shard.count, missing=missing(parts))
    yield events.RunEnded(at_ns=last_ns, wall_s=max(part.result.wall_s for part in parts))


def _wall_ns(started: str) -> int:
    try:
        return int(datetime.datetime.fromisoformat(started).timestamp()) * NS_PER_S
    except ValueError:
        return 0


def _placed(part: Part, zero_ns: int, folder: Path) -> Iterator[Event]:
    """The events of a shard's cases on the clock of the merged run."""
    if not part.stream:
        return
    shift_ns = _wall_ns(part.result.started) - zero_ns - part.stream[0].at_ns
    for event in part.stream:
        if isinstance(event, _OF_THE_SHARD):
            continue
        if isinstance(event, events.Problem):
            event = replace(event, text=f"shard {part.shard}: {event.text}")
        elif isinstance(event, events.CaseJudged):
            event = replace(event, result=_checked(event.result, folder))
        yield replace(event, at_ns=event.at_ns + shift_ns)


def _checked(result: CaseResult, folder: Path) -> CaseResult:
    """The result of a case that was copied into the merged run, unknown when its evidence is not what was sealed."""
    place = folder / CASES / result.id
    try:
        result = replace(result, replay=replay_line(Case.load(place), place))
        damage = () if result.trouble else unseal_case(place)[1]
    except (UsageError, DamagedError) as error:
        damage = (str(error),)
    return damaged(result, damage[0]) if damage and not result.trouble else result


def _differences(parts: Sequence[Part]) -> Iterator[str]:
    """Versions that differ between shards: to be known, not a reason to refuse."""
    seen: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        server = {part.result.server.name: part.result.server.version} if part.result.server.name else {}
        for name, version in {**part.result.versions, **server}.items():
            seen.setdefault(name, {}).setdefault(version, []).append(str(part.shard))
    for name, found in sorted(seen.items()):
        if len(found) > 1:
            shown = "; ".join(f"{version} in {', '.join(shards)}" for version, shards in found.items())
            yield f"the shards ran with different versions of {name}: {shown}"


def _copy(part: Part, out: Path) -> None:
    """Copy the cases and logs of a shard. Ledgers, which are large and never written again, are linked if possible."""
    logs = Path("logs") / f"{part.shard.index}-of-{part.shard.count}"
    pairs = [(part.folder / name, out / to) for name, to in ((CASES, CASES), (SOURCES, SOURCES), ("logs", logs))]
    for source, target in pairs:
        if target.name != SOURCES:
            target.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, symlinks=True, ignore=_special, copy_function=_link_or_copy, dirs_exist_ok=True
            )


def _special(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: sockets and pipes that a stack left."""
    modes = ((name, os.lstat(os.path.join(folder, name)).st_mode) for name in names)
    return [name for name, mode in modes if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))]


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".ledger"):
        try:
            os.link(source, target)
            return
        except OSError:  # another file system
            pass
    shutil.copy2(source, target)
