"""The broker's URL in all forms that kombu takes: one or several, TCP, TLS, Sentinel, a socket file.

kombu takes the transport from the URL of whatever it connects to: from the scheme, from what stands before a "+", and
from the next URL when a server has died. A setting would hold for the first of these alone. So connections are of a
class that replaces the Redis transports by ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ssl import CERT_NONE
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.utils.url import maybe_sanitize_url

_OURS = {
    "redis": "locked_retry.adapter.transport:Transport",
    "rediss": "locked_retry.adapter.transport:Transport",
    "sentinel": "locked_retry.adapter.transport:SentinelTransport",
}
_SCHEMES = ("redis://", "rediss://", "sentinel://", "redis+socket://")
_SETTINGS = ("broker_url", "broker_read_url", "broker_write_url")


class LockedConnection(Connection):
    """kombu's connection; to a Redis it is one of our transport."""

    def _init_params(self, *, transport: Any = None, ssl: Any = False, **params: Any) -> None:  # type: ignore[override]
        if transport == "rediss" and not ssl:
            ssl = {"ssl_cert_reqs": CERT_NONE}  # as kombu does, when it is told nothing
        ours = _OURS.get(transport or "redis", transport)
        super()._init_params(transport=ours, ssl=ssl, **params)  # type: ignore[no-untyped-call]


def use_transport(app: Celery) -> None:
    """Have an application's connections use our transport. Raises ValueError, in one line, for what is not Redis."""
    for name in _SETTINGS:
        _check(app.conf.get(name))
        _check(os.environ.get(f"CELERY_{name.upper()}"))
    app.amqp.Connection = app.amqp.BrokerConnection = LockedConnection


def _check(value: Any) -> None:
    for url in _split(value):
        if "://" in url and not url.startswith(_SCHEMES):
            shown = maybe_sanitize_url(url)
            raise ValueError(f"locked_retry needs a broker at {', '.join(_SCHEMES)}, not at {shown}")


def _split(value: Any) -> Iterator[str]:
    for one in [value] if isinstance(value, str) else value or ():
        yield from str(one).split(";")
