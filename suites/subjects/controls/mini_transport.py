"""What hands the entries of the small queue to Celery: a transport of kombu's that asks again and again."""

from __future__ import annotations

import json
from dataclasses import asdict
from queue import Empty
from typing import TYPE_CHECKING, Any

from celery import Celery, signals
from kombu.connection import Connection
from kombu.transport import virtual

from locked_retry.adapter.prefork_exit import see_exits

if TYPE_CHECKING:
    from taskchaos.suites.subjects.controls.mini_queue import MiniQueue

POLL_S = 0.01


def use_transport(app: Celery, queue: MiniQueue) -> None:
    """Have the application's connections use this queue, whatever the scheme of their URL."""

    class QueueConnection(Connection):
        def _init_params(self, *, transport: Any = None, **params: Any) -> None:
            super()._init_params(transport=_MiniTransport, **params)

    signals.worker_ready.connect(see_exits, weak=False)  # a pool process that ended, at once and not 5 s later
    app.amqp.Connection = app.amqp.BrokerConnection = QueueConnection
    _MiniChannel.queue = queue


class _MiniChannel(virtual.Channel):
    """One queue, whatever it is called. An acknowledgement is `done`, a lost process `crashed`."""

    queue: MiniQueue  # of the only application of the process
    do_restore = False

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        self.queue.send(message["headers"]["id"], json.dumps(message))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        job = self.queue.fetch()
        if job is None:
            raise Empty
        message: dict[str, Any] = json.loads(job.message)
        message["properties"]["delivery_tag"] = job.token
        message["headers"]["mini_job"] = {**asdict(job), "message": ""}
        return message

    def _size(self, queue: str) -> int:
        return 0

    def _purge(self, queue: str) -> int:
        return 0

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        self.queue.say(self.queue.done, delivery_tag)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue=False)
        if requeue:
            self.queue.say(self.queue.crashed, delivery_tag)
        else:
            self.queue.held.pop(delivery_tag, None)


class _MiniTransport(virtual.Transport):
    Channel = _MiniChannel
    driver_type = driver_name = "mini"
    implements = virtual.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        loop.call_repeatedly(POLL_S, self._poll)

    def _poll(self) -> None:
        _MiniChannel.queue.tend()
        while True:
            try:
                self.cycle.get(self._deliver)
            except Empty:
                return

    def driver_version(self) -> str:
        return "1"
