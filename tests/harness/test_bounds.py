"""Whatever a suite or a subject says in figures is checked where it says it: each field, by one line that names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from taskchaos.faults.bounds import Flag, Kind, Member, OrNone, Real, SetOf, ValueBounds, Whole, bounds_of, default_of
from taskchaos.faults.schedule import Schedule
from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.case.stack_options import StackChanges, StackOptions, changed
from taskchaos.harness.contract import Claim, Contract, PhaseName, Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.subject import Settings
from taskchaos.harness.workload import Workload

#: What no field may be, whatever it is.
NEVER: dict[str, Any] = {
    "text": "x",
    "digits": "1",
    "nan": float("nan"),
    "inf": float("inf"),
    "minus_inf": float("-inf"),
    "list": [1],
    "huge": 10**5000,
    "lone": "\ud800",
    "bytes": b"1",
    "object": object(),
}
#: By name, what is said in figures; what else it has to be given to be made; the fields that say no bounds.
SAID: dict[str, tuple[type, dict[str, Any], frozenset[str]]] = {
    "workload": (Workload, {}, frozenset()),
    "slo": (Slo, {}, frozenset()),
    "contract": (Contract, {"claims": frozenset({Claim.NO_LOSS})}, frozenset()),
    "backoff": (BackoffLaw, {}, frozenset()),
    "expectation": (Expectation, {}, frozenset()),
    "settings": (Settings, {}, frozenset()),
    # Paths: `taskchaos run` looks whether they are there.
    "stack": (StackOptions, {}, frozenset({"redis_binary", "previous"})),
}


class Colour(Enum):
    """None of ours."""

    RED = "red"


def beyond(bounds: ValueBounds) -> dict[str, Any]:
    """What these bounds exclude, each value that is right at them."""
    match bounds:
        case OrNone():
            return {name: value for name, value in beyond(bounds.bounds).items() if value is not None}
        case Whole():
            return {"least": bounds.least - 1, "most": bounds.most + 1, "fraction": 1.5, "true": True, "none": None}
        case Real():
            return {
                "least": bounds.least if bounds.above else bounds.least - 0.001,
                "most": bounds.most + 1,
                "true": True,
                "none": None,
            }
        case Flag():
            return {"number": 1, "none": None}
        case Member():
            return {"other": Colour.RED, "value": next(iter(bounds.of)).value, "none": None}
        case SetOf():
            one = next(iter(bounds.of))
            return {"single": one, "tuple": (one,), "values": frozenset({"x", 1}), "others": frozenset({Colour.RED})}
        case Kind():
            return {"class": bounds.of, "none": None, "true": True}
    raise AssertionError(f"{bounds}: what lies beyond it?")


def wrong() -> list[Any]:
    rows = []
    for name, (kind, given, _) in SAID.items():
        for field, bounds in bounds_of(kind).items():
            for what, value in (NEVER | beyond(bounds)).items():
                rows.append(pytest.param(kind, given, field, value, id=f"{name}-{field}-{what}"))
    return rows


@pytest.mark.parametrize(("kind", "given", "field", "value"), wrong())
def test_a_value_out_of_its_bounds_is_refused(
    kind: Callable[..., object], given: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(ValueError, match=rf"^(\w+: )?{field} has to be [^\n]+, not [^\n]+$"):
        kind(**{**given, field: value})


@pytest.mark.parametrize("name", SAID)
def test_every_field_says_its_bounds_and_its_default_is_within(name: str) -> None:
    kind, given, free = SAID[name]
    known = bounds_of(kind)
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields - known.keys() == free
    for field, bounds in known.items():
        assert field in given or bounds.fits(default_of(kind, field)), field
    kind(**given)


@pytest.mark.parametrize("name", StackChanges.__annotations__)
def test_what_a_case_may_ask_of_its_stack_is_refused_by_name(name: str) -> None:
    of = Settings if name in bounds_of(Settings) else StackOptions
    for value in (NEVER | beyond(bounds_of(of)[name])).values():
        with pytest.raises(ValueError, match=rf"^{name} has to be [^\n]+, not [^\n]+$"):
            changed(StackOptions(), **{name: value})  # type: ignore[misc]


def test_a_target_is_wanted_in_some_phase() -> None:
    with pytest.raises(ValueError, match=r"^slo: phases has to name one at least"):
        Slo(50.0, frozenset())
    assert Slo(None, frozenset()).phases == frozenset()
    assert Slo(50, {PhaseName.BASELINE}).target_tps == 50  # type: ignore[arg-type]


def test_no_more_workers_begin_with_the_last_release_than_there_are() -> None:
    assert StackOptions(workers=2, behind=2).behind == 2
    with pytest.raises(ValueError, match=r"^behind has to be at most workers, 2, not 3$"):
        StackOptions(workers=2, behind=3)


ARGUMENTS: dict[str, str] = {
    "workload": r"^chaos: workload has to be a Workload, not [^\n]+$",
    "schedule": r"^chaos: schedule has to be a Schedule, not [^\n]+$",
    "slo": r"^chaos: slo has to be None or a Slo, not [^\n]+$",
    "must_see": r"^chaos: must_see has to be a collection of Seen, not [^\n]+$",
}


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("what", [*NEVER, "none", "true", "number", "members"])
def test_every_argument_of_chaos_is_refused_by_name(argument: str, what: str) -> None:
    """Before anything else is done: there is no stack, not even a run."""
    value = {**NEVER, "none": None, "true": True, "number": 5, "members": ("a", Colour.RED)}[what]
    if argument == "slo" and value is None:
        return
    given = {"workload": Workload(), "schedule": Schedule(), argument: value}
    with pytest.raises(ValueError, match=ARGUMENTS[argument]):
        Chaos.__call__(object.__new__(Chaos), given.pop("workload"), given.pop("schedule"), **given)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("workerss", "did you mean workers?"), ("slos", "did you mean slo?"), ("x", "there is schedule")],
)
def test_an_argument_that_chaos_does_not_take_is_refused_by_name(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=r"^chaos: no argument ") as raised:
        Chaos.__call__(object.__new__(Chaos), Workload(), **{name: 1})  # type: ignore[arg-type]
    assert f"'{name}': {meant}" in str(raised.value)


@pytest.mark.parametrize("must_see", [(), [], {Seen.RETRIED}, frozenset({Seen.RETRIED}), (Seen.RETRIED,)])
def test_what_has_to_be_seen_is_a_collection(must_see: Any) -> None:
    with pytest.raises(AttributeError):  # that is accepted; what comes next needs a run
        Chaos.__call__(object.__new__(Chaos), Workload(), must_see=must_see)
