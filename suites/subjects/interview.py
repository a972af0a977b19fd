"""The interview's code: a lock with expiry around the work, released only on success. Known-bad controls.

The failing path leaves the lock in place, so each retry meets the task's own 60 s lock: one transient error loses
the task. The sleep variant releases the lock first but backs off inside the worker, which starves the pool.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from celery import Celery
from redis import Redis

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import CelerySubject, Commands, Settings, TaskBody
from taskchaos.suites.subjects.stock import AT_RANDOM, POWER_LOSSES

LOCK_EXPIRY_S = 60


class TaskAlreadyLockedError(Exception):
    """Somebody holds the lock of this task."""


class TaskFailedError(Exception):
    """The retries are used up."""


#: Losing a task leaves its lock behind and costs throughput; those follow from the loss.
_FOLLOWS = frozenset({Rule.THROUGHPUT, Rule.RECOVERY, Rule.LEAK, Rule.FALSE_FAILURE})
LOSES_RETRIES = Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS)

#: Plain Celery underneath, and a lock round trip that can fail on top. What Celery has failed, it may deliver again.
LOSES_REPLIES = Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS | {Rule.WORKERS, Rule.ZOMBIE})
MAY_LOSE_REPLIES = LOSES_REPLIES.by_chance
#: Three round trips a message and two for the lock; and a worker is killed on the way.
FAR_FROM_TARGET = Expectation(must=frozenset({Rule.THROUGHPUT}), may=_FOLLOWS | {Rule.LOST})
MAY_MISS_TARGET = FAR_FROM_TARGET.by_chance
#: What is refused fails the task, ends the worker, or leaves the lock.
MAY_FAIL_AT_REFUSALS = Expectation(
    may=_FOLLOWS | {Rule.LOST, Rule.WORKERS, Rule.ZOMBIE, Rule.DUPLICATE, Rule.STUCK, Rule.RETRIES}
)


FAILS_WITHOUT_REDIS = Expectation(
    must=frozenset({Rule.FALSE_FAILURE}),
    may=_FOLLOWS | frozenset({Rule.LOST, Rule.ZOMBIE, Rule.WORKERS, Rule.STUCK, Rule.DUPLICATE}),
)

#: Of two messages of a task the one that finds the lock fails the task, which the other does.
FAILS_COPIES = Expectation(must=frozenset({Rule.ZOMBIE}), may=_FOLLOWS)
#: As stock Celery: see there.
MAY_END_AT_A_MESSAGE = frozenset({Rule.LOST, Rule.STUCK, Rule.DUPLICATE, Rule.ZOMBIE})


class Interview(CelerySubject):
    """Base of the three variants."""

    contract = CelerySubject.contract.claiming(Claim.RESULTS)
    commands = Commands(claim="SET")
    longest_wait_s = 4.0
    expectations: Mapping[str, Expectation] = {
        # Every third task fails once, which is enough.
        "soak": Expectation(must=frozenset({Rule.LOST}), may=AT_RANDOM.may),
        "transient_error": LOSES_RETRIES,
        "retry_policy": LOSES_RETRIES,
        "retry_under_fire": LOSES_RETRIES,
        "worker_kill": Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS),
        "worker_kill.pause": Expectation(),
        "partition.replies_lost": LOSES_REPLIES,
        "partition.worker_hangs": LOSES_REPLIES,
        "partition.worker_refused": MAY_LOSE_REPLIES,
        "partition.worker_reset": MAY_LOSE_REPLIES,
        "latency": Expectation(must=frozenset({Rule.THROUGHPUT}), may=frozenset({Rule.RECOVERY})),
        "target": FAR_FROM_TARGET,
        "target.kept-0": MAY_MISS_TARGET,
        "command.pop_reply_lost": LOSES_REPLIES,
        **{f"command.pop_reply_lost_at-{nth}": LOSES_RETRIES for nth in range(1, 13)},
        "command.pop_replies_lost-reset": LOSES_RETRIES,
        "command.pop_replies_lost-silence": LOSES_RETRIES,
        "command.retry_publish_cut": LOSES_RETRIES,
        "container.out_of_memory": LOSES_RETRIES,
        "deploy.hurried": Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS),
        "deploy.mixed": LOSES_RETRIES,
        "deploy.recycled": Expectation(may=MAY_LOSE_REPLIES.may | {Rule.DUPLICATE, Rule.DURATION}),
        "deploy.autoscaled": MAY_LOSE_REPLIES,
        "deploy.cold": MAY_LOSE_REPLIES,
        "deploy.soft": MAY_LOSE_REPLIES,
        "deploy.with_redis": FAILS_WITHOUT_REDIS.by_chance,
        "link_quality.limit_data-500": LOSES_REPLIES,
        "link_quality.limit_data-20000": LOSES_REPLIES,
        "link_quality.flapping-worker-1": MAY_LOSE_REPLIES,
        # Its result and its lock cannot be stored, nor taken back: failed, and locked.
        "redis_restart": FAILS_WITHOUT_REDIS,
        "redis_restart.pause": Expectation(),
        "redis_restart.pause_keeps_results": FAILS_WITHOUT_REDIS.by_chance,
        # Tasks that fail once or wait for another's lock are what they lose.
        "contention": LOSES_RETRIES,
        "submits": LOSES_RETRIES,
        "eta": Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS | {Rule.DUPLICATE, Rule.ZOMBIE}),
        **{f"redis_restart.{scenario}": FAILS_WITHOUT_REDIS.by_chance for scenario in POWER_LOSSES},
        "failover": FAILS_WITHOUT_REDIS.by_chance,
        "redis_restart.pause_past_lease": FAILS_WITHOUT_REDIS.by_chance,
        # A lock that cannot be set or removed in time fails the task.
        "container.cut_past_lease": MAY_LOSE_REPLIES,
        # As stock Celery, with a lock that cannot be set or removed on top.
        "redis_answers": MAY_FAIL_AT_REFUSALS,
        "redis_disk": MAY_FAIL_AT_REFUSALS,
        "clock": MAY_FAIL_AT_REFUSALS,
        "poison": Expectation(must=frozenset({Rule.WORKERS}), may=_FOLLOWS | MAY_END_AT_A_MESSAGE),
        "result_path": Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS | {Rule.RESULTS, Rule.ZOMBIE}),
        # Every third task fails once; and what is killed after its effect has been acknowledged, but has no result yet.
        "chords": Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS | {Rule.RESULTS, Rule.ZOMBIE}),
        **dict.fromkeys(
            ("priorities.kill", "revokes.kill", "revokes.kill_before"),
            Expectation(must=frozenset({Rule.LOST}), may=_FOLLOWS | {Rule.ZOMBIE}),
        ),
        "priorities.cut": MAY_LOSE_REPLIES,
        # One crash, and Celery has failed the task; its lock stays.
        "poison.task": Expectation(must=frozenset({Rule.LOST, Rule.LEAK}), may=_FOLLOWS),
        "worker_kill.pause_past_lease": Expectation(),
        # What a warm shutdown gives back meets its own lock, which may outlive the retries.
        "slow_task.restart": Expectation(may=_FOLLOWS | {Rule.LOST, Rule.ZOMBIE, Rule.DUPLICATE}),
        "slow_task.cut-black_hole": MAY_LOSE_REPLIES,
        "slow_task.cut-refused": MAY_LOSE_REPLIES,
    }

    def install(self, app: Celery, settings: Settings) -> None:
        """Nothing but Celery's defaults."""

    @staticmethod
    def lock_client(app: Celery) -> Redis:
        """The client the task locks with, over the same link as the broker."""
        client: Redis = Redis.from_url(app.conf.broker_url)
        return client


