"""What locked_retry uses of Celery, kombu, billiard and redis-py that they do not document.

One row for each: who has it, its name, what for, and since which release of its package where not all have it.
test_releases.py looks for each in what is installed, and for private names that are used and missing here.
"""

from __future__ import annotations

from dataclasses import dataclass

Release = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Name:
    """`owner` is a module, or `module:class`. The name is on it, or set by its code or that of the modules `set_in`."""

    owner: str
    name: str
    why: str
    since: Release = (0, 0)
    set_in: str = ""


def _of(owner: str, *rows: tuple[str, str], since: Release = (0, 0), set_in: str = "") -> tuple[Name, ...]:
    return tuple(Name(owner, name, why, since, set_in) for name, why in rows)


NAMES: tuple[Name, ...] = (
    *_of("kombu.serialization:registry", ("_decoders", "whether the application has a JSON of its own")),
    *_of("kombu.message:Message", ("_decoded_cache", "a body that was read already is not read again")),
    *_of(
        "kombu.transport.redis:Channel",
        ("_active_queues", "which queues are consumed"),
        ("_basic_cancel", "overridden: a queue is no longer consumed"),
        ("_connparams", "overridden: RESP3, and connections that end in order"),
        ("_fanout_queues", "which queues are broadcasts, and left to kombu"),
        ("_get_message_priority", "which of a queue's lists a message goes to"),
        ("_in_listen", "reset when a subscription fails"),
        ("_inplace_augment_message", "a message as it is published, without publishing"),
        ("_lookup", "the queues of an exchange and routing key"),
        ("_put_fanout", "overridden: heartbeats do not wait for a Redis that is away"),
        ("_q_for_pri", "the list of a queue and a priority"),
        ("_receive", "overridden: broadcasts that fail are subscribed to again"),
        ("_size", "overridden: a queue that is no list keeps nobody from the others"),
        ("_tag_to_queue", "the queue of a consumer that is cancelled"),
        ("_update_queue_cycle", "a queue is left to turns"),
        ("ack_emulation", "whether the application wants acknowledgements"),
        ("active_queues", "overridden: what is left to BRPOP"),
        ("async_pool", "the connections of the loop"),
        ("conn_or_acquire", "a client for calls beside the loop"),
        ("global_keyprefix", "in front of every key"),
        ("pool", "the connections of everybody else"),
        ("priority_steps", "the priorities, best first"),
        ("subclient", "the connection of broadcasts"),
        ("unacked_index_key", "what plain workers left"),
        ("unacked_key", "what plain workers left"),
        ("unacked_restore_limit", "what plain workers left"),
        ("visibility_timeout", "what plain workers left"),
    ),
    *_of(
        "kombu.transport.redis:Channel",
        ("_expires", "x-expires of queues: their lists are dropped when unused"),
        ("maybe_refresh_binding_expiry", "kombu's upkeep, which may fail"),
        since=(5, 7),
    ),
    *_of("celery.app.task:Task", ("__trace__", "what runs it, to know where an execution is")),
    *_of(
        "celery.backends.redis:RedisBackend",
        ("_chord_claim_extend_script", "whether who sends the body of a chord claims it first"),
        ("_chord_publish_claim_expires", "replaced: for how long it claims it"),
        since=(5, 7),
    ),
    *_of(
        "kombu.transport.redis:Transport",
        ("_callbacks", "whether a queue is consumed by this connection"),
        ("_deliver", "hands a message to its consumer"),
        ("cycle", "the poller: replaced by ours"),
        ("register_with_event_loop", "extended: our poller has to know the loop"),
    ),
    *_of(
        "kombu.transport.redis:MultiChannelPoller",
        ("_chan_to_sock", "the sockets that are polled"),
        ("_channels", "all channels of a connection"),
        ("_fd_to_chan", "whose a file descriptor is"),
        ("_on_connection_disconnect", "extended: a socket of ours that ends"),
        ("_register_LISTEN", "extended: subscribing may fail"),
        ("eventflags", "what to poll for"),
        ("get", "extended: without a loop turns are taken here"),
        ("handle_event", "extended: events of our sockets, without a loop"),
        ("maybe_check_subclient_health", "extended: it may fail"),
        ("maybe_restore_messages", "replaced: it may fail, and looks at one channel only"),
        ("on_poll_start", "extended: turns are taken here"),
        ("on_readable", "extended: events of our sockets"),
        ("poller", "where sockets are registered"),
    ),
    *_of(
        "kombu.transport.redis:QoS",
        ("_delivered", "what basic_get fetched"),
        ("can_consume", "whether more may be fetched"),
        ("can_consume_max_estimate", "how much more may be fetched"),
        ("restore_by_tag", "replaced: one script call"),
        ("restore_unacked", "extended: the session gives back"),
        ("restore_visible", "extended: seldom"),
    ),
    *_of(
        "kombu.asynchronous.hub:Hub",
        ("_pop_ready", "the calls that wait when a worker ends"),
        ("call_later", "the loop wakes up in time for the next turn"),
        ("call_soon", "the loop wakes up"),
        ("fire_timers", "the timers that are due when a worker ends"),
        ("remove", "forgets a socket"),
        ("timer", "which Celery 5.5 clears"),
    ),
    *_of("kombu.asynchronous.timer:Timer", ("clear", "wrapped: not while the worker ends")),
    *_of("kombu.asynchronous.timer:Entry", ("cancel", "an alarm that moved"), ("canceled", "an alarm that moved")),
    *_of(
        "celery.worker.request:Request",
        ("_already_cancelled", "Celery has killed it, and leaves it unacknowledged"),
        ("_context", "what result backends and signals are given"),
        ("_message", "whose delivery a request is"),
        ("acknowledged", "whether its end was told"),
        ("on_accepted", "extended: from now on its process may crash"),
        ("on_failure", "extended: how its delivery ends"),
        ("on_retry", "extended: how its delivery ends"),
        ("on_timeout", "extended: how its delivery ends"),
        ("store_errors", "whether its failure is a result"),
    ),
    *_of(
        "celery.worker.request:Request",
        ("_retry_worker_lost", "extended: a retry of ours"),
        ("_success_was_stored", "extended: then it is done"),
        since=(5, 7),
    ),
    *_of("celery.worker.request", ("create_request_cls", "its subclasses replace execute_using_pool, on_success")),
    *_of("celery.app.task:Task", ("_dump_pydantic_arguments", "its messages are Celery's to build"), since=(5, 7)),
    *_of("celery.app.task:Task", ("__header__", "checks arguments"), set_in="celery.app.base"),
    *_of("celery.app.task:Task", ("request_stack", "whether a task runs in this process")),
    *_of(
        "celery.worker.consumer.consumer:Consumer",
        ("event_dispatcher", "sends task-failed"),
        ("qos", "prefetching"),
        ("task_consumer", "whose channel is ours"),
        set_in="celery.worker.consumer.tasks celery.worker.consumer.events",
    ),
    *_of(
        "celery.worker.consumer.consumer:Consumer",
        ("controller", "its worker"),
        ("hostname", "its name"),
        ("hub", "its loop"),
        ("pool", "its processes or threads"),
    ),
    *_of(
        "celery.worker.worker:WorkController",
        ("blueprint", "whether it is ending"),
        ("exitcode", "whether it ends by an error"),
        ("wait_for_soft_shutdown", "wrapped: leases are kept meanwhile"),
    ),
    *_of(
        "celery.worker.state",
        ("active_requests", "what runs, for the watchdog"),
        ("revoked", "what is revoked: a cancelled task is, while it is handed over"),
        ("should_stop", "whether the worker is ending"),
        ("should_terminate", "whether the worker is ending"),
        ("task_ready", "a request that Celery did not end"),
    ),
    *_of("celery.worker.strategy", ("default", "wrapped: what arrives is looked at first")),
    *_of("celery.bootsteps", ("CLOSE", "the worker is ending"), ("TERMINATE", "the worker is ending")),
    *_of("celery.worker.control:Panel", ("data", "Celery's `inspect scheduled`, which ours adds to")),
    *_of("celery.app.amqp:AMQP", ("send_task_message", "made again with another policy of retries")),
    *_of("celery.app.defaults", ("DEFAULTS", "whether a setting is Celery's own")),
    *_of("kombu.transport.redis:Channel", ("queue_order_strategy", "which queue is looked into first")),
    *_of("kombu.utils.scheduling", ("cycle_by_name", "kombu's orders, and a user's own"), ("priority_cycle", "a base")),
    *_of("celery.platforms", ("EX_FAILURE", "the exit code of a worker that ends by an error")),
    *_of("celery._state", ("get_current_task", "the task that a signal meets")),
    *_of("celery.app.routes", ("MapRoute", "a route that is the same for all messages"), ("Router", "Celery's own")),
    *_of("celery.concurrency.base:BasePool", ("flush", "wrapped: jobs are remembered"), ("is_green", "gevent")),
    *_of("celery.concurrency.prefork:TaskPool", ("on_stop", "wrapped: the loop's timers go on")),
    *_of("celery.concurrency.prefork:TaskPool", ("_pool", "billiard's")),
    *_of("celery.concurrency.thread:TaskPool", ("on_stop", "wrapped: the loop's timers go on")),
    *_of("concurrent.futures.thread:ThreadPoolExecutor", ("_shutdown_lock", "replaced: signals may come in submit")),
    *_of("kombu.connection:Connection", ("_init_params", "overridden: the transport that a URL names")),
    *_of("celery.concurrency.solo:TaskPool", ("limit", "tasks run in the thread of the loop")),
    *_of("billiard.pool:Pool", ("_cache", "the jobs that are known"), ("_pool", "the processes")),
    *_of(
        "celery.concurrency.asynpool:AsynPool",
        ("_event_process_exit", "whether it is that pool"),
        ("_sentinel_poll", "whether the end of a process was announced"),
        ("maintain_pool", "wrapped: it comes again"),
    ),
    *_of(
        "billiard.pool:ApplyResult",
        ("_write_to", "it was given to a process"),
        ("ready", "it has ended"),
    ),
    *_of("billiard.einfo", ("ExceptionWithTraceback", "what an exception of a process comes in")),
    *_of("redis.connection:AbstractConnection", ("_sock", "whether it is connected, and what to poll")),
    *_of("redis.connection:ConnectionPool", ("get_connection", "our own connections"), ("release", "and back")),
)
