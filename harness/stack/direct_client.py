"""A client of the harness's own, past the proxy."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: How long a server may take to answer the harness. Blocked by a long script, it says BUSY by then.
ANSWER_S = 5.0
#: No second try by the client itself.
ONCE = Retry(NoBackoff(), 0)

#: The name of connections that belong to the harness.
OURS = "taskchaos"


def direct_client(host: str, port: int) -> Redis:
    """A client past the proxy. It waits once, and not for long: a server that hangs is to be noticed."""
    return Redis(
        host=host, port=port, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, retry=ONCE, client_name=OURS
    )
