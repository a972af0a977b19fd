"""Prometheus' text format (version 0.0.4), written out by hand: no dependency for a few lines of text.

Two sources, two beginnings of names, so that both can be scraped: `locked_retry_*` is one worker's own account,
`locked_retry_broker_*` what Redis holds for all workers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from locked_retry.operator.statistics import Statistics
from locked_retry.worker.metrics import Histogram, Snapshot, snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Type(StrEnum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line. `suffix` is put behind the family's name."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its label values."""

    name: str
    type: Type
    help: str
    samples: tuple[Sample, ...]


def escape(text: str) -> str:
    """A label's value."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def render(families: Iterable[Family]) -> str:
    """The text to answer a scrape with. A family without samples is left out."""
    return "".join(line + "\n" for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {help_text}"
    yield f"# TYPE {family.name} {family.type}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{escape(value)}"' for name, value in sample.labels.items())
        yield f"{family.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"


def _histogram(name: str, text: str, histogram: Histogram) -> Family:
    buckets = [Sample(n, {"le": f"{bound:g}"}, "_bucket") for bound, n in histogram.cumulative()]
    rest = (
        Sample(histogram.count, {"le": "+Inf"}, "_bucket"),
        Sample(histogram.sum, {}, "_sum"),
        Sample(histogram.count, {}, "_count"),
    )
    return Family(name, Type.HISTOGRAM, text, (*buckets, *rest))


def worker_families(seen: Snapshot) -> Iterator[Family]:
    """What one worker knows."""
    m = seen.metrics

    def counter(name: str, text: str, value: float) -> Family:
        return Family(f"locked_retry_{name}_total", Type.COUNTER, text, (Sample(value),))

    def gauge(name: str, text: str, value: float) -> Family:
        return Family(f"locked_retry_{name}", Type.GAUGE, text, (Sample(value),))

    yield counter("turns", "Turns that were answered.", m.turns)
    yield counter("replays", "Turns sent again because no answer came.", m.replays)
    yield counter("connection_failures", "Failures of the connections for turns and wake-up.", m.failures)
    yield counter("claimed", "Messages taken.", m.claimed)
    settled = tuple(Sample(n, {"kind": kind.value}) for kind, n in m.settled.items())
    yield Family("locked_retry_settled_total", Type.COUNTER, "Deliveries ended, by how.", settled)
    yield counter("held_back", "Retries that found their retry budget used up.", m.held_back)
    yield counter("dead_letters", "Deliveries that became dead letters.", m.dead)
    yield counter("stale_settles", "Ends that Redis refused: the message had a newer holder.", m.stale)
    yield counter("lost_leases", "Leases found lost at their renewal.", m.lost)
    yield counter("lock_waits", "Messages parked because their lock was held.", m.parked)
    yield counter("promoted", "Delayed messages put back into their queues.", m.promoted)
    yield counter("reaped", "Messages taken back from workers whose lease had ended.", m.reaped)
    yield counter("dropped", "Duplicate messages dropped.", m.dropped)
    yield counter("broken", "Times that a turn met a queue that is no list.", m.broken)
    yield counter("dead_trimmed", "Dead letters deleted because they were too old or too many.", m.dead_trimmed)
    yield gauge("held", "Messages held now.", seen.held)
    yield gauge("unsettled", "Deliveries that ended and are not sent yet, or not answered.", seen.unsettled)
    yield gauge("settle_rate_per_second", "Deliveries ended per second, smoothed.", seen.rate_per_s)
    yield gauge("answer_age_seconds", "Time since Redis last answered a turn.", seen.answer_age_s)
    yield _histogram("locked_retry_turn_seconds", "Time from sending a turn to its answer.", m.turn_seconds)


def broker_families(seen: Statistics) -> Iterator[Family]:
    """What Redis holds."""

    def gauge(name: str, text: str, *samples: Sample) -> Family:
        return Family(f"locked_retry_broker_{name}", Type.GAUGE, text, samples)

    events = tuple(Sample(n, {"event": event}) for event, n in seen.counters.items())
    yield Family("locked_retry_broker_events_total", Type.COUNTER, "What all workers did, by event.", events)
    rows = {"running": seen.rows.running, "delayed": seen.rows.delayed}
    rows |= {"parked": seen.rows.parked, "dead": seen.rows.dead}
    yield gauge("rows", "Rows by state.", *(Sample(n, {"state": state}) for state, n in rows.items()))
    depths = (Sample(d.length, {"queue": d.queue, "priority": str(d.priority)}) for d in seen.queues)
    yield gauge("queue_messages", "Messages in a queue.", *depths)
    paused = (Sample(d.paused, {"queue": d.queue}) for d in seen.queues if not d.priority)
    yield gauge("queue_paused", "1 for a queue that an operator has paused.", *paused)
    overdue = (Sample(seen.overdue.lease_s, {"index": "lease"}), Sample(seen.overdue.delay_s, {"index": "delay"}))
    yield gauge("overdue_seconds", "For how long the oldest entry should have been dealt with.", *overdue)
    memory = seen.memory
    if memory is None:
        return
    yield gauge("memory_used_bytes", "Memory that Redis uses.", Sample(memory.used_bytes))
    yield gauge("memory_max_bytes", "Redis' maxmemory; 0 for no limit.", Sample(memory.max_bytes))
    indexes = (Sample(n, {"index": name}) for name, n in memory.index_bytes.items())
    yield gauge("index_bytes", "Memory of an index.", *indexes)
    means = (Sample(memory.row.mean_bytes, {"key": "row"}), Sample(memory.done.mean_bytes, {"key": "done"}))
    yield gauge("key_bytes", "Mean memory of a key, from a sample.", *means)


def broker_up(up: bool) -> Family:
    """Whether Redis told a worker what it holds."""
    return Family("locked_retry_broker_up", Type.GAUGE, "1 if Redis told what it holds, 0 if not.", (Sample(up),))


def prometheus_text() -> str:
    """The metrics of this process's worker, as text for a scrape (`CONTENT_TYPE`). See `metrics.metrics`."""
    return render(worker_families(snapshot()))
