"""Which cases of what was collected are run, in which order, and what is wrong with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from taskchaos.harness.case.expectations import check_expectations
from taskchaos.harness.case.plan import case_id
from taskchaos.harness.case.subject_loading import name_for, place_of, resolve
from taskchaos.harness.errors import UsageError
from taskchaos.harness.profile import PROFILES, Depth, Profile
from taskchaos.harness.pytest.keys import SEED, is_case
from taskchaos.harness.record import events
from taskchaos.harness.record.shard import Share, deal
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.folder import RunOptions


def subject_parameters(options: RunOptions) -> list[Any]:
    """One pytest parameter per subject, with the subject's own name as id."""
    return [pytest.param(spec, id=name_for(spec)) for spec in options.subjects]


def arrange(config: pytest.Config, options: RunOptions, items: list[pytest.Item]) -> None:
    """Deselect what is not to run here, or in other shards, and put the rest in a good order.

    Raises UsageError when nothing is left because the subjects are made for other scenarios.
    """
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    check_ids(items)
    for item in items:
        asked_for = options.replay or options.minutes  # by name, at whatever depth it is
        (kept if asked_for or _belongs(item, options.scale.depth) else left).append(item)
    if places := {name_for(s): place_of(s) for s in options.subjects if place_of(s)} if left and not kept else {}:
        raise UsageError("; ".join(f"{name} runs only in {place}" for name, place in places.items()))
    kept = in_order(kept)
    dealt: tuple[tuple[str, ...], ...] = ()
    if options.shard:
        hands = deal([Share(name_of(i), _cost(i), _alone(i)) for i in kept], options.shard.count)
        dealt = tuple(tuple(name_of(kept[k]) for k in hand if is_case(kept[k])) for hand in hands)
        mine = hands[options.shard.index - 1]
        left += [item for k, item in enumerate(kept) if k not in mine]
        kept = [kept[k] for k in mine]
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = kept
    if config.option.collectonly:
        return  # nothing will run
    cases = [item for item in kept if is_case(item)]
    ids = tuple(map(name_of, cases))
    costs_s = tuple(_takes_s(item, options.scale) for item in cases)
    alone = sum(map(_alone, cases))
    _say(config, options, events.CasesCollected(count=len(ids), cases=ids, costs_s=costs_s, alone=alone, dealt=dealt))


def _belongs(item: pytest.Item, depth: Depth) -> bool:
    """Whether a scenario is no deeper than the profile; of a subject that is made for one, whether this is it.

    Raises UsageError for a depth that there is not.
    """
    if is_case(item) and (place := place_of(spec_of_item(item))):
        return place == f"{suite_of(item)}.{scenario_of(item)}"
    marker = item.get_closest_marker("chaos_depth")
    if not marker:
        return True
    name = str(marker.args[0]) if len(marker.args) == 1 else ""
    if name.upper() not in Depth.__members__:
        known = ", ".join(f'"{one.name.lower()}"' for one in Depth)
        raise UsageError(f"{item.nodeid}: chaos_depth takes one of {known}")
    return Depth[name.upper()] <= depth


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Long cases first, those that run alone last, and the cases of one scenario spread.

    Those of a random scenario, whatever their seeds, are of one. Side by side they would want the same of the machine
    at the same time, and be late where a mixture is not.
    """
    scenarios: dict[str, list[pytest.Item]] = {}
    for item in items:
        seeded = seed_of(item, 0) != seed_of(item, 1)
        scenario = getattr(item, "originalname", "") if seeded else scenario_of(item)
        scenarios.setdefault(f"{item.path}::{scenario}", []).append(item)
    for alike in scenarios.values():
        alike.sort(key=lambda item: seed_of(item, 0))  # every subject with one seed before the next
    longest = max(map(_cost, items), default=0.0) or 1.0
    place: dict[pytest.Item, float] = {}
    for alike in scenarios.values():
        # Spread over the whole run if they are short, over its first half if they are the longest.
        width = (1 - _cost(alike[0]) / (2 * longest)) / len(alike)
        place |= {item: n * width for n, item in enumerate(alike)}
    return sorted(items, key=lambda item: (_alone(item), place[item], -_cost(item)))


def refuse(config: pytest.Config, options: RunOptions, text: str) -> None:
    """Say that what was collected cannot be used."""
    _say(config, options, events.Problem(text=text, usage=True))


def _say(config: pytest.Config, options: RunOptions, event: events.Event) -> None:
    """Put an event into the stream, from one of the processes that collect the same."""
    if not hasattr(config, "workerinput") or config.workerinput["workerid"] == "gw0":
        events.append(run.open_run(options), event)


def check_ids(items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when two tests would be the same case, and so write to the same folder."""
    known: dict[str, pytest.Item] = {}
    for item in items:
        if is_case(item) and (twin := known.setdefault(name_of(item), item)) is not item:
            raise UsageError(f"{twin.nodeid} and {item.nodeid} are both case {name_of(item)}: rename one of them")