class LockInsideTry(Interview):
    """The lock is taken inside the `try`: finding it taken counts as a failure and costs a retry."""

    name = "interview_inside"

    def register(self, app: Celery, body: TaskBody) -> Any:
        """The code as given in the interview."""
        redis = self.lock_client(app)

        @app.task(name="taskchaos.task", bind=True, max_retries=3)
        def task(self: Any, payload: Mapping[str, Any]) -> Any:
            key = "task_lock_" + self.request.id
            try:
                if not redis.set(key, 1, nx=True, ex=LOCK_EXPIRY_S):
                    raise TaskAlreadyLockedError(key)
                result = body(payload)
                redis.delete(key)
                return result
            except Exception as error:
                if self.request.retries < self.max_retries:
                    self.retry(exc=error, countdown=2**self.request.retries)
                raise TaskFailedError(f"{key}: retries used up") from error

        return task


class LockBeforeTry(Interview):
    """The lock is taken before the `try`: the first retry is already fatal."""

    name = "interview_before"
    expectations = {**Interview.expectations, "command.together": FAILS_COPIES}

    def register(self, app: Celery, body: TaskBody) -> Any:
        """The second variant of the interview's code."""
        redis = self.lock_client(app)

        @app.task(name="taskchaos.task", bind=True, max_retries=3)
        def task(self: Any, payload: Mapping[str, Any]) -> Any:
            key = "task_lock_" + self.request.id
            if not redis.set(key, 1, nx=True, ex=LOCK_EXPIRY_S):
                raise TaskAlreadyLockedError(key)
            try:
                result = body(payload)
                redis.delete(key)
                return result
            except Exception as error:
                if self.request.retries < self.max_retries:
                    self.retry(exc=error, countdown=2**self.request.retries)
                raise TaskFailedError(f"{key}: retries used up") from error

        return task


