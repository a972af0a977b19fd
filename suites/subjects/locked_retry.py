"""The reference implementation as a subject: `locked_retry`, with its lease scaled down like everybody's timeouts.

Producers and workers use what is public only, so that they can be of another release (--previous); what reads Redis
for the harness looks closer, and is of this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from celery import Celery
from redis import Redis

import locked_retry
from locked_retry import Exponential, LockedTask
from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.subject import CelerySubject, Commands, Pending, Settings, TaskBody, celery_pending
from taskchaos.harness.workload import TransientError, operation_number

ROW = "lr:t:"
#: A task that ends so often with its process is given up: more often than the kills of a suite meet the same task, and
#: soon enough for the drain to see it of one that kills its process itself (the pause doubles with each crash).
MAX_CRASHES = 5
#: Short, so that a case sees many retries.
BACKOFF = Exponential(base_s=0.2, cap_s=2.0)
#: Kept on purpose: completion records, counters, the highest fence, last turns, refused settles.
OF_TASKS = ("lr:done:", "lr:stats", "lr:fence", "lr:w:", "lr:stale", "lr:dead", "lr:clock")
OF_HERDS = ("lr:watch:", "lr:bell:", "lr:asleep:", "lr:look")


class LockedRetry(CelerySubject):
    """Two lines beside plain Celery. It does not claim EFFECTIVELY_ONCE: a killed worker's running task runs again."""

    name = "locked_retry"
    contract = Contract(
        frozenset(
            {
                Claim.NO_LOSS,
                Claim.EXCLUSIVE,
                Claim.EXCLUSIVE_KEYS,
                Claim.FENCED,
                Claim.RETRIES_BOUNDED,
                Claim.THROUGHPUT,
                Claim.RESULTS,
                Claim.ETA,
                Claim.ORDER,
                Claim.PRIORITY,
                Claim.REVOKE,
            }
        ),
        max_crashes=MAX_CRASHES,
    ).waiting(BackoffLaw(base_s=BACKOFF.base_s, cap_s=BACKOFF.cap_s))
    longest_wait_s = 2.0
    _lock: str | None = None
    #: Fetching and retrying are both part of the turn script.
    commands = Commands(pop="EVALSHA", retry="EVALSHA", publish="LPUSH")

    def install(self, app: Celery, settings: Settings) -> None:
        """Install the transport; the lease stands where others have a visibility timeout."""
        app.conf.task_ignore_result = not settings.keep_results
        self._lock = "{payload[key]}" if settings.business_keys else None
        lease_s = float(settings.visibility_timeout_s)
        # An idle worker says nothing for up to two idle times: less than a fault waits for the traffic that proves it.
        locked_retry.install(app, lease_s=lease_s, idle_s=0.2, max_crashes=MAX_CRASHES, exclusive=True)

    def register(self, app: Celery, body: TaskBody) -> Any:
        """A task that retries TransientError with the back-off of LockedTask."""

        def task(self: LockedTask, payload: Mapping[str, Any]) -> Any:
            try:
                return body(payload, self.fence)
            except TransientError as error:
                raise self.retry(exc=error) from error

        return app.task(
            base=LockedTask,
            bind=True,
            name="taskchaos.task",
            max_retries=3,
            backoff=BACKOFF,
            lock=self._lock,
        )(task)

    def pending(self, redis: Redis) -> Pending:
        """Rows that are queued, running, delayed or parked, and messages in the queues."""
        queued = celery_pending(cast(Redis, _WithoutOwnLists(redis)))
        rows = [operation_number(name) for name, dead in _rows(redis) if not dead]
        named = frozenset(n for n in rows if n is not None)
        return Pending(queued.operations | named, queued.opaque + rows.count(None))

    def dead_letters(self, redis: Redis) -> frozenset[int]:
        """Rows in the index of dead letters whose message is kept."""
        found = {operation_number(name) for name, dead in _rows(redis) if dead}
        return frozenset(n for n in found if n is not None)

    def redrive(self, app: Celery, operation: int) -> None:
        """Requeue the dead letter of this operation, as `celery locked-retry requeue` does."""
        from locked_retry.operator.dead_letters import Tools

        with Tools.of(app) as tools:
            rows = [letter.row for letter in tools.dead() if operation_number(letter.task_id) == operation]
            if not tools.requeue(rows):
                raise LookupError(f"no dead letter of operation {operation}")

    def leftovers(self, redis: Redis) -> tuple[str, ...]:
        """Locks, waiters and index entries that outlived their rows."""
        dead = {f"{ROW}{name}" for name, buried in _rows(redis) if buried}
        return tuple(k for k in super().leftovers(redis) if not k.startswith(OF_TASKS + OF_HERDS) and k not in dead)


def _rows(redis: Redis) -> Iterator[tuple[str, bool]]:
    """Each row, and whether it is a dead letter."""
    from locked_retry.broker.turns import RowState

    keys = list(redis.scan_iter(match=f"{ROW}*", count=1000))
    for begin in range(0, len(keys), 500):
        part = keys[begin : begin + 500]
        pipe = redis.pipeline(transaction=False)
        for key in part:
            pipe.hget(key, "st")
        for key, state in zip(part, pipe.execute(), strict=True):
            if state is not None:
                yield key.decode(errors="replace")[len(ROW) :], state == RowState.BURIED


class _WithoutOwnLists:
    """Redis without the lists of locked_retry (refused settles, waiters), which hold no messages."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def hvals(self, name: str) -> Any:
        return self._redis.hvals(name)

    def scan_iter(self, **options: Any) -> Iterator[bytes]:
        return (k for k in cast(Iterator[bytes], self._redis.scan_iter(**options)) if not k.startswith(b"lr:"))

    def lrange(self, name: bytes, start: int, end: int) -> Any:
        return self._redis.lrange(name, start, end)
