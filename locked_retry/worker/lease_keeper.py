"""Keeps leases while the loop cannot: solo runs tasks in the loop's thread, and greenlets that are all busy block it.
So does a worker that ends, when Celery sleeps for `worker_soft_shutdown_timeout` first.

A thread of its own looks whether renewals are overdue, and if so sends them on a connection of its own. A task that
holds the GIL for longer than a lease (a C function that does not release it) keeps this thread out as well.
"""

from __future__ import annotations

import threading
from typing import Any

from locked_retry import clock
from locked_retry.broker.connection import FAILURES
from locked_retry.broker.turns import Keys, Script, call, renewal_arguments, text_of
from locked_retry.log import Event, say
from locked_retry.worker.session import Session

#: A task that kills its worker sooner than this counts as given back unstarted, not as a crash.
LONGEST_PAUSE_S = 1.0


class LeaseKeeper(threading.Thread):
    """Renews what `session` holds, through `channel`'s connections, until `stop`."""

    def __init__(self, session: Session, channel: Any, keys: Keys) -> None:
        super().__init__(name="locked_retry-keeper", daemon=True)
        self._session, self._channel, self._keys = session, channel, keys
        self._script = Script.load("renew")
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(min(self._session.shortest_lease_s / 6, LONGEST_PAUSE_S)):
            try:
                self._keep(clock.now_s())
            except FAILURES as error:
                say(Event.RENEWAL_FAILED, error=error)

    def _keep(self, now_s: float) -> None:
        renewals = self._session.overdue(now_s)
        if not renewals:
            return
        arguments = renewal_arguments(self._keys, self._session.worker, renewals)
        with self._channel.conn_or_acquire() as redis:
            lost = call(redis, self._script, arguments, prefixed=bool(self._channel.global_keyprefix))
        self._session.renewed(renewals, {text_of(row) for row in lost}, now_s)

    def stop(self) -> None:
        """End within one round trip."""
        self._ended.set()