#: Sleeping through the back-offs, it holds messages for longer than the visibility timeout: they come again.
STARVES = Expectation(must=frozenset({Rule.DUPLICATE}), may=MAY_LOSE_REPLIES.may | {Rule.RETRIES})


class SleepBackoff(Interview):
    """Backs off with `time.sleep` in the worker, the lock released first: no loss, and no throughput either."""

    name = "interview_sleep"
    commands = Commands(retry="", claim="SET")
    expectations = {
        **Interview.expectations,
        "command.together": FAILS_COPIES,
        "deploy.mixed": STARVES.by_chance,
        "soak": AT_RANDOM,
        "transient_error": Expectation(must=frozenset({Rule.THROUGHPUT}), may=frozenset({Rule.RECOVERY})),
        "result_path.slow": Expectation(),
        **dict.fromkeys(("contention", "submits", "eta"), STARVES.by_chance),
        # It waits in its process: no retry is lost, unless that is killed, or the result of a chord's member is.
        "chords.quiet": Expectation(),
        "chords.kill": Expectation(must=frozenset({Rule.LOST}), may=STARVES.must | STARVES.may | {Rule.RESULTS}),
        "retry_policy": Expectation(must=frozenset({Rule.THROUGHPUT}), may=frozenset({Rule.RECOVERY})),
        **{f"command.pop_reply_lost_at-{nth}": STARVES for nth in range(1, 13)},
        "command.pop_replies_lost-reset": STARVES,
        "command.pop_replies_lost-silence": STARVES,
    }

    def register(self, app: Celery, body: TaskBody) -> Any:
        """The third variant of the interview's code."""
        redis = self.lock_client(app)

        @app.task(name="taskchaos.task", bind=True, max_retries=3)
        def task(self: Any, payload: Mapping[str, Any]) -> Any:
            key = "task_lock_" + self.request.id
            for attempt in range(self.max_retries + 1):
                if not redis.set(key, 1, nx=True, ex=LOCK_EXPIRY_S):
                    raise TaskAlreadyLockedError(key)
                try:
                    return body(payload)
                except Exception as error:
                    if attempt == self.max_retries:
                        raise TaskFailedError(f"{key}: retries used up") from error
                finally:
                    redis.delete(key)
                time.sleep(2**attempt)
            raise AssertionError("the loop above returns or raises")

        return task
