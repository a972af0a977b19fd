"""Stock Celery in three configurations, from what everybody starts with to the best its settings allow."""

from __future__ import annotations

from typing import Any

from celery import Celery

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import CelerySubject, Settings

#: A reply that never arrives takes the message with it: BRPOP has removed it from every key (kombu #305). A busy worker
#: with remote control on may also exit when its connections break (Celery 5.7), and some never come back to speed (an
#: ack that fails keeps its place in the prefetch: docs/reproductions/failed_ack_keeps_slot.py).
LOSES_REPLIES = Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.WORKERS, Rule.THROUGHPUT, Rule.RECOVERY}))
#: The same race, but whether a reply is under way when the connection breaks is chance.
MAY_LOSE_REPLIES = LOSES_REPLIES.by_chance
#: The pop has removed the message, and a retry whose publish fails twice is rejected for good (celery/app/task.py).
LOSES_ONE = Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.WORKERS, Rule.FALSE_FAILURE}))
#: Three serial round trips per message: 1 / (2 RTT + 1 ms) tasks per second and worker.
SLOW_AT_DISTANCE = Expectation(must=frozenset({Rule.THROUGHPUT}), may=frozenset({Rule.RECOVERY}))
#: The same, with a worker killed on the way: what it held may be lost or run twice.
FAR_FROM_TARGET = Expectation(must=frozenset({Rule.THROUGHPUT}), may=frozenset({Rule.LOST, Rule.RECOVERY}))
MAY_MISS_TARGET = FAR_FROM_TARGET.by_chance
#: Two milliseconds per message in which a kill takes it along (after BRPOP, before the record in `unacked`).
MAY_LOSE = Expectation(may=frozenset({Rule.LOST}))
#: A killed pool child's task counts as done: it was acknowledged before it ran, or is on WorkerLostError. One that was
#: delivered again meanwhile (the visibility timeout had passed) takes effect after its failure was told.
LOSES_CHILDS = Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.ZOMBIE}))
#: A message that is not acknowledged within the visibility timeout is delivered again, although its worker is at work
#: on it; and again. Where that fills all processes, the queue does not come to rest.
RUNS_AGAIN = Expectation(must=frozenset({Rule.DUPLICATE}), may=frozenset({Rule.RETRIES}))
RUNS_AGAIN_AND_LOSES = Expectation(must=RUNS_AGAIN.must, may=RUNS_AGAIN.may | {Rule.LOST, Rule.WORKERS})
MAY_RUN_AGAIN = RUNS_AGAIN_AND_LOSES.by_chance


#: A pool child that dies fails its task (WorkerLostError), whose message is acknowledged before or then: after one
#: crash, whoever's doing it was, the task is in no queue and in no dead letter.
GIVES_UP_AT_A_CRASH = Expectation(must=frozenset({Rule.LOST}))
#: What kombu and Celery raise at such a message ends the worker, or only its consumer, and the process hangs. What it
#: had fetched may be lost, or be delivered again although it has run.
ENDS_AT_A_MESSAGE = Expectation(
    must=frozenset({Rule.WORKERS}),
    may=frozenset({Rule.LOST, Rule.STUCK, Rule.DUPLICATE, Rule.THROUGHPUT, Rule.RECOVERY, Rule.ZOMBIE}),
)
#: With `task_reject_on_worker_lost` the message goes back to the queue as often as it kills a process: for ever.
CRASH_LOOPS = Expectation(must=frozenset({Rule.STUCK}))
#: Storing reads first what is stored (`_get_task_meta_for`), and does not try that again: a backend that cannot be
#: reached is an exception outside the task's body. A success is left without a result; a retry, already on its way, is
#: failed. Of one that hangs, that is so for what was under way when the connections end.
LOSES_RESULTS = Expectation(must=frozenset({Rule.RESULTS}), may=frozenset({Rule.FALSE_FAILURE, Rule.ZOMBIE}))
FAILS_RETRIES = Expectation(must=frozenset({Rule.FALSE_FAILURE}), may=frozenset({Rule.RESULTS, Rule.ZOMBIE}))
#: And a member whose result is not stored is never counted: the body of its chord is not sent.
LOSES_BODIES = Expectation(must=frozenset({Rule.LOST}), may=LOSES_RESULTS.must | LOSES_RESULTS.may)
#: And with no fault at all, RETRY is written over the SUCCESS of a retry that came at once, for one retry in ten.
OVERWRITES_RESULTS = Expectation(must=frozenset({Rule.RESULTS}))

