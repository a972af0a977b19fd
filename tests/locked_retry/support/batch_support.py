"""Producers of the tests of submit_many, and what they left in the queues."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from redis import Redis

from locked_retry import Answers, LockedTask, Outcome


def queued(redis: Redis, name: str = "q") -> list[str]:
    """Task ids, next one first."""
    return [json.loads(raw)["headers"]["id"] for raw in reversed(redis.lrange(name, 0, -1))]  # type: ignore[arg-type]


def make_app(url: str, **options: Any) -> Celery:
    app = Celery("producer", broker=url, task_cls=LockedTask, set_as_current=False)
    app.conf.update(broker_transport_options={"socket_timeout": 5, **options}, task_ignore_result=True)
    app.task(name="note", shared=False)(noted)
    return app


def noted(name: Any, work_s: float = 0.0) -> None:
    """A body that is never run here."""


def outcomes(answers: Answers) -> list[Outcome]:
    return [answer.outcome for answer in answers]
