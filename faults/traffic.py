"""What passes on a link: the connections of the role that it belongs to, and where they can be looked at.

The harness sends PINGs through every link to see a fault's state. That proves that the fault is there, not that it met
anybody: a role that talks to another Redis would never notice. So the traffic of the role itself is looked at, the
harness's own connections left out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.toxiproxy import NotFound, Stream, ToxiproxyClient, ToxiproxyError


class Sight(StrEnum):
    """How much of a link's traffic can be seen."""

    ALL = "all that the proxy receives, before any toxic"
    ROLE = "what leaves the role, and what of Redis's answers reaches it"
    CONNECTIONS = "connections, and not what passes on them"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection: the bytes from the role (`up`) and from Redis (`down`). cut: ended, and not by the role.

    met: the bytes that came to each toxic, by its name; None where the proxy does not tell.
    """

    up: int
    down: int
    open: bool = True
    cut: bool = False
    met: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The role's connections at one moment, by a key: those that are open, and those that have ended of late.

    trouble: why nothing can be seen.
    """

    flows: Mapping[str, Flow] = field(default_factory=dict)
    sight: Sight = Sight.ALL
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Met:
    """What of a role's traffic has met a fault.

    connections: that were open at any time meanwhile. hit: those of them that were cut, or had bytes that met it. cut:
    those that ended, and not by the role's doing. up, down: those bytes.
    """

    connections: int = 0
    hit: int = 0
    cut: int = 0
    up: int = 0
    down: int = 0
    sight: Sight = Sight.ALL
    trouble: str = ""

    @classmethod
    def since(cls, before: Traffic, now: Traffic, toxics: Mapping[str, Stream]) -> Met:
        """From a look right before the fault was injected to one now. toxics: those that the fault consists of.

        Bytes are those that came to the toxics. Where that is not told, they are all since the look before: the first
        answer that is lost may come within a moment of the injection, and nothing after it.
        """
        if Sight.NOTHING in (before.sight, now.sight):
            return cls(sight=Sight.NOTHING, trouble=before.trouble or now.trouble)
        connections = hit = cut = up = down = 0
        for key, flow in now.flows.items():
            start = before.flows.get(key, _NEW)
            if not flow.open and not start.open:
                continue  # over before it began
            more_up, more_down = flow.up - start.up, flow.down - start.down
            if flow.met is not None:
                more_up, more_down = (_met(flow.met, toxics, stream) for stream in (Stream.UPSTREAM, Stream.DOWNSTREAM))
            connections, cut, up, down = connections + 1, cut + flow.cut, up + more_up, down + more_down
            hit += bool(more_up or more_down or flow.cut)
        return cls(connections, hit, cut, up, down, now.sight)

    def passed(self, *streams: Stream) -> bool:
        """Whether bytes went one of these ways."""
        return bool((Stream.UPSTREAM in streams and self.up) or (Stream.DOWNSTREAM in streams and self.down))


_NEW = Flow(0, 0)


def _met(met: Mapping[str, int], toxics: Mapping[str, Stream], way: Stream) -> int:
    return sum(met.get(name, 0) for name, stream in toxics.items() if stream is way)


class TrafficSource(Protocol):
    """Where the traffic of one link can be looked at; who has a link need not know which proxy it goes through."""

    def look(self, probes: Collection[str]) -> Traffic:
        """The traffic now. probes: the addresses ("host:port") of the harness's own connections, which are left out."""

    def used(self, probes: Mapping[str, int]) -> bool:
        """Whether anybody but the harness has ever connected. True as well when that cannot be told.

        probes: the harness's own connections by address, and how many bytes each has sent.
        """


class ProxyTraffic:
    """The traffic as the embedded proxy counts it: exact, and before a toxic swallows anything.

    Of what had ended before it was made, nothing is seen.
    """

    def __init__(self, api: ToxiproxyClient, link: str) -> None:
        self._api = api
        self._link = link
        self._since_ns = time.monotonic_ns()

    def look(self, probes: Collection[str]) -> Traffic:
        """A look that fails is a look at nothing: whoever asks has more to do than that."""
        try:
            _, passed = CommandClient.beside(self._api).traffic(self._link, self._since_ns)
        except NotFound:
            return Traffic(sight=Sight.NOTHING, trouble="its proxy does not say what passes")
        except ToxiproxyError as error:
            return Traffic(sight=Sight.NOTHING, trouble=str(error))
        return Traffic(
            {
                str(one.number): Flow(one.upstream_bytes, one.downstream_bytes, one.closed_ns is None, one.cut, one.met)
                for one in passed
                if one.client not in probes
            }
        )

    def used(self, probes: Mapping[str, int]) -> bool:
        try:
            opened, passed = CommandClient.beside(self._api).traffic(self._link)
        except ToxiproxyError:
            return True
        return opened > len(passed) or any(one.client not in probes for one in passed)
