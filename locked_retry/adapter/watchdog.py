"""Names deliveries that nobody works on any more, and gives them back: their leases would be renewed for ever.

A task that was started is among Celery's active requests until its end is told. One that is held but is not there has
lost its end on the way: an error in a callback of somebody else's, a pool that forgot it.
"""

from __future__ import annotations

from typing import Any

from celery.worker import state

from locked_retry.log import Event, say
from locked_retry.worker.session import Session

#: How often to look, and how many looks in a row find what is lost, not what is just ending.
LOOK_S = 5.0
LOOKS = 2


class Watchdog:
    """Looks at what a session holds. All methods belong to the thread of the loop."""

    def __init__(self, session: Session, channel: Any) -> None:
        self._session, self._channel = session, channel
        self._look_at_s = 0.0
        self._missed: dict[str, int] = {}

    def look(self, now_s: float) -> None:
        """If it is time to."""
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        try:
            active = {request._message.delivery_tag for request in list(state.active_requests)}
        except RuntimeError:  # a thread of the pool has changed the set meanwhile
            return
        before, self._missed = self._missed, {}
        for tag, held in list(self._session.held.items()):
            if not held.started or held.lost or tag in self._session.storing or tag in active:
                continue
            self._missed[tag] = before.get(tag, 0) + 1
            if self._missed[tag] >= LOOKS:
                say(Event.ABANDONED, row=held.claim.row, fence=tag, pid=held.pid)
                self._session.decide_return(tag, "its end was never told")
                self._channel.qos.ack(tag)
