"""The settings of the transport: `broker_transport_options["locked_retry"]`, a dict with any of these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from locked_retry.queue_order import check_weights


@dataclass(frozen=True, slots=True)
class Options:
    """Times in the unit of their name. Every value is fit for production; a test scales `lease_s` down.

    lease_s: after how long without a renewal a message is offered again. Renewed at a third of it.
    done_s: how long a completion record drops duplicates (has to exceed the time in which producers resend).
    exclusive: whether running tasks are ended when their leases cannot be renewed (prefork only).
    dead_max_age_s, dead_max_count: dead letters that are older or more are deleted, the oldest first.
    max_crashes: executions that killed their process before the message becomes a dead letter.
    idle_s: the longest an idle worker goes without a turn (safety net behind the doorbell).
    flush_s: the longest a finished task waits for company before it is settled.
    reply_s: an answer later than this means a dead connection; capped at a third of the lease.
    queue_weights: of queue names; a queue without one has 1. How often a turn empties it before the others.
    result_wait_s: how long storing a result is tried when its backend fails, before the result is given up.
    publish_wait_s: how long a publish of a worker (by a task, or of its chain and callbacks) is tried; 0: as Celery.
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

    def __post_init__(self) -> None:
        if not (self.lease_s > 0 and self.done_s > 0 and self.max_crashes > 0 and self.most_claims > 0):
            raise ValueError(f"lease_s, done_s, max_crashes and most_claims have to be positive: {self}")
        if not 0 <= self.publish_wait_s < float("inf"):
            raise ValueError(f"publish_wait_s has to be a time in seconds, or 0: {self.publish_wait_s!r}")
        if self.dead_max_age_s < 0 or self.dead_max_count < 0:
            raise ValueError(f"dead_max_age_s and dead_max_count cannot be negative: {self}")
        check_weights(self.queue_weights)

    @property
    def reply_timeout_s(self) -> float:
        """How long to wait for an answer before the connection is given up and the turn repeated."""
        return min(self.reply_s, self.lease_s / 3)

    @classmethod
    def read(cls, transport_options: Mapping[str, Any]) -> Options:
        """From Celery's broker_transport_options. Raises ValueError for a name that is none."""
        given = dict(transport_options.get("locked_retry") or {})
        unknown = set(given) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"broker_transport_options['locked_retry'] has unknown settings: {sorted(unknown)}")
        return cls(**given)
