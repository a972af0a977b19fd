"""locked_retry: the reference retry implementation for Celery on Redis.

    app = Celery("shop", broker="redis://...", task_cls=LockedTask)
    locked_retry.install(app)

The package stands alone: it imports nothing of the harness, the faults or the suites.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from locked_retry.adapter import releases, results
from locked_retry.adapter.lease_guard import listen
from locked_retry.adapter.orphans import die_with_parent, remember_parent
from locked_retry.adapter.prefork_exit import see_exits
from locked_retry.adapter.prefork_flush import keep_given
from locked_retry.adapter.publishing import wait_for_broker
from locked_retry.adapter.queue_order import ROUND_ROBIN, QueueOrder
from locked_retry.adapter.releases import UnknownRelease
from locked_retry.adapter.scheduled import answer_inspect
from locked_retry.adapter.shutdown import prepare_end
from locked_retry.adapter.urls import use_transport
from locked_retry.backoff import Backoff, Decorrelated, Exponential, Fixed
from locked_retry.budget import Budget
from locked_retry.lease import Lease, LeaseLost, new_board
from locked_retry.log import Event, say
from locked_retry.operator import metrics_page
from locked_retry.operator.prometheus import prometheus_text
from locked_retry.options import Options
from locked_retry.producer.answers import Answers, NotSubmitted, Outcome, TaskAnswer
from locked_retry.producer.batch import submit_many
from locked_retry.producer.sharding import Job, JoinOn, Progress, UnknownJob, shard
from locked_retry.task import LockedTask
from locked_retry.worker.metrics import metrics

__all__ = ["Backoff", "Budget", "Decorrelated", "Exponential", "Fixed", "Lease", "LeaseLost", "LockedTask"]
__all__ += ["Options"]
__all__ += ["UnknownRelease", "install", "metrics", "prometheus_text"]
__all__ += ["Answers", "NotSubmitted", "Outcome", "TaskAnswer", "submit_many"]
__all__ += ["Job", "JoinOn", "Progress", "UnknownJob", "shard"]

#: Celery's default; whoever set something else keeps it.
_CELERY_PREFETCH_MULTIPLIER = 4
#: The most that may be held per pool process. How much is held follows the measured rate (see session.py).
PREFETCH_MULTIPLIER = 512


def install(app: Celery, **options: Any) -> None:
    """Make an application's workers take turns. `options` are those of `Options`.

    Call it when broker_url and broker_transport_options are set. Raises ValueError for an unknown option or one
    that makes no sense, and for a broker that is not Redis, and UnknownRelease for a release of Celery or kombu that
    is not supported.
    """
    doubt = releases.check()
    if doubt:
        say(Event.UNKNOWN_RELEASE, error=doubt)
    conf = app.conf
    use_transport(app)
    given = dict(conf.broker_transport_options or {})
    Options.read(given)
    given["locked_retry"] = {**(given.get("locked_retry") or {}), **options}
    QueueOrder(given.get("queue_order_strategy", ROUND_ROBIN), Options.read(given).queue_weights)
    conf.broker_transport_options = given
    if conf.worker_prefetch_multiplier == _CELERY_PREFETCH_MULTIPLIER:
        conf.worker_prefetch_multiplier = PREFETCH_MULTIPLIER
    conf.broker_channel_error_retry = True
    if conf.broker_connection_retry_on_startup is None:
        conf.broker_connection_retry_on_startup = True
    signals.worker_init.connect(new_board, dispatch_uid="locked_retry.board")
    signals.worker_init.connect(remember_parent, dispatch_uid="locked_retry.parent")
    signals.worker_init.connect(results.begin, dispatch_uid="locked_retry.results")
    signals.worker_process_init.connect(results.begin_in_pool, dispatch_uid="locked_retry.results")
    signals.worker_shutdown.connect(results.end, dispatch_uid="locked_retry.results")
    signals.worker_init.connect(wait_for_broker, dispatch_uid="locked_retry.publishing")
    signals.worker_init.connect(answer_inspect, dispatch_uid="locked_retry.inspect")
    signals.worker_ready.connect(keep_given, dispatch_uid="locked_retry.prefork_flush")
    signals.worker_ready.connect(see_exits, dispatch_uid="locked_retry.prefork_exit")
    signals.worker_ready.connect(prepare_end, dispatch_uid="locked_retry.shutdown")
    signals.worker_ready.connect(metrics_page.serve, dispatch_uid="locked_retry.metrics")
    signals.worker_process_init.connect(metrics_page.close_inherited, dispatch_uid="locked_retry.metrics")
    signals.worker_shutdown.connect(metrics_page.close, dispatch_uid="locked_retry.metrics")
    signals.worker_process_init.connect(listen, dispatch_uid="locked_retry.lease_guard")
    signals.worker_process_init.connect(die_with_parent, dispatch_uid="locked_retry.orphans")
