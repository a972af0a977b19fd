"""The inspector: a process that runs the subject's own reading of Redis, so that the harness never does.

`pending`, `dead_letters`, `leftovers` and `redrive` are the subject's code. Here they may hang, raise, return nonsense
or end the process, and the harness can tell which function it was and where it stood. The process is forked by the
zygote like every other role; it talks to Redis directly, past the proxy.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import TimeoutError as Late

from taskchaos.harness.errors import StackError, SubjectError, TaskchaosError
from taskchaos.harness.stack.direct_client import ANSWER_S, NAME, ONCE
from taskchaos.harness.stack.runtime import RoleConfig, build, refuse
from taskchaos.harness.subject import Pending, Subject
from taskchaos.harness.subject_calls import LIMIT_S, SubjectFault, call

#: Of the harness's own Redis, not the subject's.
_SERVER_GONE = (Unreachable, Late, BusyLoadingError)
#: The process gives up first, because it can say where it stands.
_PATIENCE_S = 2.0
_READ_BYTES = 1 << 16


class Question(StrEnum):
    """What the inspector may be asked: the subject's functions by name."""

    PENDING = "pending"
    DEAD_LETTERS = "dead_letters"
    LEFTOVERS = "leftovers"
    REDRIVE = "redrive"


# --- in the process --------------------------------------------------------------------------------------------------


def serve(config_path: Path, ready_fd: int, told_fd: int) -> None:
    """Be the inspector: say ready, then answer a line of JSON with a line of JSON until the other end goes."""
    config = RoleConfig.load(config_path)
    runtime = build(config, refuse(ready_fd))
    timeouts = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
    redis = Redis.from_url(config.broker_url, **timeouts, retry=ONCE, client_name=NAME)
    os.write(ready_fd, b"1")

    def say(**answer: object) -> None:
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[os.write(ready_fd, data) :]

    def expired(text: str) -> None:
        say(fault=text)
        os._exit(1)

    with os.fdopen(told_fd, "rb") as questions:
        for line in questions:
            try:
                say(answer=_answer(runtime.subject, runtime.app, redis, json.loads(line), expired))
            except SubjectFault as fault:
                say(fault=str(fault))
            except _SERVER_GONE as error:
                say(server=f"{type(error).__name__}: {error}")


def _answer(
    subject: Subject, app: Any, redis: Redis, question: dict[str, Any], expired: Callable[[str], object]
) -> object:
    asked = Question(question["ask"])
    name = asked.value
    if asked is Question.REDRIVE:
        redrive = getattr(subject, name, None)
        if redrive is None:
            return False
        call(subject, name, lambda: redrive(app, int(question["op"])), expired=expired, passing=_SERVER_GONE)
        return True
    found = call(subject, name, lambda: getattr(subject, name)(redis), expired=expired, passing=_SERVER_GONE)
    return _CHECKED[asked](found)


def _pending(found: object) -> object:
    if not isinstance(found, Pending):
        raise SubjectFault(f"pending() has to return a taskchaos.harness.subject.Pending, not {_a(found)}")
    if not isinstance(found.opaque, int) or found.opaque < 0:
        raise SubjectFault(f"pending() says opaque={found.opaque!r}, which has to be a number of entries")
    return {"operations": _numbers("pending().operations", found.operations), "opaque": found.opaque}


def _dead(found: object) -> object:
    return _numbers("dead_letters()", found)


def _leftovers(found: object) -> object:
    if not isinstance(found, tuple | list | set | frozenset) or not all(isinstance(key, str) for key in found):
        raise SubjectFault(f"leftovers() has to return keys as texts, not {_a(found)}")
    return sorted(found)


_CHECKED: dict[Question, Callable[[object], object]] = {
    Question.PENDING: _pending,
    Question.DEAD_LETTERS: _dead,
    Question.LEFTOVERS: _leftovers,
}


def _numbers(what: str, found: object) -> list[int]:
    sets = isinstance(found, set | frozenset)
    if not sets or not all(isinstance(n, int) and not isinstance(n, bool) for n in found):  # type: ignore[attr-defined]
        raise SubjectFault(f"{what} has to be a set of operation numbers, not {_a(found)}")
    return sorted(found)  # type: ignore[call-overload, no-any-return]


def _a(found: object) -> str:
    return f"{type(found).__name__} ({found!r:.60})"


# --- the harness's end -----------------------------------------------------------------------------------------------


class Answering(Protocol):
    """The process of an inspector (taskchaos.harness.stack.zygote_client.Spawned)."""

    def tell(self, message: bytes) -> None: ...
    @property
    def answers_fd(self) -> int: ...
    def await_exit(self) -> int | None: ...
    def end(self) -> None: ...


class BrokerInspector:
    """Asks an inspector's process; a `settle.Reader`.

    Everything raises SubjectError when the subject's code fails, and redis-py's ConnectionError when Redis is away.
    """

    def __init__(self, process: Answering, subject_name: str, *, limit_s: float = LIMIT_S) -> None:
        self._process = process
        self._name = subject_name
        self._limit_s = limit_s + _PATIENCE_S
        self._read = b""

    def pending(self) -> Pending:
        """What is still queued, reserved or scheduled."""
        found = self._ask(Question.PENDING)
        return Pending(frozenset(found["operations"]), int(found["opaque"]))

    def dead_letters(self) -> frozenset[int]:
        """Operations given up by policy and kept."""
        return frozenset(self._ask(Question.DEAD_LETTERS))

    def leftovers(self) -> tuple[str, ...]:
        """Keys that should be gone when nothing is pending."""
        return tuple(self._ask(Question.LEFTOVERS))

    def redrive(self, op: int) -> bool:
        """Have a dead letter run again; False when the subject offers no way."""
        return bool(self._ask(Question.REDRIVE, op=op))

    def _ask(self, question: Question, **more: int) -> Any:
        self._process.tell(json.dumps({"ask": question.value, **more}).encode() + b"\n")
        line = self._line(question)
        if not line:
            raise self._ended(question)
        answer = json.loads(line)
        if "fault" in answer:
            raise self._error(answer["fault"])
        if "server" in answer:
            raise Unreachable(answer["server"])
        return answer["answer"]

    def _line(self, question: Question) -> bytes:
        """The answer; b"" when the process ended."""
        until = time.monotonic() + self._limit_s
        while b"\n" not in self._read:
            left_s = until - time.monotonic()
            if left_s <= 0 or not select.select([self._process.answers_fd], [], [], left_s)[0]:
                self._process.end()
                raise self._error(f"{question.value}() did not return within {self._limit_s:g} s, nor can be asked why")
            data = os.read(self._process.answers_fd, _READ_BYTES)
            if not data:
                return b""
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _ended(self, question: Question) -> TaskchaosError:
        status = self._process.await_exit()
        if status == -signal.SIGKILL:  # by somebody outside: no code of the subject's ends a process so
            return StackError(f"the inspector was killed while it ran {question.value}()")
        return self._error(f"{question.value}() ended its process, with status {status}")

    def _error(self, text: str) -> SubjectError:
        return SubjectError(f"subject {self._name}: {text}")
