"""A producer dies in the middle of its load, and comes back: a web process that is killed between two statements.

What it had begun to submit then, nobody knows the end of; what falls due while it is away is never sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from signal import SIGKILL
from typing import ClassVar, Protocol

from taskchaos.faults.base import Evidence, Fault, FaultError, Hit, On, Undo, wait_for
from taskchaos.faults.draw import Draw


@dataclass(frozen=True, slots=True)
class Sent:
    """How far one life of a producer has got, by its own record.

    begun: submits; unanswered: the operations of those that have not returned. finished: it went through its part of
    the plan.
    """

    begun: int = 0
    unanswered: tuple[int, ...] = ()
    finished: bool = False


class Producer(Protocol):
    """One producer as faults see it: a process that its stack can start again."""

    @property
    def name(self) -> str:
        """Its role, such as producer-1."""

    @property
    def pid(self) -> int:
        """Its process, or that of the life before if it does not run."""

    def ended(self) -> int | None:
        """The return code of that process (negative: the signal that ended it); None while it runs."""

    def sent(self) -> Sent:
        """What that process has sent."""

    def kill(self) -> None:
        """SIGKILL, on purpose: the stack is not alarmed until it is started again."""

    def respawn(self) -> None:
        """Start it again and wait until it is ready; it goes on with what is not yet due. Nothing if there is no need:
        it runs, went through its part, or the load is over.
        """

    def back(self) -> bool:
        """Whether it is ready and has gone on sending, or its part or the load is over."""


@dataclass
class KillProducer(Fault):
    """SIGKILL to a producer that is sending. Healing starts it again, as a supervisor would."""

    kind: ClassVar[str] = "kill_producer"
    on: ClassVar[On] = On.PRODUCER
    summary: ClassVar[str] = "SIGKILL to a producer that is sending; what falls due until it is back is never sent"
    drawn: ClassVar[Draw] = Draw((0.2, 1.5), after_s=0.5)

    producer: Producer
    _victim: int = field(default=0, init=False)  # the pid; 0: nobody
    _sent: Sent = field(default=Sent(), init=False)

    @property
    def target(self) -> str:
        return self.producer.name

    def undo(self) -> Undo:
        return Undo("start the producer again", self.producer.name)

    def inject(self) -> None:
        if not wait_for(self._sending, self.proof_deadline_s):  # a schedule may begin before the load does
            raise FaultError(f"{self.kind}: {self.target} is not sending: have it done while there is load")
        self._victim = self.producer.pid
        self.began_ns = time.monotonic_ns()
        self.producer.kill()

    def _sending(self) -> bool:
        sent = self.producer.sent()
        return sent.begun > 0 and not sent.finished and self.producer.ended() is None

    def _away(self) -> bool:
        """Whether it ended by SIGKILL, in the life that this was done to, and nothing runs in its place."""
        return self._victim == self.producer.pid and self.producer.ended() == -SIGKILL

    def prove(self) -> Evidence | None:
        """It is gone, and had sent something, but not all."""
        if not self._away():
            return None
        self._sent = self.producer.sent()
        if not self._sent.begun or self._sent.finished:
            return None
        unanswered = len(self._sent.unanswered)
        seen = f"pid {self._victim} gone after SIGKILL, {self._sent.begun} submits begun, {unanswered} not answered"
        return Evidence(seen, (self._victim,))

    def holds(self) -> bool:
        return self._away()

    def hits(self) -> tuple[Hit, ...]:
        """What it was submitting."""
        return tuple(Hit(op, self.began_ns or 0, "its submit, which never returned") for op in self._sent.unanswered)

    def heal(self) -> None:
        if self._victim:
            wait_for(lambda: self.producer.ended() is not None, self.proof_deadline_s)  # the dying still look alive
            self.producer.respawn()

    def healed(self) -> bool:
        return self.producer.back()
