"""The application of the worker: what Celery's fixtures make for the one they embed, for a process of its own."""

from __future__ import annotations

import os

import celery.contrib.testing.tasks
import suite_settings
import t.integration.tasks
from celery import Celery, Task
from celery.contrib.testing.app import DEFAULT_TEST_CONFIG

import locked_retry
from locked_retry import LockedTask

app = Celery("celery.tests", task_cls=LockedTask if suite_settings.OURS else Task)
app.conf.update(
    {
        **DEFAULT_TEST_CONFIG,
        "broker_url": os.environ["TEST_BROKER"],
        "result_backend": os.environ["TEST_BACKEND"],
        "result_extended": True,
    }
)
if suite_settings.OURS:
    locked_retry.install(app)
app.set_default()
app.register_task(t.integration.tasks.ClassBasedAutoRetryTask())
app.finalize()
assert celery.contrib.testing.tasks.ping.name in app.tasks
