"""A client of the harness's own, past the proxy."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: What the harness's own connections call themselves: faults of clients leave them alone (HARNESS of
#: taskchaos.faults.base, which is not imported, because an image of workers has no faults).
NAME = "taskchaos"
#: How long a server may take to answer the harness. Blocked by a long script, it says BUSY by then.
ANSWER_S = 5.0
#: No second try by the client itself.
ONCE = Retry(NoBackoff(), 0)


def direct_client(host: str, port: int) -> Redis:
    """A client past the proxy. It waits once, and not for long: a server that hangs is to be noticed."""
    return Redis(
        host=host,
        port=port,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=ONCE,
        client_name=NAME,
    )
