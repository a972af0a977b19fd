"""For every rule, histories that break it beside clean twins. Each module adds its own to the list."""

from __future__ import annotations

from checker_known import KNOWN, Known

from checker_catalogue import (  # noqa: F401
    back_off,
    business_keys,
    chords,
    conditions,
    dead,
    durability,
    duration,
    early,
    evidence,
    exclusion,
    execution,
    faults,
    growth,
    late,
    livelock,
    loss,
    patience,
    poison,
    priority,
    producer_killed,
    recovery,
    results,
    revoked,
    start,
    statements,
    states,
    storm,
    throughput,
    unique,
)

__all__ = ["KNOWN", "Known"]
