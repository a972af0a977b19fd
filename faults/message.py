"""Poison on a queue: a message that no worker can read, as a broken or foreign producer sends one.

It is sent as kombu's Redis transport sends, by an LPUSH to the queue's list. What it names as its task is registered in
every Celery worker, so that a worker gets as far as the defect.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol

from taskchaos.faults.base import Evidence, Fault, On, Undo
from taskchaos.faults.bounds import Choice
from taskchaos.faults.draw import Draw

_numbers = itertools.count(1)


class Queue(Protocol):
    """A queue of the broker, past the proxy. Everything raises FaultError when the broker does not answer."""

    @property
    def name(self) -> str:
        """Its role: queue."""

    def put(self, message: bytes) -> None:
        """Send a message."""

    def waiting(self, message: bytes) -> bool:
        """Whether the message is on the queue."""

    def remove(self, message: bytes, mark: str) -> None:
        """Take it off the queue, and out of what workers have fetched and not acknowledged. `mark` is only in it."""

    def left(self, message: bytes, mark: str) -> bool:
        """Whether it is still on the queue, or among what workers have fetched and not acknowledged."""


def _good(mark: str) -> dict[str, Any]:
    """A message as Celery sends it, of a task that does nothing."""
    body = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "celery.accumulate",
            "id": mark,
            "root_id": mark,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "poison",
        },
        "properties": {
            "correlation_id": mark,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": mark,
        },
    }


def _with_header(name: str, value: object) -> Callable[[str], bytes]:
    def message(mark: str) -> bytes:
        payload = _good(mark)
        payload["headers"][name] = value
        return json.dumps(payload).encode()

    return message


def _no_base64(mark: str) -> bytes:
    return json.dumps(_good(mark) | {"body": "x"}).encode()


#: What can be wrong with it, by the name that the parameter `how` takes.
POISONS: Mapping[str, Callable[[str], bytes]] = {
    "no_json": lambda mark: f"{mark} is no JSON".encode(),
    "no_base64": _no_base64,
    "eta": _with_header("eta", ""),
    "timelimit": _with_header("timelimit", 5),
}


@dataclass
class PoisonMessage(Fault):
    """One such message is sent. It bit when it has been taken from the queue: what becomes of the taker is judged.

    Healing removes what is left of it, on the queue or in `unacked`; in a dead letter it may stay.
    """

    on = On.QUEUE
    kind: ClassVar[str] = "poison_message"
    summary: ClassVar[str] = (
        "a message that no worker can read is sent to the queue (how: no_json, no_base64, eta, ...)"
    )
    lasts: ClassVar[bool] = False
    drawn: ClassVar[Draw] = Draw((2.0, 4.0), {"how": tuple(POISONS)}, starves=False)

    queue: Queue
    how: Annotated[str, Choice(tuple(POISONS))] = "no_json"
    _mark: str = field(default="", init=False)
    _message: bytes = field(default=b"", init=False)
    _sent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._mark = f"poison-message-{next(_numbers)}"
        self._message = POISONS[self.how](self._mark)

    @property
    def target(self) -> str:
        return self.queue.name

    def undo(self) -> Undo:
        return Undo(f"remove the message with {self._mark} in it from the queue and from `unacked`", self.target)

    def inject(self) -> None:
        self.queue.put(self._message)
        self._sent = True

    @property
    def in_force(self) -> bool:
        """It waits to be taken for as long as it is to last."""
        return self._sent

    def prove(self) -> Evidence | None:
        if not self._sent or self.queue.waiting(self._message):
            return None
        return Evidence(f"a worker took {self._mark} ({self.how}) from the queue")

    def missing(self) -> str:
        return "nobody took it from the queue: see that a worker consumes the queue `celery`"

    def heal(self) -> None:
        self.queue.remove(self._message, self._mark)

    def healed(self) -> bool:
        return not self.queue.left(self._message, self._mark)
