"""A producer that is killed while it sends: proven, away until its heal, and back with what is not due yet."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import until

from taskchaos.faults.base import FaultError
from taskchaos.faults.producer import KillProducer, Sent
from taskchaos.faults.schedule import PlannedFault
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import StackError
from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import History, SubmitOutcome
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.workload import Workload

pytestmark = pytest.mark.usefixtures("linux")

RATE_TPS = 100
FOR_EVER_S = 600
Sending = Callable[..., LocalStack]


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    """Makes a stack whose producers send for so long; nobody works on it."""
    made: list[LocalStack] = []

    def make(for_s: float = FOR_EVER_S, *, begin: bool = True, **more: int) -> LocalStack:
        workload = Workload(rate_tps=RATE_TPS, baseline_s=for_s, fault_s=0, healed_s=0, **more)  # type: ignore[arg-type]
        stack = LocalStack(tmp_path / f"case-{len(made)}", "stock_best", workload, StackOptions(producers=2))
        made.append(stack)
        stack.__enter__()
        if begin:
            stack.begin_load(now_ns())
        return stack

    yield make
    for stack in made:
        stack.stop()


def kill(stack: LocalStack, target: str = "producer-1") -> KillProducer:
    fault = PlannedFault("kill_producer", target).make(stack.links, stack.workers, producers=stack.producers)
    assert isinstance(fault, KillProducer)
    return fault


def sent(stack: LocalStack) -> History:
    """What the lives of all producers have written down."""
    history = History()
    read_ledger(stack.folder / LEDGER, history)
    return history


def test_it_bites_and_heals(sending: Sending) -> None:
    stack = sending()
    producer, other = stack.producers["producer-1"], stack.producers["producer-2"]
    first, others = producer.pid, other.pid
    fault = kill(stack)
    assert fault.prove() is None and not fault.holds(), "no evidence before it is injected"
    fault.inject()
    evidence = until(fault.prove)
    assert evidence.killed_pids == (first,) and not alive(first)
    assert f"pid {first} gone after SIGKILL" in evidence.seen and " submits begun, " in evidence.seen
    assert fault.holds() and not fault.healed()
    assert not stack.load_done(), "it will be back"
    fault.heal()
    assert fault.verify_healed()
    second = producer.pid
    assert second != first and alive(second) and producer.sent().begun > 0, "it has gone on sending"
    assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    fault.heal()
    assert fault.verify_healed() and producer.pid == second, "healing twice starts it once"
    assert other.pid == others and alive(others)


@pytest.mark.parametrize("again", [0, 3])
def test_what_falls_due_while_it_is_away_is_dropped_and_never_sent_late(sending: Sending, again: int) -> None:
    """Each operation of the plan is begun or dropped, once; what is sent twice as well, unless it was never sent."""
    more = {"again_every": again, "again_after_ms": 300} if again else {}
    stack = sending(2.0, **more)
    fault = kill(stack)
    fault.inject()
    killed_ns = fault.began_ns or 0
    until(lambda: now_ns() > killed_ns + 0.5 * NS_PER_S)
    fault.heal()
    assert fault.verify_healed()
    until(stack.load_done)
    history, planned = sent(stack), round(2.0 * RATE_TPS)
    begun, dropped = list(history.submits.op), list(history.drops.op)
    assert len(dropped) >= 0.5 * RATE_TPS / 2 - 1 and all(op % 2 == 0 for op in dropped), "one of two producers"
    assert len(dropped) == len(set(dropped)) and not set(dropped) & set(begun)
    assert sorted({*begun, *dropped}) == list(range(planned))
    if not again:
        assert len(begun) == len(set(begun)), "nothing is sent twice that need not be"
    away = [due for op, due in zip(begun, history.submits.due_ns, strict=True) if op % 2 == 0 and due > killed_ns]
    assert min(away) > max(history.drops.due_ns), "what was due before it was back is nobody's"
    assert history.gone_through == planned and history.finished == {"producer-1", "producer-2"}
    assert history.torn_records == 0


def test_only_the_life_that_came_to_the_end_of_the_part_says_so(sending: Sending) -> None:
    stack = sending()
    for _ in range(2):
        fault = kill(stack)
        fault.inject()
        until(fault.prove)
        fault.heal()
        assert fault.verify_healed()
    assert sent(stack).finished == frozenset()
    assert len(list((stack.folder / LEDGER).glob("producer-1.*"))) == 3


def test_what_it_had_begun_is_told(sending: Sending) -> None:
    """While its link is silent, no submit returns."""
    stack = sending()
    silence = PlannedFault("black_hole_replies", "producer-1").make(stack.links, stack.workers)
    silence.inject()
    until(lambda: len(stack.producers["producer-1"].sent().unanswered) >= 3)
    fault = kill(stack)
    fault.inject()
    evidence = until(fault.prove)
    pending = {op for op, end in zip(*_outcomes(sent(stack)), strict=True) if end == SubmitOutcome.PENDING}
    assert f"{len(pending)} not answered" in evidence.seen and len(pending) >= 3
    assert {hit.op for hit in fault.hits()} == pending
    silence.heal()
    fault.heal()
    assert fault.verify_healed()


def _outcomes(history: History) -> tuple[list[int], list[int]]:
    rows = [row for row, role in enumerate(history.submits.role) if history.roles[role] == "producer-1"]
    return [history.submits.op[row] for row in rows], [history.submits.outcome[row] for row in rows]


def test_who_has_sent_nothing_yet_is_left_alone(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KillProducer, "proof_deadline_s", 0.1)
    stack = sending(begin=False)
    fault, producer = kill(stack), stack.producers["producer-1"]
    with pytest.raises(FaultError, match="kill_producer: producer-1 is not sending: have it done while there is load"):
        fault.inject()
    assert producer.running() and fault.prove() is None
    fault.heal()
    assert producer.running()


def test_who_has_sent_all_is_left_alone(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KillProducer, "proof_deadline_s", 0.1)
    stack = sending(0.1)
    until(stack.load_done)
    with pytest.raises(FaultError, match="is not sending"):
        kill(stack).inject()


def test_an_end_that_was_nearly_there_proves_nothing(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, but its record says that it had gone through its part: nothing was interrupted."""
    stack = sending()
    fault, producer = kill(stack), stack.producers["producer-1"]
    fault.inject()
    until(fault.prove)
    monkeypatch.setattr(producer, "sent", lambda: Sent(10, (), finished=True))
    assert fault.prove() is None
    monkeypatch.setattr(producer, "sent", lambda: Sent())
    assert fault.prove() is None, "nor that it was there, if it sent nothing"


