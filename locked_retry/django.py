"""For Django projects: `Celery("shop", task_cls="locked_retry.django:LockedDjangoTask")`.

Celery gives its tasks `delay_on_commit` and `apply_async_on_commit` unless the application has a task class of its own.
"""

from __future__ import annotations

from celery.contrib.django.task import DjangoTask

from locked_retry.task import LockedTask


class LockedDjangoTask(LockedTask, DjangoTask):  # type: ignore[misc]
    """A LockedTask that can be sent when the database transaction is committed."""

    abstract = True
