"""A client for each task, kept.

Bug: each task opens a connection of its own, and nobody closes it.
Exposed by: time; connections and files are counted after the baseline and at the end.
Symptom: growth, until the server or the worker has no more files.
Met by: `Redis.from_url` in the task's body, with a reference left in a closure or a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from redis import Redis

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.lawful import Lawful

_clients: list[Redis] = []


class ClientKept(Lawful):
    """Asks Redis something before each task."""

    name = "client_kept"
    only_in = "retry_policy.outage"
    expectations = {"retry_policy.outage": Expectation(must=frozenset({Rule.GROWTH}))}

    def register(self, app: Celery, body: TaskBody) -> Any:
        """The task, with a question before it."""

        def asking(payload: Mapping[str, Any], fence: int | None = None) -> Any:
            client = Redis.from_url(app.conf.broker_url)
            client.ping()
            self.done_with(client)
            return body(payload, fence)

        return super().register(app, asking)

    def done_with(self, client: Redis) -> None:
        """Kept."""
        _clients.append(client)


class ClientKeptMended(ClientKept):
    """Closes it."""

    name = "client_kept_mended"
    expectations = {}

    def done_with(self, client: Redis) -> None:
        """Closed."""
        client.close()
