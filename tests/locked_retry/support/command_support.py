"""The commands of `celery -A app locked-retry`, run in this process."""

from __future__ import annotations

from typing import Any

from celery import Celery
from click.testing import CliRunner, Result

import locked_retry
from locked_retry import LockedTask
from locked_retry.operator.commands import plugin


def application(url: str, **transport_options: Any) -> Celery:
    app = Celery("shop", broker=url, task_cls=LockedTask, set_as_current=False)
    app.conf.broker_transport_options = transport_options
    locked_retry.install(app)
    return app


def run(app: Celery, *words: str, **more: Any) -> Result:
    """As `celery -A app locked-retry ...` does, in this process."""
    return CliRunner().invoke(plugin, list(words), obj=app, **more)