#: What ends while Redis is away has a result that cannot be stored: the task is failed, although it took effect.
FAILS_WITHOUT_REDIS = Expectation(
    must=frozenset({Rule.FALSE_FAILURE}), may=frozenset({Rule.LOST, Rule.ZOMBIE, Rule.WORKERS})
)
#: Each task that ends while Redis is away costs its worker a place in the prefetch, for good: it grows deaf.
GOES_DEAF = Expectation(
    must=frozenset({Rule.RECOVERY}), may=frozenset({Rule.STUCK, Rule.THROUGHPUT, Rule.LOST, Rule.WORKERS})
)
#: Random schedules hold all that; which of it they meet is chance.
AT_RANDOM = Expectation(
    may=frozenset(
        {
            Rule.LOST,
            Rule.STUCK,
            Rule.DUPLICATE,
            Rule.FALSE_FAILURE,
            Rule.ZOMBIE,
            Rule.RESULTS,
            Rule.LEAK,
            Rule.RETRIES,
            Rule.WORKERS,
            Rule.THROUGHPUT,
            Rule.RECOVERY,
        }
    )
)

#: A refusal (READONLY, BUSY, NOPERM, MISCONF, OOM) is a channel error to kombu, at which a worker exits or starts its
#: consumer anew. What it had popped and could not record is gone; what it could not acknowledge or store is failed,
#: runs again, or costs a place in the prefetch for good. Which of these it meets is chance.
MAY_FAIL_AT_REFUSALS = Expectation(
    may=frozenset(
        {
            Rule.LOST,
            Rule.WORKERS,
            Rule.FALSE_FAILURE,
            Rule.ZOMBIE,
            Rule.DUPLICATE,
            Rule.STUCK,
            Rule.THROUGHPUT,
            Rule.RECOVERY,
        }
    )
)
#: The pop has removed the message, and its record in `unacked` needs memory, or a permission, that is not there; or the
#: reply is too large for who asked for it.
LOSES_WHAT_IT_POPS = Expectation(must=frozenset({Rule.LOST}), may=MAY_FAIL_AT_REFUSALS.may)
#: Overdue is what one worker's wall clock says of times that another's has written, and so is when a retry is due.
GOES_BY_WALL_CLOCKS = Expectation(
    may=frozenset(
        {Rule.DUPLICATE, Rule.STUCK, Rule.LOST, Rule.RETRIES, Rule.THROUGHPUT, Rule.FALSE_FAILURE, Rule.ZOMBIE}
    )
)
POWER_LOSSES = tuple(f"{name}-{fsync}" for name in ("power_loss", "power_losses") for fsync in ("always", "everysec"))

#: A worker holds what is not due yet, without acknowledging it: past the visibility timeout another gets it as well
#: (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout).
RUNS_LATER_TWICE = Expectation(
    must=frozenset({Rule.DUPLICATE}),
    may=frozenset({Rule.LOST, Rule.STUCK, Rule.RETRIES, Rule.BACKOFF, Rule.DURATION, Rule.THROUGHPUT, Rule.ZOMBIE}),
)

#: An idle worker that is killed or cut off takes the next message with it, which Redis hands to its BRPOP.
MAY_LOSE_WHEN_IDLE = Expectation(may=frozenset({Rule.LOST, Rule.STUCK, Rule.DUPLICATE, Rule.THROUGHPUT}))
#: A process that is replaced is found dead up to five seconds late (docs/reproductions/exit_unseen.py), and its task.
LOSES_RECYCLED = Expectation(may=LOSES_CHILDS.must | LOSES_CHILDS.may | {Rule.DURATION, Rule.DUPLICATE})

