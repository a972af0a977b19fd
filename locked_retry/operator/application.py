"""An application's own way to its broker, for tools: URL, TLS, Sentinel and prefixes are those it works with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from celery import Celery
from redis import Redis

from locked_retry.adapter.transport import Transport
from locked_retry.broker.turns import Keys
from locked_retry.options import Options


class NotInstalled(ValueError):
    """The application does not use locked_retry, or its broker settings make no sense."""


@dataclass(frozen=True, slots=True)
class Broker:
    """`redis` is a plain client: names are full ones, answers are bytes. Good as long as `connect` is entered."""

    channel: Any
    redis: Any
    keys: Keys

    def queue_lists(self, queue: str) -> list[tuple[int, str]]:
        """The lists of a queue, each with its priority, best first."""
        return list(self.channel.lists_of(queue))


@contextlib.contextmanager
def connect(app: Celery, reply_s: float | None = None) -> Iterator[Broker]:
    """A client on the application's broker, closed at the end.

    reply_s: how long to wait for each answer, where the application's broker_transport_options set nothing.
    Raises NotInstalled, and what redis-py or the operating system raises when there is no answer.
    """
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(app.connection_for_read())
            if reply_s is not None:
                limits = {"socket_timeout": reply_s, "socket_connect_timeout": reply_s}
                connection.transport_options = {**limits, **connection.transport_options}
            if not isinstance(connection.transport, Transport):
                raise NotInstalled("the application (celery -A) does not call locked_retry.install(app)")
            namespace = Options.read(connection.transport_options).namespace
            channel = connection.channel()
        except NotInstalled:
            raise
        except (ValueError, TypeError, AttributeError) as error:  # a URL, or a setting in it, that makes no sense
            raise NotInstalled(f"the application's broker settings: {error}") from error
        # Not the channel's own client, which puts global_keyprefix in front of some names: ours are full ones.
        yield Broker(channel, Redis(connection_pool=channel.pool), Keys(channel.global_keyprefix + namespace))
