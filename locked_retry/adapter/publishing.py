"""What a task publishes, and the rest of its chain: a broker that is away is waited for, as all else here does.

Celery gives a publish up after about half a second, and fails the task with it, although its body is done. In a worker
nobody is kept waiting but the task, whose lease nobody can take over meanwhile.
"""

from __future__ import annotations

from typing import Any

from celery.app.defaults import DEFAULTS

from locked_retry.options import Options

_SETTING = "task_publish_retry_policy"
#: The pauses between tries: they grow to the longest.
STEP_S, LONGEST_S = 0.2, 1.0


def wait_for_broker(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_init`, whose sender is the worker. Whoever has set a policy keeps it."""
    app = sender.app
    options = Options.read(app.conf.broker_transport_options or {})
    if app.conf[_SETTING] != DEFAULTS[_SETTING] or not options.publish_wait_s:
        return
    app.conf[_SETTING] = {
        "max_retries": tries_in(options.publish_wait_s),
        "interval_start": 0,
        "interval_step": STEP_S,
        "interval_max": LONGEST_S,
    }
    vars(app.amqp).pop("send_task_message", None)  # it may have been made already, with the other policy


def tries_in(wait_s: float) -> int:
    """How many tries take about so long, if each fails at once: pauses of 0, 0.2, ... 1, 1, ... s."""
    tries, passed_s, pause_s = 1, 0.0, 0.0
    while passed_s + min(pause_s, LONGEST_S) <= wait_s:
        passed_s += min(pause_s, LONGEST_S)
        pause_s += STEP_S
        tries += 1
    return tries
