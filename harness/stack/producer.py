"""The load generator: one producer process that sends operations when they are due, and waits for nobody.

Publisher threads share one schedule. A publish that hangs in a partition holds up its thread, not the schedule;
what is begun late shows in the ledger (begun minus due), what is not begun within `GIVE_UP_S` is dropped, on record.
So a slow broker cannot turn the open load into a closed one unnoticed. When every operation was begun or dropped, and
every submit has answered, the producer says so in the ledger: a part without that was not sent as planned.

How far a load with faults goes is said while it runs: it goes on at its rate until they are healed.

A producer that is started again goes on where its earlier lives ended: what they began is not begun again, and what
fell due before it was back is dropped, on record, and never sent late.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from math import inf
from pathlib import Path

from kombu.exceptions import EncodeError

from taskchaos.harness import codec
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.record.sent import sent_so_far
from taskchaos.harness.stack.runtime import BROKEN, RoleConfig, Runtime, build, refuse
from taskchaos.harness.subject import ChordSubject, Refused, RevokingSubject
from taskchaos.harness.subject_calls import describe, where
from taskchaos.harness.workload import Operation, Workload

THREADS = 8
GIVE_UP_S = 5.0
#: Certain to have sent nothing: the message could not even be built, or the subject says so.
CERTAIN_REFUSALS = (EncodeError, Refused)
PLAN = "load.json"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """What a producer is told of its load, a line each.

    begin_ns: when it begins (CLOCK_MONOTONIC). operations: how many there are, of all producers, as far as is known;
    last: there will be no more. end: stop, whatever is left. back_ns: it was started again, and is back from then on.
    """

    begin_ns: int | None = None
    operations: int | None = None
    last: bool = True
    end: bool = False
    back_ns: int = 0

    def line(self) -> bytes:
        """For the pipe."""
        return json.dumps(codec.encode(self)).encode() + b"\n"


def plan_path(config: RoleConfig) -> Path:
    """Where the workload of a case is written down for its producers."""
    return Path(config.folder) / PLAN


def run(config_path: Path, ready_fd: int, told_fd: int) -> None:
    """Be a producer: say ready, wait to be told when the load begins (decimal ns), send everything, end.

    Told anything more, or left alone by the harness, it ends where it stands, and writes down which submits hang.
    """
    config = RoleConfig.load(config_path)
    workload, producers, workers = _read_plan(config)
    runtime = build(config, refuse(ready_fd))
    number = int(config.role.rpartition("-")[2]) - 1
    begun = sent_so_far(runtime.ledger.folder, config.role).gone_through
    publishers = Publishers(runtime, workload.sends(number, producers, workload.overtime_operations), begun, workers)
    publishers.limit(workload.operations, last=True)
    publishers.prepare()
    os.write(ready_fd, b"1")
    os.close(ready_fd)
    with os.fdopen(told_fd, "rb", buffering=0) as pipe:
        if not _follow(publishers, pipe):
            os._exit(0)  # the harness went away, or the case ended before its load
        while publishers.running():
            if select.select([pipe], [], [], _POLL_S)[0] and not _follow(publishers, pipe):
                publishers.give_up()
                break
        else:
            publishers.finish()
    sys.stderr.flush()
    os._exit(BROKEN if publishers.broken else 0)  # a publisher that still hangs must not hold up the end


def _follow(publishers: Publishers, pipe: FileIO) -> bool:
    """Do as the next line says; False when it says that this is the end, as the end of the pipe does."""
    line = pipe.readline()
    told = codec.decode(Told, json.loads(line)) if line else Told(end=True)
    if told.operations is not None:
        publishers.limit(told.operations, last=told.last)
    if told.begin_ns is not None:
        publishers.begin(told.begin_ns, told.back_ns)
    return not told.end


def _read_plan(config: RoleConfig) -> tuple[Workload, int, int]:
    data = json.loads(plan_path(config).read_bytes())
    return codec.decode(Workload, data["workload"]), int(data["producers"]), int(data["workers"])


@dataclass(slots=True)
class Publishers:
    """The threads that send a schedule: what one submit sends, with its due time in ns after the load has begun.

    begun: how often earlier lives of the producer began each operation; it is back since back_ns (0: there were none).
    workers: so many have to hear a revoke. broken: a thread died, which no subject can cause.
    """

    runtime: Runtime
    due: Iterator[tuple[tuple[Operation, ...], int]]
    begun: Counter[int] = field(default_factory=Counter)
    workers: int = 0
    begin_ns: int = 0
    back_ns: int = 0
    taken: int = 0
    broken: bool = False
    _taking: threading.Condition = field(default_factory=threading.Condition)
    _operations: float = inf
    _last: bool = True
    _begun: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _missed: set[int] = field(default_factory=set)
    # By thread, what it submits, and since when.
    _in_hand: dict[int, tuple[Sequence[Operation], int]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Have everything that a first send makes, so that the load begins on time. Raises what a connection raises.

        That takes some 15 ms of CPU time in each thread; where all of them needed it at their first sends, those and
        all behind them were late.
        """
        self._make_ready()
        prepared = threading.Barrier(THREADS + 1)
        self._threads = [
            threading.Thread(target=self._publish, args=(prepared,), name=f"publisher-{n}", daemon=True)
            for n in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()
        prepared.wait()

    def _make_ready(self) -> None:
        """A connection that has declared the queue, and this thread's result backend (Celery has one for each)."""
        app = self.runtime.app
        with app.producer_or_acquire() as producer:
            app.amqp.queues["celery"](producer.channel).declare()
        _ = app.backend

    def limit(self, operations: int, *, last: bool) -> None:
        """Send only those below this number; unless it is the last word, wait there for another."""
        with self._taking:
            self._operations, self._last = operations, last
            self._taking.notify_all()

    def begin(self, begin_ns: int, back_ns: int = 0) -> None:
        """Begin to send, or go on."""
        self.begin_ns, self.back_ns = begin_ns, back_ns
        self._begun.set()

    def running(self) -> bool:
        """Whether there is something left to send, or a submit that has not answered."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait until everything was begun or dropped, and has answered."""
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """Everything was begun or dropped, and has answered: say so."""
        if not self.broken:
            self.runtime.ledger.finished(self.taken)

    def give_up(self) -> None:
        """Write down where the submits stand that have not answered."""
        for thread, (operations, since_ns) in list(self._in_hand.items()):
            took_s = (now_ns() - since_ns) / NS_PER_S
            stands = where(self.runtime.subject, thread)
            for operation in operations:
                self.runtime.ledger.unknown(operation.number, f"submit() had not returned after {took_s:.1f} s{stands}")

    def _publish(self, prepared: threading.Barrier) -> None:
        with contextlib.suppress(Exception):  # the first one is there; without another, its sends find out
            self._make_ready()
        prepared.wait()
        self._begun.wait()
        try:
            while (item := self._next()) is not None:
                operations, after_ns = item
                self._send_when_due(operations, self.begin_ns + after_ns, open_load=after_ns > 0)
        except BaseException:
            self.broken = True
            traceback.print_exc()

    def _next(self) -> tuple[tuple[Operation, ...], int] | None:
        with self._taking:
            for item in self.due:
                first, number = item[0][0], len(item[0])
                while first.number >= self._operations and not self._last:
                    self._taking.wait()
                if first.number < self._operations:
                    self.taken += 0 if first.again or first.revoked else number
                    if self._is_left(item[0], self.begin_ns + item[1]):
                        return item
            return None

    def _is_left(self, operations: Sequence[Operation], due_ns: int) -> bool:
        """Whether it is this life's to send. What fell due when there was none is written down, and left."""
        first = operations[0]
        if first.revoked:
            return due_ns >= self.back_ns and first.number not in self._missed
        if self.begun[first.number] > 0:
            self.begun[first.number] -= 1
            for operation in operations[1:]:
                if not self.begun[operation.number]:  # it was killed before it had written down all that it would send
                    self.runtime.ledger.dropped(operation.number, due_ns)
            return False
        if first.again and first.number in self._missed:
            return False  # nobody sends again what was never sent
        if due_ns >= self.back_ns:
            return True
        if not first.again:
            self._missed.add(first.number)
            for operation in operations:
                self.runtime.ledger.dropped(operation.number, due_ns)
        return False

    def _send_when_due(self, operations: Sequence[Operation], due_ns: int, *, open_load: bool) -> None:
        wait_ns = due_ns - now_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / NS_PER_S)
        elif open_load and -wait_ns > GIVE_UP_S * NS_PER_S:
            for operation in operations if not operations[0].revoked else ():
                self.runtime.ledger.dropped(operation.number, due_ns)
            return
        if operations[0].revoked:
            revoke(self.runtime, operations[0], self.workers)
            return
        me = threading.get_ident()
        self._in_hand[me] = operations, now_ns()
        submit(self.runtime, operations, due_ns)
        del self._in_hand[me]