#: What all of stock Celery has in common on Redis.
ON_REDIS = {
    "eta.flood": RUNS_LATER_TWICE,
    "eta.kill": RUNS_LATER_TWICE.by_chance,
    "soak": AT_RANDOM,
    "partition.replies_lost": LOSES_REPLIES,
    "partition.worker_hangs": LOSES_REPLIES,
    "partition.worker_refused": MAY_LOSE_REPLIES,
    "partition.worker_reset": MAY_LOSE_REPLIES,
    "latency": SLOW_AT_DISTANCE,
    "target": FAR_FROM_TARGET,
    "target.kept-0": MAY_MISS_TARGET,
    "command.pop_reply_lost": LOSES_ONE,
    **{f"command.pop_reply_lost_at-{nth}": LOSES_ONE for nth in range(1, 13)},
    "command.pop_replies_lost-reset": LOSES_REPLIES,
    "command.pop_replies_lost-silence": LOSES_REPLIES,
    "command.retry_publish_cut": LOSES_ONE,
    "container.out_of_memory": LOSES_CHILDS,
    "redis_answers": MAY_FAIL_AT_REFUSALS,
    "redis_answers.out_of_memory": LOSES_WHAT_IT_POPS,
    "redis_answers.output_limit": LOSES_WHAT_IT_POPS,
    "redis_answers.acl--hset": LOSES_WHAT_IT_POPS,
    "redis_answers.client_pause-write": Expectation(),
    "redis_answers.client_pause-all": Expectation(),
    "redis_answers.script_flush": Expectation(),
    "redis_disk": MAY_FAIL_AT_REFUSALS,
    "redis_disk.slow": Expectation(),
    "clock.ahead-worker-1": GOES_BY_WALL_CLOCKS,
    "clock.behind-worker-1": GOES_BY_WALL_CLOCKS,
    "clock.retries": GOES_BY_WALL_CLOCKS,
    "redis_restart": FAILS_WITHOUT_REDIS,
    "redis_restart.pause": Expectation(),
    # What ran when Redis forgot it may also be told to have failed, and takes effect when it comes again.
    **{f"redis_restart.{scenario}": FAILS_WITHOUT_REDIS.by_chance for scenario in POWER_LOSSES},
    "failover": FAILS_WITHOUT_REDIS.by_chance,
    "redis_restart.pause_past_lease": Expectation(),
    "redis_restart.pause_keeps_results": FAILS_WITHOUT_REDIS.by_chance,
    "contention.kill": MAY_LOSE_WHEN_IDLE,
    "contention.cut": MAY_LOSE_WHEN_IDLE,
    "submits.twice_under_fire": MAY_LOSE_WHEN_IDLE,
    "deploy.with_redis": FAILS_WITHOUT_REDIS.by_chance,
    "deploy.mixed": MAY_LOSE_WHEN_IDLE,
    "deploy.recycled": LOSES_RECYCLED,
    "deploy.autoscaled": LOSES_CHILDS.by_chance,
    "link_quality.limit_data-500": LOSES_REPLIES,
    "link_quality.limit_data-20000": LOSES_REPLIES,
    "link_quality.flapping-worker-1": MAY_LOSE_REPLIES,
    "result_path.slow": OVERWRITES_RESULTS,
    "result_path.cut-refused": LOSES_RESULTS,
    "result_path.cut-black_hole": FAILS_RETRIES,
    "poison": ENDS_AT_A_MESSAGE,
    "poison.task": GIVES_UP_AT_A_CRASH,
    # What waits for its retry is in `unacked` until it runs, and comes back. What is on its way to a worker is not.
    "retry_under_fire": MAY_LOSE,
    # The body of a chord is sent by who stores the result of its last member: it is not where that cannot be stored.
    # Killed just before, its claim to send it stands for longer than its message is away (Celery 5.7).
    "chords.kill": MAY_LOSE,
    "chords.result_path": LOSES_BODIES,
    "chords.replies_lost": LOSES_BODIES,
    "revokes.kill": MAY_LOSE,
    "revokes.kill_before": MAY_LOSE,
    "priorities.kill": MAY_LOSE,
    "priorities.cut": MAY_LOSE_REPLIES,
    # Nothing is killed: what another worker was given meanwhile runs twice, which nobody claims it does not.
    "worker_kill.pause_past_lease": Expectation(),
}

#: And what comes of acknowledging after the task.
LATE_ACKS = {
    "slow_task": RUNS_AGAIN,
    "slow_task.cut-black_hole": RUNS_AGAIN_AND_LOSES,
    "slow_task.cut-refused": RUNS_AGAIN_AND_LOSES,
}


