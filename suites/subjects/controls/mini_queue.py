"""A small queue on Redis that loses nothing: what most controls break one thing of, and their twins leave alone.

An entry is in exactly one place: `ready` (list), `leased` (hash, by the token of who holds it), `delayed` (sorted set)
or `dead` (hash). Each step between two places is one script that names the token, so that it may be said again when
its answer was lost, and is refused to who does not hold the entry any more. A token is a number that rises: a fence.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.worker import state
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import CelerySubject, Commands, Pending, Settings, TaskBody, operation_number
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_transport import use_transport

MAX_FAILURES = 3
MAX_CRASHES = 5
SOCKET_S = 0.4
#: How often a worker looks for what is due and what is overdue, and how long it waits after an error.
TEND_S = 0.1
#: Who has not been able to renew ends its task so long before another may have it: more than a command may take.
MARGIN_S = 1.0
AGAIN_S = 0.05
#: How often a producer sends before it gives up.
SENDS = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """An entry that this worker holds. begin_by_s: when its first lease ends, on the monotonic clock."""

    token: int
    id: str
    message: str
    failures: int
    begin_by_s: float


class Busy(Exception):
    """Not now, and nobody's failure: the entry waits and is offered again."""


#: What a twin comes to.
PASS = Expectation()


def fails(*rules: Rule, may: tuple[Rule, ...] = ()) -> Expectation:
    """What a control comes to: the rules that its bug has to fail, and those that may follow."""
    return Expectation(must=frozenset(rules), may=frozenset(may))


