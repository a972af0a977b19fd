"""What a fault meets on a link: the traffic of the role from its injection on, in words as well."""

from __future__ import annotations

from collections.abc import Mapping

from taskchaos.faults.base import Link
from taskchaos.faults.toxiproxy import Stream
from taskchaos.faults.traffic import Met, ProxyTraffic, Sight, Traffic, TrafficSource


class Watch:
    """Made right before the fault is injected. toxics: those that the fault will have added by the time it is asked."""

    def __init__(self, link: Link, toxics: Mapping[str, Stream]) -> None:
        self._link = link
        self._toxics = toxics
        self._source: TrafficSource = link.source or ProxyTraffic(link.api, link.name)
        self._before = self._look()

    def _look(self) -> Traffic:
        return self._source.look(self._link.probes)

    def met(self) -> Met:
        """What has met it by now."""
        return Met.since(self._before, self._look(), self._toxics)

    def told(self, met: Met) -> str:
        """What met it, in words."""
        role = self._link.role
        if not met.hit or met.sight is Sight.CONNECTIONS:
            return f"{_connections(met.connections)} of {role} under it, what passed on them is not seen from here"
        if not met.up and not met.down:
            return f"{_connections(met.hit)} of {role} {'was' if met.hit == 1 else 'were'} cut"
        return f"{_connections(met.hit)} of {role}, {met.up} bytes from it and {met.down} from Redis met it"

    def nothing(self) -> str:
        """Why nothing has met it, and what to do about it."""
        met, link = self.met(), self._link
        if met.sight is Sight.NOTHING:
            return f"the traffic of link {link.name} cannot be seen: {met.trouble}"
        if not met.connections and not self._used():
            url = "result backend URL" if link.optional else "broker URL"
            return f"{link.role} has no connection through its link: does the subject use the {url} that it is given?"
        return f"nothing of {link.role} passed while it was in force: hold it for longer, or offer more"

    def unused(self) -> str:
        """Words for a link that nothing has to use, and that nothing but the harness has ever connected to; else ""."""
        if not self._link.optional or self.met().connections or self._used():
            return ""
        return f"nothing has connected to {self._link.name} since the stack started"

    def _used(self) -> bool:
        return self._source.used(self._link.probes)


def _connections(number: int) -> str:
    return "1 connection" if number == 1 else f"{number} connections"
