"""What a fault is planned with is checked when it is planned: its kind, its target, its times and every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from taskchaos.faults.bounds import Choice, Text, ValueBounds, Whole, default_of
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule
from taskchaos.faults.swarm import drawable
from taskchaos.harness.case.plan import Case
from taskchaos.harness.codec import encode
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.errors import UsageError
from taskchaos.harness.workload import Workload

#: What no field of a plan may be, whatever it is.
NEVER: dict[str, Any] = {
    "true": True,
    "fraction": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "none": None,
    "list": [1],
    "huge": 10**5000,
    "bytes": b"1",
    "lone": "\ud800",
    "lines": "one\ntwo",
    "long": "x" * 5000,
}


def beyond(bounds: ValueBounds) -> dict[str, Any]:
    """What these bounds exclude, each value that is right at them."""
    match bounds:
        case Whole():
            return {"least": bounds.least - 1, "most": bounds.most + 1, "text": str(bounds.least)}
        case Choice():
            return {"choice": "bogus", "case": bounds.values[0].swapcase(), "empty": ""}
        case Text():
            return {"number": 1} | ({} if bounds.empty else {"empty": "", "blank": " "})
    raise AssertionError(f"{bounds}: what lies beyond it?")


def wrong() -> Iterator[Any]:
    for kind, fault in FAULTS.items():
        for name, bounds in fault.parameters().items():
            for what, value in (NEVER | beyond(bounds)).items():
                yield pytest.param(kind, name, value, id=f"{kind}-{name}-{what}")


@pytest.mark.parametrize(("kind", "name", "value"), list(wrong()))
def test_a_parameter_out_of_its_bounds_is_refused(kind: str, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{kind} on a: {name} has to be .*, not [^\n]+$"):
        PlannedFault(kind, "a", 0.0, 1.0, {name: value})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", FAULTS)
def test_every_parameter_says_its_bounds_and_its_default_is_within(kind: str) -> None:
    fault = FAULTS[kind]
    known = fault.parameters()
    made = [f.name for f in dataclasses.fields(fault) if f.init]  # type: ignore[arg-type]
    assert list(known) == [name for name in made if name in known] and len(made) == len(known) + 1, "but its target"
    for name, bounds in known.items():
        assert bounds.fits(default_of(fault, name)), name
    Schedule.of(PlannedFault(kind, "a", 0.0, 1.0))


@pytest.mark.parametrize("kind", FAULTS)
def test_every_field_of_a_planned_fault_is_checked(kind: str) -> None:
    times = [None, True, "1", float("nan"), float("inf"), -0.1, 1e308, 10**5000, [1]]
    for given in [{"at_s": time} for time in times] + [{"hold_s": time} for time in times]:
        name = next(iter(given))
        with pytest.raises(ValueError, match=rf"^{kind} on a: {name} has to be a number from 0 to 86,400, not "):
            PlannedFault(kind, "a", **given)  # type: ignore[arg-type]
    for target in (None, 1, "", "a\nb", "x" * 5000):
        with pytest.raises(ValueError, match=rf"^{kind} on .*target has to be a text of one line, not "):
            PlannedFault(kind, target)  # type: ignore[arg-type]
    for parameters in (None, 5, "round_trip_ms", [("round_trip_ms", 5)]):
        with pytest.raises(ValueError, match=rf"^{kind} on a: parameters has to be a dict of parameters, not "):
            PlannedFault(kind, "a", parameters=parameters)  # type: ignore[arg-type]
    for name in ("round_trip", 5, None):
        with pytest.raises(ValueError, match=rf"^{kind} on a: no parameter "):
            PlannedFault(kind, "a", parameters={name: 5})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", ["latencyy", "", None, 5, ["latency"], "x" * 5000])
def test_a_fault_that_there_is_not_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^no kind of fault ") as raised:
        PlannedFault(kind, "a")
    assert kind != "latencyy" or str(raised.value) == "no kind of fault 'latencyy': did you mean latency?"


#: Within the bounds of each, and for nothing: together, or held for so long.
IN_VAIN: list[tuple[str, float, dict[str, int | str], str]] = [
    ("jitter", 1.0, {"round_trip_ms": 50, "jitter_ms": 51}, "jitter_ms has to be at most round_trip_ms, 50, not 51"),
    ("slicing", 1.0, {"piece_bytes": 512, "delay_us": 100}, "a PING of 32768 bytes would take 6.3 ms longer"),
    ("flapping", 0.4, {"period_ms": 400}, "hold_s has to be longer than period_ms, 400"),
    ("kill_loop", 0.3, {"every_ms": 300}, "hold_s has to be longer than every_ms, 300"),
    ("redis_busy", 1.0, {"every_ms": 400, "after_ms": 400}, "after_ms has to be below every_ms, 400, not 400"),
    ("redis_loading", 2.5, {"most_s": 2}, "hold_s has to be at most most_s, 2, not 2.5"),
    ("reply_lost", 1.0, {"nth": 1, "every": 2}, "only one of nth, every and first can be given, not nth and every"),
    ("together", 1.0, {"nth": 1, "first": 2}, "only one of nth, every and first can be given, not nth and first"),
]


@pytest.mark.parametrize(("kind", "hold_s", "parameters", "why"), IN_VAIN, ids=[row[0] for row in IN_VAIN])
def test_what_does_nothing_together_is_refused(
    kind: str, hold_s: float, parameters: dict[str, int | str], why: str
) -> None:
    with pytest.raises(ValueError, match=f"^{kind} on a: {why}"):
        Schedule.of(PlannedFault(kind, "a", 0.0, hold_s, parameters))


@pytest.mark.parametrize("kind", FAULTS)
def test_what_lasts_until_its_heal_is_held_for_a_while(kind: str) -> None:
    planned = PlannedFault(kind, "a")
    if not FAULTS[kind].lasts:
        Schedule.of(planned)
        return
    with pytest.raises(ValueError, match=rf"^{kind} on a: hold_s has to be above 0"):
        Schedule.of(planned)


@pytest.mark.parametrize("faults", [5, [PlannedFault("pause", "a", 0.0, 1.0)], (5,), ("pause",)])
def test_a_schedule_is_of_planned_faults(faults: Any) -> None:
    with pytest.raises(ValueError, match=r"^a schedule is of faults, Schedule.of\(PlannedFault\(...\), ...\), not "):
        Schedule(faults)


@pytest.mark.parametrize("kind", drawable())
def test_what_a_random_schedule_draws_is_within_the_bounds(kind: str) -> None:
    drawn = drawable()[kind]
    for name, values in drawn.parameters.items():
        for value in (values[0], values[-1], *(values if len(values) < 10 else ())):
            for hold_s in drawn.hold_s:
                Schedule.of(PlannedFault(kind, "a", 0.0, hold_s, {name: value}))


def test_a_stored_plan_is_held_to_the_same(tmp_path: Path) -> None:
    """What replay and shrink read: edited by hand, or from a version that took it."""
    schedule = Schedule.of(PlannedFault("latency", "worker-1", 0.0, 1.0, {"round_trip_ms": 20}))
    case = Case("s", "x", "a", "a", 1, Workload(), Contract(frozenset({Claim.NO_LOSS})), schedule=schedule)
    case.save(tmp_path)
    assert Case.load(tmp_path) == case
    plan = tmp_path / "plan.json"
    written = plan.read_text()
    for good, bad, why in (
        (
            '"round_trip_ms": 20',
            '"round_trip_ms": 0',
            "latency on worker-1: round_trip_ms has to be a whole number",
        ),
        ('"round_trip_ms": 20', '"round_trip": 20', "latency on worker-1: no parameter 'round_trip': did you mean"),
        ('"hold_s": 1.0', '"hold_s": 0', "latency on worker-1: hold_s has to be above 0"),
        ('"at_s": 0.0', '"at_s": -1', "latency on worker-1: at_s has to be a number from 0 to 86,400, not -1.0"),
        ('"kind": "latency"', '"kind": "flood"', "no kind of fault 'flood': `taskchaos faults` lists them"),
    ):
        assert good in written
        plan.write_text(written.replace(good, bad))
        with pytest.raises(UsageError, match=r"plan\.json: .*") as raised:
            Case.load(tmp_path)
        assert why in str(raised.value) and "\n" not in str(raised.value)
    assert encode(case)["schedule"]["faults"][0]["parameters"] == {"round_trip_ms": 20}


def documented() -> list[str]:
    """The rows of the table of parameters: what is the same of several faults is said once."""
    kinds: dict[tuple[str, str, object], list[str]] = {}
    for kind, fault in FAULTS.items():
        for name, bounds in fault.parameters().items():
            kinds.setdefault((name, str(bounds), default_of(fault, name)), []).append(f"`{kind}`")
    return [
        f"| {', '.join(of)} | `{name}` | {bounds} | {'nothing' if default == '' else default} |"
        for (name, bounds, default), of in kinds.items()
    ]


def test_the_documentation_has_every_parameter_with_its_bounds() -> None:
    text = (ROOT / "docs" / "reference" / "faults.md").read_text()
    section = text.split("\n## Parameters\n")[1].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == documented()