def submit(runtime: Runtime, operations: Sequence[Operation], due_ns: int) -> None:
    """Submit one operation, or the chord of several, and write down what the subject told. Whatever it raises, the load
    goes on.

    What is told of a chord is told of all its operations: who submits it learns no more of each.
    """
    ledger, numbers = runtime.ledger, [operation.number for operation in operations]
    for number in numbers:
        ledger.submit(number, due_ns)
    try:
        _send(runtime, operations)
    except CERTAIN_REFUSALS as error:
        # What cannot be built of a chord may come after what was sent of it.
        tell = ledger.refused if len(numbers) == 1 or isinstance(error, Refused) else ledger.unknown
        for number in numbers:
            tell(number, describe(error))
    except BaseException as error:
        for number in numbers:
            ledger.unknown(number, describe(error))
    else:
        for number in numbers:
            ledger.acknowledged(number)


def revoke(runtime: Runtime, operation: Operation, workers: int) -> None:
    """Revoke one operation, and write down whether that was heard. Whatever the subject raises, the load goes on."""
    ledger, subject = runtime.ledger, runtime.subject
    ledger.revoke(operation.number)
    try:
        if not isinstance(subject, RevokingSubject):
            raise Refused(f"{subject.name} has no revoke")
        subject.revoke(runtime.app, operation, workers)
    except BaseException as error:
        ledger.unheard(operation.number, describe(error))
    else:
        ledger.heard(operation.number)


def _send(runtime: Runtime, operations: Sequence[Operation]) -> None:
    subject = runtime.subject
    if len(operations) == 1:
        subject.submit(runtime.task, operations[0])
    elif isinstance(subject, ChordSubject):
        subject.submit_chord(runtime.task, operations[:-1], operations[-1])
    else:
        raise Refused(f"{subject.name} has no submit_chord")
