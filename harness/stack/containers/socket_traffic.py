"""The traffic of a link behind a real Toxiproxy, which counts a connection when it has ended: seen at the role's end.

What the role sends is counted before any toxic; what Redis answers only as far as it reaches the role.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from taskchaos.faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from taskchaos.faults.traffic import Flow, Sight, Traffic
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.sockets import Socket


class SocketTraffic:
    """seen: the role's connections to the link, as the kernel of its network namespace tells them."""

    def __init__(self, api: ToxiproxyClient, link: str, seen: Callable[[], Sequence[Socket]]) -> None:
        self._api = api
        self._link = link
        self._seen = seen
        self._lock = threading.Lock()
        self._flows: dict[str, Flow] = {}

    def look(self, probes: Collection[str]) -> Traffic:
        """A connection that is gone was cut, as far as can be seen: who ended it is not told."""
        with self._lock:
            try:
                sockets = [each for each in self._seen() if each.local not in probes]
            except (StackError, OSError) as error:
                return Traffic(sight=Sight.NOTHING, trouble=str(error))
            there = {each.key: Flow(each.sent or 0, each.received or 0) for each in sockets}
            gone = {k: replace(f, open=False, cut=True) for k, f in self._flows.items() if k not in there}
            self._flows = {**gone, **there}
            counted = all(each.sent is not None for each in sockets)
            return Traffic(self._flows, Sight.ROLE if counted else Sight.CONNECTIONS)

    def used(self, probes: Mapping[str, int]) -> bool:
        """By what is open, by what was when it was looked, and by Toxiproxy's account of what has ended."""
        if self.look(probes).flows:
            return True
        try:
            return self._api.received_bytes(self._link) > sum(probes.values())
        except ToxiproxyError:
            return True
