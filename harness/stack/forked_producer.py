"""A producer forked by the zygote, as the stack and faults see it: a part of the load that can be taken up again."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSYS, SIGTRAP

from taskchaos.faults.producer import Sent
from taskchaos.harness.clock import now_ns
from taskchaos.harness.errors import SubjectError
from taskchaos.harness.record import alarm
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.record.sent import sent_so_far
from taskchaos.harness.stack.producer import Told
from taskchaos.harness.stack.runtime import BROKEN, RoleConfig
from taskchaos.harness.stack.zygote import Spawn
from taskchaos.harness.stack.zygote_client import Spawned, Zygote, outside

#: How code ends the process that it runs in, and nobody else does.
OWN_DOING = frozenset(-number for number in (SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP))


class ForkedProducer:
    """A producer as faults see it (`taskchaos.faults.producer.Producer`), and as its stack does.

    Only a fault may end it before its time: what else ends it is told by `died`, and it is not started again.
    """

    def __init__(self, config: RoleConfig, log: Path, zygote_: Zygote) -> None:
        self._config = config
        self._log = log
        self._zygote = zygote_
        self._ledger = Path(config.folder) / LEDGER
        self._told = Told()  # all that a life which begins now has to know
        self._victims: set[int] = set()  # pids that a fault has ended
        self._over = False
        self._telling = threading.Lock()
        self._lives: list[Spawned] = []

    @property
    def name(self) -> str:
        return self._config.role

    @property
    def pid(self) -> int:
        return self._lives[-1].pid

    def start(self) -> None:
        """Fork the process; `wait_ready` has to follow."""
        self._lives.append(self._zygote.spawn(Spawn.PRODUCER, self._config, self._log))

    def wait_ready(self) -> None:
        """Wait until it can be told its load. Raises StackError."""
        self._lives[-1].wait_ready()

    def tell(self, told: Told) -> None:
        """Tell it something of its load, and every later life of it as well."""
        with self._telling:
            if told.begin_ns is not None:
                self._told = replace(self._told, begin_ns=told.begin_ns)
            if told.operations is not None:
                self._told = replace(self._told, operations=told.operations, last=told.last)
            self._lives[-1].tell(told.line())

    def running(self) -> bool:
        """Whether its process is there."""
        return self._lives[-1].alive()

    def ended(self) -> int | None:
        """A process whose threads still end looks gone and has no return code yet: that is awaited."""
        return None if self.running() else self._lives[-1].await_exit()

    def sent(self) -> Sent:
        found = sent_so_far(self._ledger, self.name, self.pid)
        return Sent(found.begun, tuple(sorted(+found.open)), found.finished)

    def kill(self) -> None:
        pid = self.pid
        self._victims.add(pid)
        self._zygote.send([pid], SIGKILL)

    def respawn(self) -> None:
        if self.running() or self.sent().finished:
            return
        with self._telling:
            if self._over:
                return
            self._lives[-1].close()
            self.start()
        self.wait_ready()
        with self._telling:
            self._lives[-1].tell(replace(self._told, back_ns=now_ns()).line())

    def back(self) -> bool:
        if self._over:
            return True
        sent = self.sent()
        return sent.finished or (self.running() and self._lives[-1].poll_ready() and sent.begun > 0)

    def at_work(self) -> bool:
        """Whether it sends, or a fault has ended it and will have it started again."""
        return self.running() or self._away()

    def _away(self) -> bool:
        return self.pid in self._victims and self.ended() == -SIGKILL and not self.sent().finished

    def died(self) -> str:
        """How it ended, if neither a fault nor the end of its load did that; else "".

        Raises SubjectError for a status that is none of a producer's: what it calls of the subject has ended it.
        """
        status = self.ended()
        if status in (0, None) or (self.pid in self._victims and status == -SIGKILL):
            return ""  # what it has left undone the evidence lacks
        how = self._lives[-1].how_it_ended()
        if status in (BROKEN, alarm.EXIT_STATUS) or (status < 0 and status not in OWN_DOING):
            return how + (outside(status) and f", {len(self.sent().unanswered)} submits in hand{outside(status)}")
        raise SubjectError(f"subject in {self.name}: called to submit or revoke, it has ended the process, which {how}")

    def dismiss(self) -> None:
        """Tell it that the load is over: it says where its submits stand, and is not started again."""
        with self._telling:
            self._over = True
            if self.running():
                self._lives[-1].tell(Told(end=True).line())

    def end(self) -> None:
        """SIGKILL to every process that it ever had. Idempotent."""
        with self._telling:
            self._over = True
        for life in self._lives:
            life.end()
