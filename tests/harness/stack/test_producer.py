"""What a producer takes from its schedule, and what it writes down of a submit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import EncodeError

from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import NEVER, History, SubmitOutcome
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.stack.producer import Publishers, revoke, submit
from taskchaos.harness.stack.runtime import Runtime
from taskchaos.harness.subject import CelerySubject, Refused, Unheard
from taskchaos.harness.workload import Operation, Workload

NOBODY: Any = None
ACKNOWLEDGED, REFUSED, UNKNOWN = SubmitOutcome.ACKNOWLEDGED, SubmitOutcome.REFUSED, SubmitOutcome.UNKNOWN


def test_a_second_submit_is_sent_although_one_beyond_the_plan_is_due_before_it() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.3, fault_s=0, healed_s=0, again_every=1, again_after_ms=1000)
    publishers = Publishers(NOBODY, workload.sends(0, 1, more=20))
    publishers.limit(workload.operations, last=True)
    sent = [item[0][0] for item in iter(publishers._next, None)]
    assert [(op.number, op.again) for op in sent] == [(n, again) for again in (False, True) for n in range(3)]
    assert publishers.taken == workload.operations, "what is sent again is no further operation of the plan"


def test_a_chord_is_taken_whole() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.9, fault_s=0, healed_s=0, chord_of=2)
    publishers = Publishers(NOBODY, workload.sends(0, 1, more=20))
    publishers.limit(workload.operations, last=True)
    assert [len(ops) for ops, _ in iter(publishers._next, None)] == [3, 3, 3]
    assert publishers.taken == workload.operations == 9


def test_a_revoke_is_no_further_operation_and_who_was_never_sent_has_none() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.4, fault_s=0, healed_s=0, revoke_every=2, revoke_after_ms=150)
    ledger = _Dropping()
    publishers = Publishers(Runtime(NOBODY, NOBODY, NOBODY, ledger), workload.sends(0, 1))  # type: ignore[arg-type]
    publishers.limit(workload.operations, last=True)
    publishers.begin(begin_ns=0, back_ns=150_000_000)
    sent = [item[0][0] for item in iter(publishers._next, None)]
    assert [(op.number, op.revoked) for op in sent] == [(2, False), (3, False), (2, True)]
    assert ledger.ops == [0, 1] and publishers.taken == workload.operations


@dataclass
class _Dropping:
    """A ledger of what fell due when there was no producer."""

    ops: list[int] = field(default_factory=list)

    def dropped(self, op: int, due_ns: int) -> None:
        self.ops.append(op)


@pytest.mark.parametrize("heard", [True, False])
def test_a_revoke_is_written_down_with_whether_it_was_heard(tmp_path: Path, heard: bool) -> None:
    class Revoking(CelerySubject):
        def revoke(self, app: Any, operation: Operation, workers: int) -> None:
            assert (operation.number, workers) == (4, 2)
            if not heard:
                raise Unheard("1 of 2 answered")

    revoke(Runtime(NOBODY, NOBODY, Revoking(), Ledger(tmp_path, "producer-1")), Operation(4, revoked=True), 2)
    history = History()
    read_ledger(tmp_path, history)
    revokes = history.revokes
    assert list(revokes.op) == [4] and revokes.begun_ns[0] > 0 and history.torn_records == 0
    assert (revokes.heard_ns[0] >= revokes.begun_ns[0], history.unheard) == (
        heard,
        "" if heard else "Unheard: 1 of 2 answered",
    )


def test_who_cannot_revoke_is_not_heard(tmp_path: Path) -> None:
    class Mute(CelerySubject):
        name = "mute"
        revoke: Any = None

    revoke(Runtime(NOBODY, NOBODY, Mute(), Ledger(tmp_path, "producer-1")), Operation(4), 2)
    history = History()
    read_ledger(tmp_path, history)
    assert "mute has no revoke" in history.unheard and list(history.revokes.heard_ns) == [NEVER]


@dataclass
class Sending(CelerySubject):
    """One whose submits end as told."""

    end: Callable[[], None]
    name: str = "sending"

    def submit(self, task: Any, operation: Operation) -> None:
        self.end()

    def submit_chord(self, task: Any, members: Sequence[Operation], body: Operation) -> None:
        assert [op.number for op in (*members, body)] == [4, 5, 6, 7]
        self.end()


def _raising(error: Exception) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


@pytest.mark.parametrize(
    ("end", "alone", "in_chord"),
    [
        (lambda: None, ACKNOWLEDGED, ACKNOWLEDGED),
        (_raising(ConnectionError("gone")), UNKNOWN, UNKNOWN),
        (_raising(Refused("no")), REFUSED, REFUSED),
        (_raising(EncodeError("a part of it may be on its way")), REFUSED, UNKNOWN),
    ],
    ids=["acknowledged", "raised", "refused", "not built"],
)
def test_what_is_told_of_a_chord_is_told_of_all_its_operations(
    tmp_path: Path, end: Callable[[], None], alone: SubmitOutcome, in_chord: SubmitOutcome
) -> None:
    runtime = Runtime(NOBODY, NOBODY, Sending(end), Ledger(tmp_path, "producer-1"))
    submit(runtime, [Operation(3)], 10)
    submit(runtime, [Operation(number) for number in (4, 5, 6, 7)], 40)
    history = History()
    read_ledger(tmp_path, history)
    submits = history.submits
    told = {op: row for op, *row in zip(submits.op, submits.due_ns, submits.outcome, strict=True)}
    assert told == {3: [10, alone], **{op: [40, in_chord] for op in (4, 5, 6, 7)}}
    assert history.torn_records == 0


def test_a_subject_without_chords_has_sent_nothing(tmp_path: Path) -> None:
    class Plain:
        name = "plain"

    runtime = Runtime(NOBODY, NOBODY, Plain(), Ledger(tmp_path, "producer-1"))  # type: ignore[arg-type]
    submit(runtime, [Operation(0), Operation(1)], 0)
    history = History()
    read_ledger(tmp_path, history)
    assert list(history.submits.outcome) == [REFUSED, REFUSED]


def test_a_chord_whose_submit_hangs_is_unknown_to_its_last(tmp_path: Path) -> None:
    publishers = Publishers(Runtime(NOBODY, NOBODY, CelerySubject(), Ledger(tmp_path, "producer-1")), iter(()))
    operations = [Operation(0), Operation(1), Operation(2)]
    for operation in operations:
        publishers.runtime.ledger.submit(operation.number, 0)
    publishers._in_hand[0] = operations, 0
    publishers.give_up()
    history = History()
    read_ledger(tmp_path, history)
    assert list(history.submits.outcome) == [UNKNOWN] * 3


def test_a_chord_that_is_too_late_is_dropped_whole(tmp_path: Path) -> None:
    publishers = Publishers(Runtime(NOBODY, NOBODY, CelerySubject(), Ledger(tmp_path, "producer-1")), iter(()))
    publishers._send_when_due([Operation(3), Operation(4), Operation(5)], 1, open_load=True)
    history = History()
    read_ledger(tmp_path, history)
    assert list(history.drops.op) == [3, 4, 5]


def test_what_a_life_had_not_written_down_of_a_chord_was_never_sent(tmp_path: Path) -> None:
    """It is written down whole before it is sent: killed in between, it has begun some of it, and sent nothing."""
    workload = Workload(rate_tps=10, baseline_s=0.9, fault_s=0, healed_s=0, chord_of=2)
    before = Counter({0: 1, 1: 1, 2: 1, 3: 1, 4: 1})
    runtime = Runtime(NOBODY, NOBODY, CelerySubject(), Ledger(tmp_path, "producer-1"))
    publishers = Publishers(runtime, workload.sends(0, 1), before)
    assert [ops[0].number for ops, _ in iter(publishers._next, None)] == [6]
    history = History()
    read_ledger(tmp_path, history)
    assert list(history.drops.op) == [5]