@pytest.mark.parametrize("lives", [1, 2])
def test_a_death_that_no_fault_caused_is_an_error_and_nobody_starts_it_again(
    sending: Sending, monkeypatch: pytest.MonkeyPatch, lives: int
) -> None:
    monkeypatch.setattr(KillProducer, "proof_deadline_s", 0.1)
    stack = sending()
    producer = stack.producers["producer-1"]
    if lives > 1:
        until(lambda: producer.sent().begun)
        fault = kill(stack)
        fault.inject()
        fault.heal()
        assert fault.verify_healed()
    pid = producer.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    late = kill(stack)
    with pytest.raises(FaultError, match="is not sending"):
        late.inject()
    late.heal()
    assert producer.pid == pid and late.prove() is None
    stack.producers["producer-2"].end()
    with pytest.raises(StackError, match="producer-1 ended with status -9"):
        until(stack.load_done)


def test_a_load_that_is_over_is_not_taken_up_again(sending: Sending) -> None:
    stack = sending()
    fault, producer = kill(stack), stack.producers["producer-1"]
    fault.inject()
    until(fault.prove)
    pid = producer.pid
    stack.end_load()
    fault.heal()
    assert fault.verify_healed() and producer.pid == pid


def test_a_producer_whose_part_fell_due_meanwhile_is_back_with_nothing_to_send(sending: Sending) -> None:
    stack = sending(1.0)
    fault, producer = kill(stack), stack.producers["producer-1"]
    fault.inject()
    killed_ns = now_ns()
    until(lambda: now_ns() > killed_ns + NS_PER_S, "all was due")
    fault.heal()
    assert fault.verify_healed()
    assert producer.sent().finished and not producer.sent().begun
    until(stack.load_done)
    assert sent(stack).gone_through == RATE_TPS


def test_it_takes_up_a_load_that_was_extended_while_it_was_away(sending: Sending) -> None:
    """The load has an open end; where that is, is told only once, to a life that is dead by then."""
    stack = sending(begin=False)
    stack.begin_load(now_ns(), open_end=True)
    fault = kill(stack)
    fault.inject()
    until(fault.prove)
    killed_ns = now_ns()
    last = round(RATE_TPS * (killed_ns - (sent(stack).submits.due_ns[0])) / NS_PER_S) + 2 * RATE_TPS
    stack.extend_load(last, last=True)
    fault.heal()
    assert fault.verify_healed()
    until(stack.load_done)
    history = sent(stack)
    assert {*history.submits.op, *history.drops.op} == set(range(last))
    assert history.finished == {"producer-1", "producer-2"} and history.gone_through == last
