"""/metrics in the text format of Prometheus: the names, labels and order of the real server.

Bytes are counted as they pass. The real server counts a link when it has ended, and what it sent only if it ended well.
Of its runtime metrics there are those of the process; go_* would have to be made up, and python_info and the lag of the
event loop stand for them.
"""

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from taskchaos.faults.proxy.lag import LoopLag
from taskchaos.faults.proxy.tcp.link import Connection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_START_S = time.time()


class Labels(NamedTuple):
    """In the order in which they are printed and sorted."""

    direction: str
    listener: str
    proxy: str
    upstream: str


@dataclass(slots=True)
class TrafficCounts:
    """Bytes received and sent, for each direction of each proxy. What a proxy has moved stays after its deletion."""

    _ended: dict[Labels, tuple[int, int]] = field(default_factory=dict)
    _live: dict[Connection, tuple[str, str, str]] = field(default_factory=dict)

    def opened(self, connection: Connection, listener: str, proxy: str, upstream: str) -> None:
        self._live[connection] = (listener, proxy, upstream)

    def closed(self, connection: Connection) -> None:
        _add(self._ended, connection, self._live.pop(connection))

    def totals(self) -> dict[Labels, tuple[int, int]]:
        """Received and sent, up to this moment."""
        totals = dict(self._ended)
        for connection, names in self._live.items():
            _add(totals, connection, names)
        return dict(sorted(totals.items()))


def _add(totals: dict[Labels, tuple[int, int]], connection: Connection, names: tuple[str, str, str]) -> None:
    for direction, link in connection.links.items():
        labels = Labels(direction.value, *names)
        received, sent = totals.get(labels, (0, 0))
        totals[labels] = (received + link.received_bytes, sent + link.sent_bytes)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which of them are served, as the flags say: those of the process with `lag` only."""

    traffic: TrafficCounts
    proxies: bool
    lag: LoopLag | None

    def text(self) -> str:
        families = list(_PROMHTTP)
        if self.proxies:
            totals = self.traffic.totals()
            for place, name in enumerate(("received", "sent")):
                values = [(labels._asdict(), counts[place]) for labels, counts in totals.items()]
                if values:
                    families.append(Family(f"toxiproxy_proxy_{name}_bytes_total", "counter", "", values))
        if self.lag is not None:
            families.extend(_runtime(self.lag.longest_s))
        return "".join(line for family in sorted(families) for line in family.lines())


class Family(NamedTuple):
    """One metric with all its labels."""

    name: str
    kind: str
    help: str
    values: Sequence[tuple[dict[str, str], float]]

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        for labels, value in self.values:
            text = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
            yield f"{self.name}{{{text}}} {go_number(value)}\n" if text else f"{self.name} {go_number(value)}\n"


_PROMHTTP = (
    Family(
        "promhttp_metric_handler_errors_total",
        "counter",
        "Total number of internal errors encountered by the promhttp metric handler.",
        [({"cause": "encoding"}, 0), ({"cause": "gathering"}, 0)],
    ),
)


def _runtime(longest_lag_s: float) -> Iterable[Family]:
    def gauge(name: str, text: str, value: float) -> Family:
        return Family(name, "gauge", text, [({}, value)])

    python = {"implementation": platform.python_implementation(), "version": platform.python_version()}
    yield Family("python_info", "gauge", "The Python that this server runs on.", [(python, 1)])
    yield gauge(
        "taskchaos_loop_lag_max_seconds",
        "Longest time that this process held up its event loop, without what the kernel gave to others.",
        round(longest_lag_s, 6),
    )
    cpu = Family(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        [({}, round(time.process_time(), 2))],
    )
    yield cpu
    yield gauge(
        "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", round(_START_S, 2)
    )
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return  # the real server has no more than this elsewhere either
    virtual, resident = statm.read_text(encoding="ascii").split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    yield gauge("process_open_fds", "Number of open file descriptors.", len(os.listdir("/proc/self/fd")) - 1)
    yield gauge("process_resident_memory_bytes", "Resident memory size in bytes.", int(resident) * page)
    yield gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", int(virtual) * page)


def go_number(value: float) -> str:
    """`value` as Go's %g prints it: an exponent from a million on."""
    if value == 0:
        return "0"
    sign, digits, shift = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(shift, int), "neither infinite nor a NaN"
    exponent = len(digits) - 1 + shift
    if -4 <= exponent < 6:
        return f"{Decimal((sign, digits, shift)):f}"
    mantissa = "".join(map(str, digits))
    point = "." if len(mantissa) > 1 else ""
    return f"{'-' * sign}{mantissa[0]}{point}{mantissa[1:]}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