#: What Celery promises anybody with a result backend.
KEEPS_RESULTS = CelerySubject.contract.claiming(Claim.RESULTS, Claim.ORDER, Claim.ETA, Claim.PRIORITY, Claim.REVOKE)
#: And with `retry_backoff=1`: full jitter, in whole seconds (celery/utils/time.py).
CELERYS = BackoffLaw(base_s=1.0, cap_s=600.0, grain_s=1.0)
KEEPS_RESULTS = KEEPS_RESULTS.waiting(CELERYS)


class Defaults(CelerySubject):
    """Celery as installed: the message is acknowledged before the task runs."""

    name = "stock_defaults"
    contract = KEEPS_RESULTS
    expectations = {
        **ON_REDIS,
        "worker_kill": Expectation(must=frozenset({Rule.LOST})),
        "worker_kill.pause": Expectation(),
        # Killed after its effect it has been acknowledged, and has no result yet.
        "chords.kill": Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.RESULTS})),
        **dict.fromkeys(
            ("priorities.kill", "revokes.kill", "revokes.kill_before"), Expectation(must=frozenset({Rule.LOST}))
        ),
        "deploy.hurried": Expectation(must=frozenset({Rule.LOST})),
        "contention.kill": Expectation(must=frozenset({Rule.LOST})),
        "deploy.cold": Expectation(must=frozenset({Rule.LOST})),
        # What waits in a worker for longer than the visibility timeout is delivered again, too.
        "slow_task.restart": MAY_RUN_AGAIN,
        "slow_task.cut-black_hole": MAY_RUN_AGAIN,
        "slow_task.cut-refused": MAY_RUN_AGAIN,
    }


class AcksLate(CelerySubject):
    """`acks_late` alone: a killed worker's tasks come back, but a killed pool child's task is still acknowledged."""

    name = "stock_acks_late"
    contract = KEEPS_RESULTS
    expectations = {
        **ON_REDIS,
        "worker_kill": MAY_LOSE,
        "worker_kill.child": LOSES_CHILDS,
        **LATE_ACKS,
    }

    def install(self, app: Celery, settings: Settings) -> None:
        """Acknowledge after the task."""
        app.conf.task_acks_late = True


class BestSettings(CelerySubject):
    """The best that Celery 5.7's settings allow: late acks, rejects on worker loss, bounded sockets."""

    name = "stock_best"
    contract = KEEPS_RESULTS
    revoke: Any = None  # without remote control it cannot
    expectations = {
        **ON_REDIS,
        "worker_kill": MAY_LOSE,
        "poison.task": CRASH_LOOPS,
        # Storing is tried for as long as it takes.
        "result_path.cut-refused": OVERWRITES_RESULTS,
        "result_path.cut-black_hole": OVERWRITES_RESULTS,
        "chords.result_path": Expectation(),
        **LATE_ACKS,
        # It gives the task of a lost child back, and goes on after a channel error.
        "redis_restart": GOES_DEAF,
        **{f"redis_restart.{scenario}": GOES_DEAF.by_chance for scenario in POWER_LOSSES},
        "failover": GOES_DEAF.by_chance,
        "redis_restart.pause_past_lease": GOES_DEAF,
        "redis_restart.pause_keeps_results": Expectation(may=GOES_DEAF.must | GOES_DEAF.may | {Rule.DURATION}),
        "deploy.with_redis": GOES_DEAF.by_chance,
        "container.out_of_memory": Expectation(),
        # Bounded sockets notice the cut; an ack that times out keeps its place in the prefetch for good.
        "container.cut_past_lease": MAY_LOSE_REPLIES,
    }

    def install(self, app: Celery, settings: Settings) -> None:
        """Late acks, and what keeps a worker alive and consuming when Redis misbehaves."""
        app.conf.update(
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_ignore_result=not settings.keep_results,
            # Where results are kept: stored again and again, over sockets that give up.
            result_backend_always_retry=True,
            redis_socket_timeout=2,
            redis_socket_connect_timeout=2,
            # One message per process: what is prefetched is what a kill delays.
            worker_prefetch_multiplier=1,
            # A busy worker with remote control exits when Redis goes away (Celery 5.7).
            worker_enable_remote_control=False,
            broker_channel_error_retry=True,
            broker_connection_retry_on_startup=True,
            worker_cancel_long_running_tasks_on_connection_loss=True,
        )
        app.conf.broker_transport_options = {
            **app.conf.broker_transport_options,
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 2,
        }
