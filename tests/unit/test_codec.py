"""Round trips of what is stored, and errors that name the place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.schedule import PlannedFault, Schedule
from harness import codec, events
from harness.case import Case
from harness.contract import PhaseName, Slo
from harness.history import FinalState
from harness.result import Expectation
from harness.run import RunOptions
from harness.verdict import Rule
from harness.workload import LoadModel, Workload

CASE = Case(
    suite="worker_kill",
    scenario="tree",
    subject="stock_best",
    subject_name="stock_best",
    seed=7,
    workload=Workload(model=LoadModel.OPEN, rate_tps=30, work_ms=200),
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


def test_what_is_missing_is_named() -> None:
    data = codec.encode(CASE)
    del data["schedule"]["faults"][0]["kind"]
    with pytest.raises(codec.CodecError, match=r"schedule\.faults\[0\]\.kind: missing"):
        codec.decode(Case, data)


def test_unknown_keys_of_a_newer_version_are_left_out() -> None:
    assert codec.decode(Slo, {"target_tps": 5, "colour": "red"}) == Slo(target_tps=5.0)


def test_an_event_survives_its_line() -> None:
    event = events.PhaseEnded(at_ns=5, case="c", phase=PhaseName.FAULT, took_s=1.0, offered_tps=None, done_tps=3.0)
    assert events.from_line(events.to_line(event)) == event


@pytest.mark.parametrize("line", [b'{"type":"phase_en', b"", b'{"type":"of a newer version"}'])
def test_a_torn_or_newer_event_is_skipped(line: bytes) -> None:
    assert events.from_line(line) is None
