"""The tasks of a case, one by one: every end that one can have, and what a large case leaves out."""

from __future__ import annotations

from copy import deepcopy

import pytest
from checker_histories import ALL, HistoryBuilder

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.judge import ways as module
from taskchaos.harness.judge.ways import ways
from taskchaos.harness.record.history import AttemptOutcome, History, SubmitOutcome
from taskchaos.harness.record.result import TaskEnd, TaskWays


def built() -> HistoryBuilder:
    """A case whose phase began at 0 ms."""
    return HistoryBuilder().phase(PhaseName.FAULT, 0, 5000)


ENDS = {
    TaskEnd.DONE: lambda: built().ack(0, at=100).attempt(0, 105).effect(0, 130),
    TaskEnd.AGAIN: lambda: built().ack(0, at=100).effect(0, 130).effect(0, 140),
    TaskEnd.GONE: lambda: built().ack(0, at=100),
    TaskEnd.LEFT: lambda: built().ack(0, at=100).final(pending=frozenset({0}), converged=False),
    TaskEnd.DEAD: lambda: built().ack(0, at=100).final(dead=frozenset({0})),
    TaskEnd.REVOKED: lambda: built().set(revoking=True).ack(0, at=100).revoke(0, 100, 110),
    TaskEnd.UNSENT: lambda: built().submit(0, SubmitOutcome.REFUSED, 100),
}


@pytest.mark.parametrize("end", TaskEnd)
def test_every_end_is_told(end: TaskEnd) -> None:
    history = ENDS[end]().build()
    before = deepcopy(history)
    found = ways(history, ALL)
    assert (found.ops, found.ends) == ((0,), end.value)
    assert found.submit_ms == (100,)
    assert (found.took_ms[0] >= 0) == (end in (TaskEnd.DONE, TaskEnd.AGAIN))
    assert history == before, "judging goes on with it"


def test_the_time_of_a_task_is_from_when_it_was_due_to_its_first_effect() -> None:
    history = built().submit(3, SubmitOutcome.ACKNOWLEDGED, 120, due=100).effect(3, 400).effect(3, 150).build()
    assert ways(history, ALL) == TaskWays((3,), (120,), (50,), "a")


def test_of_a_large_case_only_what_is_not_done_once_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TASKS", 3)
    history = built().done(0, 1, 2).ack(3).effect(2, 190).build()
    assert (ways(history, ALL).ops, ways(history, ALL).ends) == ((2, 3), "ag")
    monkeypatch.setattr(module, "MOST_LOOKED_AT", 3)
    assert ways(history, ALL) == TaskWays()


def test_of_too_many_the_lost_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TASKS", 2)
    builder = built().done(0, 1, 2).effect(0, 190).effect(1, 190).effect(2, 190).ack(3)
    assert (ways(builder.build(), ALL).ops, ways(builder.build(), ALL).ends) == ((0, 3), "ag")


def test_what_may_still_run_is_not_lost() -> None:
    builder = built().ack(0, at=100).attempt(0, 105, -1, AttemptOutcome.OPEN).final(converged=False)
    assert ways(builder.build(), ALL).ends == TaskEnd.LEFT.value


def test_a_case_that_never_began_has_none() -> None:
    assert ways(History(planned=5), ALL) == TaskWays()