class MiniQueue(CelerySubject):
    """The queue, each step a method.

    The scripts that faults aim at (put, take, retry) go by EVALSHA, the others by EVAL. It claims no throughput: a pair
    is about one bug, and only who is about throughput should depend on how busy the machine is.
    """

    contract = Contract(
        frozenset({Claim.NO_LOSS, Claim.RETRIES_BOUNDED}),
        max_attempts=1 + MAX_FAILURES,
        max_crashes=MAX_CRASHES,
    )
    longest_wait_s = 1.0
    commands = Commands(pop="EVALSHA", retry="EVALSHA", publish="EVALSHA")
    #: Whether a lease is renewed while its task runs; where not, it is what Celery calls a visibility timeout.
    renews = True
    snooze_ms = 200
    acks_late = True
    max_failures = MAX_FAILURES
    max_crashes = MAX_CRASHES
    #: Kept on purpose: the ids that were queued once, the counter of tokens, dead letters.
    kept: tuple[str, ...] = ("mini:seen", "mini:token", "mini:dead")
    #: Its workers have no remote control.
    revoke: Any = None
    #: What a control has to fail in its scenario; its twin passes.
    symptom = PASS
    lease_s = 0.0  # from the settings

    def __init__(self) -> None:
        self._clients: dict[int, Redis] = {}
        self._url = ""
        self._tended_s = self._renewed_s = 0.0
        self.held: dict[int, float] = {}  # until when, by token, on the monotonic clock
        self._unsaid: list[Callable[[], object]] = []

    # --- Celery --------------------------------------------------------------------------------------------------

    def install(self, app: Celery, settings: Settings) -> None:
        """Our transport; messages are acknowledged when their task is done, and a process holds one at a time."""
        self._url, self.lease_s = app.conf.broker_url, float(settings.visibility_timeout_s)
        use_transport(app, self)
        app.conf.update(
            task_acks_late=self.acks_late,
            task_reject_on_worker_lost=True,
            task_acks_on_failure_or_timeout=False,  # who cannot say how a task ended leaves it to its lease
            task_ignore_result=True,
            worker_prefetch_multiplier=1,
            worker_enable_remote_control=False,
        )

    def register(self, app: Celery, body: TaskBody) -> Any:
        """A task that runs `work` and says to the queue how that ended."""

        @app.task(name="taskchaos.task", bind=True)
        def task(self_: Any, payload: Mapping[str, Any]) -> Any:
            return self.run(Job(**self_.request.get("mini_job")), body, payload)

        return task

    def run(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """One attempt. What begins when its first lease has ended may be another's by now: it waits its turn again."""
        try:
            if time.monotonic() > job.begin_by_s:
                raise Busy
            return self.work(job, body, payload)
        except Busy:
            self.surely(lambda: self.snooze(job))
        except RedisError as error:
            raise Reject(error, requeue=True) from error
        except SoftTimeLimitExceeded:
            pass  # another's by now
        except Exception:
            self.surely(lambda: self.retry(job))
        raise Ignore

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """What the task does, between its delivery and its acknowledgement."""
        return body(payload, job.token)

    def back_off_s(self, job: Job) -> float:
        """How long the entry waits after its next failure."""
        return min(1.0, 0.2 * 2**job.failures)

    def expectation(self, suite: str, scenario: str) -> Expectation:
        """Its symptom: it runs in no other scenario."""
        return self.symptom

    # --- steps, each one script ----------------------------------------------------------------------------------

    def put(self, task_id: str, message: str) -> None:
        """A producer's step; said again until it is heard, it queues an id once."""
        self.hashed(scripts.PUT, task_id, message)

    def send(self, task_id: str, message: str) -> None:
        """What a producer does. Raises RedisError when it is not heard."""
        for tries_left in reversed(range(SENDS)):
            try:
                self.put(task_id, message)
                return
            except RedisError:
                if not tries_left:
                    raise
                time.sleep(AGAIN_S)

    def take(self) -> Job | None:
        """The next entry, leased."""
        begun_s = time.monotonic()
        found = self.hashed(scripts.TAKE, int(1000 * self.lease_s))
        if not found:
            return None
        token, task_id, message, failures = found
        return Job(token, task_id.decode(), message.decode(), failures, begun_s + self.lease_s)

    def done(self, token: int) -> None:
        """The task has succeeded: its entry goes."""
        self.sent(scripts.DONE, token)

    def crashed(self, token: int) -> None:
        """The process that ran it has ended: back to the queue, or to the dead letters."""
        self.sent(scripts.CRASHED, token, self.max_crashes)

    def retry(self, job: Job) -> None:
        """The attempt has failed: later again, or to the dead letters."""
        self.hashed(scripts.RETRY, job.token, int(1000 * self.back_off_s(job)), 1, self.max_failures)

    def snooze(self, job: Job) -> None:
        """Later again, and it counts for nothing."""
        self.hashed(scripts.RETRY, job.token, self.snooze_ms, 0, self.max_failures)

    def promote(self) -> None:
        """What is due goes to the queue."""
        if self.redis.zrangebyscore("mini:delayed", 0, self.now_ms(), 0, 1):
            self.sent(scripts.PROMOTE)

    def reap(self) -> None:
        """What nobody renewed has crashed."""
        if self.redis.zrangebyscore("mini:deadlines", 0, self.now_ms(), 0, 1):
            self.sent(scripts.REAP, self.max_crashes)

    def renew(self) -> None:
        """The leases of all that this worker holds; what its processes have settled themselves is held no more."""
        begun_s = time.monotonic()
        kept = set(map(int, self.sent(scripts.RENEW, int(1000 * self.lease_s), *self.held)))
        for token in list(self.held):
            if token in kept:
                self.held[token] = begun_s + self.lease_s
            else:
                del self.held[token]

    # --- what a worker's main process does between them ----------------------------------------------------------

    def fetch(self) -> Job | None:
        """The next entry, if there is one: asked for only where something waits."""
        self.watch()
        try:
            job = self.take() if self.redis.llen("mini:ready") else None
        except RedisError:
            return None
        if job is not None:
            self.held[job.token] = job.begin_by_s
        return job

    def say(self, step: Callable[[int], None], token: int) -> None:
        """Settle what is held; said again until it is heard."""
        self.held.pop(token, None)
        self._unsaid.append(partial(step, token))
        self.tend(now=True)

    def tend(self, *, now: bool = False) -> None:
        """Say what is unsaid, look for what is due and overdue, keep leases or end what lost its own."""
        self.watch()
        if time.monotonic() - self._tended_s < TEND_S and not now:
            return
        try:
            while self._unsaid:
                self._unsaid[0]()
                self._unsaid.pop(0)
            if time.monotonic() - self._tended_s >= TEND_S:
                self._tended_s = time.monotonic()
                self.keep()
                self.promote()
                self.reap()
        except RedisError:
            self._tended_s = time.monotonic()

    def keep(self) -> None:
        """Renew each fifth of a lease."""
        if self.renews and self.held and time.monotonic() - self._renewed_s > self.lease_s / 5:
            self.renew()
            self._renewed_s = time.monotonic()

    def watch(self) -> None:
        """End what could not be renewed in time: soon another may run it."""
        for token, until_s in list(self.held.items()):
            if self.renews and time.monotonic() > until_s - MARGIN_S:
                self.stop(token)

    def stop(self, token: int) -> None:
        """Interrupt, as Celery does at a soft time limit, who works for a lease that ends."""
        self.held.pop(token, None)
        for request in list(state.active_requests):
            if request.message.delivery_tag == token and request.worker_pid not in (None, os.getpid()):
                os.kill(request.worker_pid, signal.SIGUSR1)

    # --- Redis ---------------------------------------------------------------------------------------------------

    @property
    def redis(self) -> Redis:
        """This process's client, over the same link as everything else. It tries nothing twice by itself."""
        pid = os.getpid()
        if pid not in self._clients:
            self._clients[pid] = Redis.from_url(
                self._url, socket_timeout=SOCKET_S, socket_connect_timeout=SOCKET_S, retry=Retry(NoBackoff(), 0)
            )
        return self._clients[pid]

    def entry(self, token: int) -> dict[str, Any] | None:
        """What this token holds, if it still does."""
        raw = self.redis.hget("mini:leased", str(token))
        return json.loads(raw) if raw else None  # type: ignore[arg-type]

    def now_ms(self) -> int:
        """Redis's clock: the only one that counts."""
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def hashed(self, script: str, *args: int | str) -> Any:
        """Run a script by EVALSHA."""
        return self.redis.register_script(script)(args=args)

    def sent(self, script: str, *args: int | str) -> Any:
        """Run a script by EVAL."""
        return self.redis.eval(script, 0, *args)

    @staticmethod
    def surely(step: Callable[[], T]) -> T:
        """Take a step that may be taken again, until Redis has answered."""
        while True:
            try:
                return step()
            except RedisError:
                time.sleep(AGAIN_S)

    # --- what the harness asks -----------------------------------------------------------------------------------

    def pending(self, redis: Redis) -> Pending:
        """Entries that are ready, leased or delayed."""
        found: list[Any] = [*redis.lrange("mini:ready", 0, -1), *redis.hvals("mini:leased")]  # type: ignore[misc]
        found += redis.zrange("mini:delayed", 0, -1)  # type: ignore[arg-type]
        numbers = [operation_number(entry.decode()) for entry in found]
        return Pending(frozenset(n for n in numbers if n is not None), numbers.count(None))

    def dead_letters(self, redis: Redis) -> frozenset[int]:
        """Entries that were given up, with their message."""
        numbers = (operation_number(key.decode()) for key in redis.hkeys("mini:dead"))  # type: ignore[union-attr]
        return frozenset(n for n in numbers if n is not None)

    def redrive(self, app: Celery, operation: int) -> None:
        """Queue a dead letter again."""
        if not self.sent(scripts.REDRIVE, f"op-{operation}"):
            raise LookupError(f"no dead letter of operation {operation} that could be run")

    def leftovers(self, redis: Redis) -> tuple[str, ...]:
        """All keys but those that are kept on purpose."""
        return tuple(key for key in super().leftovers(redis) if key not in self.kept)