def check_files(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when a file that was asked for by name holds no test. items: all, none left out."""
    given = {Path(str(arg).partition("::")[0]).resolve() for arg in config.args}
    for path in sorted(given - {item.path.resolve() for item in items}):
        if path.suffix == ".py":
            raise UsageError(f"{path} holds no test")


def check_subjects(config: pytest.Config, options: RunOptions, items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when a subject expects something of scenarios that there are not. items: all, none left out."""
    scenarios: dict[Path, set[str]] = {}
    for item in items:
        if is_case(item):
            scenarios.setdefault(item.path, set()).add(scenario_of(item))
    in_part = {Path(str(arg).partition("::")[0]).resolve() for arg in config.args if "::" in str(arg)}
    whole = {
        path.stem.removeprefix("test_"): frozenset(names)
        for path, names in scenarios.items()
        if path.resolve() not in in_part
    }
    names = frozenset(path.stem.removeprefix("test_") for place in _shipped() for path in place.glob("test_*.py"))
    for spec in options.subjects:
        check_expectations(resolve(spec), whole, names)


def _shipped() -> list[Path]:
    """The folder of the suites that come with taskchaos, if they are installed."""
    found = importlib.util.find_spec("taskchaos.suites")
    return [Path(place) for place in (found.submodule_search_locations or ())] if found else []


def _cost(item: pytest.Item) -> float:
    marker = item.get_closest_marker("chaos")
    return float(marker.kwargs.get("cost_s", 0)) if marker else 0.0


def _takes_s(item: pytest.Item, scale: Profile) -> float:
    """About how long a case takes in a profile: what its suite says is of the quick one. 0 if it says nothing."""
    cost_s = _cost(item)
    return cost_s + scale.load_s - PROFILES["quick"].load_s if cost_s else 0.0


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("chaos_alone") is not None


def name_of(item: pytest.Item) -> str:
    """The id of the case that a test runs, or pytest's name of a test that runs none."""
    if not is_case(item):
        return item.nodeid
    return case_id(suite_of(item), scenario_of(item), name_for(spec_of_item(item)))


def spec_of_item(item: pytest.Item) -> str:
    """The subject of a test that runs a case."""
    return str(item.callspec.params["chaos_subject"])  # type: ignore[attr-defined]


def nodeid_of(item: pytest.Item) -> str:
    """Where a test is, so that it can be asked for again: its path is absolute when it is not below the rootdir."""
    path = item.path
    place = path.relative_to(item.config.rootpath) if path.is_relative_to(item.config.rootpath) else path
    return "::".join((str(place), *item.nodeid.split("::")[1:]))


def replayable_nodeid_of(item: pytest.Item) -> str:
    """The same for a replay, whose rootdir is above the suites that ship, whatever that of this session is."""
    path = item.path.resolve()
    shipped = next((place.resolve() for place in _shipped() if path.is_relative_to(place.resolve())), None)
    place = path.relative_to(shipped.parent) if shipped else item.path
    return "::".join((str(place), *item.nodeid.split("::")[1:]))


def own_suite_of(item: pytest.Item) -> Path | None:
    """The file of a test of the user's own; None if it ships."""
    path = item.path.resolve()
    return None if any(path.is_relative_to(place.resolve()) for place in _shipped()) else item.path


def suite_of(item: pytest.Item) -> str:
    """The suite a test belongs to: its module, without `test_`."""
    return Path(str(item.path)).stem.removeprefix("test_")


def seed_of(item: pytest.Item, default: int) -> int:
    """The seed of a test that asks for one; else the one of the run."""
    callspec = getattr(item, "callspec", None)
    return int(callspec.params.get(SEED, default)) if callspec else default


def scenario_of(item: pytest.Item) -> str:
    """The scenario a test is: its function, without `test_`, and its parameters other than the subject."""
    name = str(getattr(item, "originalname", item.name)).removeprefix("test_")
    callspec = getattr(item, "callspec", None)
    others = [str(value) for key, value in callspec.params.items() if key != "chaos_subject"] if callspec else []
    return "-".join([name, *others])
