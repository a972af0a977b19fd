"""Round trips of what is stored, and errors that name the place."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskchaos.faults.bounds import Real, Whole, bounds_of
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness import codec
from taskchaos.harness.case.plan import Case
from taskchaos.harness.contract import Claim, Contract, PhaseName, Slo
from taskchaos.harness.record import events
from taskchaos.harness.record.history import FinalState
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.workload import LoadModel, Workload

CASE = Case(
    suite="worker_kill",
    scenario="tree",
    subject="stock_best",
    subject_name="stock_best",
    seed=7,
    workload=Workload(model=LoadModel.OPEN, rate_tps=30, work_ms=200),
    contract=Contract(frozenset({Claim.NO_LOSS}), max_crashes=3),
    longest_wait_s=2.5,
    schedule=Schedule.of(PlannedFault("latency", "worker-1", 0.5, 1.0, {"round_trip_ms": 20})),
    slo=Slo(80.0, frozenset({PhaseName.FAULT}), 5.0),
    expectation=Expectation(must=frozenset({Rule.LOST})),
)


@pytest.mark.parametrize(
    "value",
    [CASE, RunOptions(out="x", began_ns=1), FinalState(pending=frozenset({3, 1}), results={4: 1}), Expectation()],
)
def test_a_stored_value_comes_back_the_same(value: object) -> None:
    assert codec.decode(type(value), codec.encode(value)) == value


@pytest.mark.parametrize("name", [name for name, b in bounds_of(Workload).items() if isinstance(b, (Whole, Real))])
def test_a_suite_is_told_which_value_no_plan_can_hold(name: str) -> None:
    """True passes for 1 in Python, and would come up in the processes that read the plan."""
    case = replace(CASE, workload=deepcopy(CASE.workload))
    object.__setattr__(case.workload, name, True)
    with pytest.raises(ValueError, match=rf"case\.workload\.{name}: wanted a .*number, got True"):
        case.as_planned()
    assert CASE.as_planned() == CASE


@given(st.builds(Workload, rate_tps=st.integers(1, 10_000), failures=st.integers(0, 9), baseline_s=st.floats(0, 100)))
def test_any_workload_comes_back_the_same(workload: Workload) -> None:
    assert codec.decode(Workload, codec.encode(workload)) == workload


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("workload", "rate_tps"), "fast", "workload.rate_tps: wanted a whole number, got 'fast'"),
        (("workload", "model"), "closed", "workload.model: 'closed' is none of open, prefill"),
        (("schedule",), [], "schedule: wanted an object, got []"),
        (("seed",), True, "seed: wanted a whole number, got True"),
        (("seed",), 1 << 63, "seed: wanted a number of 64 bits, got 9223372036854775808"),
        (("longest_wait_s",), float("nan"), "longest_wait_s: wanted a finite number, got nan"),
        (("longest_wait_s",), 1e308, "longest_wait_s: wanted a finite number, got 1e.308"),
        (("workload", "rate_tps"), -5, "workload: rate_tps has to be a whole number from 1 to 10,000,000, not -5"),
        (("workload", "healed_s"), -0.5, "workload: healed_s has to be a number from 0 to 86,400, not -0.5"),
        (("workload", "model"), [], r"workload.model: [] is none of open, prefill"),
        (("expectation", "must"), [["lost"]], "expectation.must[0]: ['lost'] is none of lost"),
    ],
)
def test_a_broken_plan_names_the_place(path: tuple[str, ...], value: object, message: str) -> None:
    data = codec.encode(CASE)
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(codec.CodecError, match=message.replace("[", r"\[").replace("]", r"\]")):
        codec.decode(Case, data)


def test_a_missing_field_is_named() -> None:
    data = codec.encode(CASE)
    del data["schedule"]["faults"][0]["kind"]
    with pytest.raises(codec.CodecError, match=r"schedule\.faults\[0\]\.kind: missing"):
        codec.decode(Case, data)


def test_unknown_keys_of_a_newer_version_are_left_out() -> None:
    assert codec.decode(Slo, {"target_tps": 5, "colour": "red"}) == Slo(target_tps=5.0)


def test_an_event_survives_its_line() -> None:
    event = events.PhaseEnded(at_ns=5, case="c", phase=PhaseName.FAULT, took_s=1.0, offered_tps=None, done_tps=3.0)
    assert events.from_line(events.to_line(event)) == event


def test_keys_that_should_be_numbers_are_checked() -> None:
    with pytest.raises(codec.CodecError, match="results: wanted whole numbers as keys, got 'one'"):
        codec.decode(FinalState, {"results": {"one": 1}})


def test_a_list_where_an_event_should_be_is_counted_as_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = events.Log(path)
    log.emit(events.RunEnded(at_ns=1, wall_s=2.0))
    log.close()
    deep = b"[" * 100_000
    path.write_bytes(path.read_bytes() + b"[]\n1\n{}\n" + deep + b'\n{"type":"run_ended"}\n{"type":"run_en')
    assert list(events.read(path)) == [
        events.RunEnded(at_ns=1, wall_s=2.0),
        events.Unreadable(at_ns=0, lines=5),
    ]


@pytest.mark.parametrize("line", [b'{"type":"phase_en', b"", b'{"type":"of a newer version"}'])
def test_a_torn_or_newer_event_is_skipped(line: bytes) -> None:
    assert events.from_line(line) is None
