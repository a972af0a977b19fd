"""The settings of the transport: `broker_transport_options["locked_retry"]`, a dict with any of these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from locked_retry.limits import DAY_S, Limits, check_weights, listen_address

LIMITS = {
    "lease_s": Limits(0.1, 30 * DAY_S),
    "done_s": Limits(0.001, 3650 * DAY_S),
    "max_crashes": Limits(1, 1_000_000, whole=True),
    "idle_s": Limits(0.01, 3600),
    "flush_s": Limits(0, 10),
    "reply_s": Limits(0.01, 3600),
    "result_wait_s": Limits(0, DAY_S),
    "publish_wait_s": Limits(0, DAY_S),
    "dead_max_age_s": Limits(0, 36500 * DAY_S),
    "dead_max_count": Limits(0, 2**31, whole=True),
    "most_claims": Limits(1, 100_000, whole=True),
    "most_bytes": Limits(1, 2**29, whole=True),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Times in the unit of their name. Every value is fit for production; a test scales `lease_s` down.

    lease_s: after how long without a renewal a message is offered again. Renewed at a third of it.
    done_s: how long a completion record drops duplicates (has to exceed the time in which producers resend).
    exclusive: whether running tasks are ended when their leases cannot be renewed (prefork only).
    dead_max_age_s, dead_max_count: dead letters that are older or more are deleted, the oldest first.
    max_crashes: executions that killed their process before the message becomes a dead letter.
    idle_s: the longest an idle worker goes without a turn (safety net behind the wake-up).
    flush_s: the longest a finished task waits for company before it is settled.
    reply_s: an answer later than this means a dead connection; capped at a third of the lease.
    queue_weights: of queue names; a queue without one has 1. How often a turn empties it before the others.
    result_wait_s: how long storing a result is tried when its backend fails, before the result is given up.
    publish_wait_s: how long a publish of a worker (by a task, or of its chain and callbacks) is tried; 0: as Celery.
    metrics: where a worker serves its figures over HTTP, `9808` (loopback) or `0.0.0.0:9808`; empty: nowhere.
    """

    lease_s: float = 30.0
    done_s: float = 600.0
    exclusive: bool = False
    max_crashes: int = 3
    idle_s: float = 1.0
    flush_s: float = 0.01
    reply_s: float = 5.0
    result_wait_s: float = 30.0
    publish_wait_s: float = 30.0
    dead_max_age_s: float = 30 * 86_400.0
    dead_max_count: int = 100_000
    queue_weights: Mapping[str, float] = field(default_factory=dict)
    most_claims: int = 1024
    most_bytes: int = 4_000_000
    namespace: str = "lr:"
    metrics: str = ""

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            limits.check(name, getattr(self, name))
        if not isinstance(self.exclusive, bool):
            raise ValueError(f"exclusive has to be True or False: {self.exclusive!r}")
        if not isinstance(self.namespace, str) or not self.namespace or not self.namespace.isascii():
            raise ValueError(f"namespace has to be a text in ASCII: {self.namespace!r}")
        check_weights(self.queue_weights)
        if self.metrics != "":
            listen_address(self.metrics)

    @property
    def reply_timeout_s(self) -> float:
        """How long to wait for an answer before the connection is given up and the turn repeated."""
        return min(self.reply_s, self.lease_s / 3)

    @classmethod
    def read(cls, transport_options: Mapping[str, Any]) -> Options:
        """From Celery's broker_transport_options. Raises ValueError for a name that is none."""
        given = transport_options.get("locked_retry") or {}
        if not isinstance(given, Mapping):
            raise ValueError(f"broker_transport_options['locked_retry'] has to be a dict: {given!r}")
        unknown = set(given) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"broker_transport_options['locked_retry'] has unknown settings: {sorted(map(str, unknown))}"
            )
        return cls(**given)
