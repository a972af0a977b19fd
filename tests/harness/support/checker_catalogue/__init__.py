"""For every rule, histories that break it beside clean twins. Each module adds its own to the list."""

from __future__ import annotations

from checker_known import KNOWN, Known

from checker_catalogue import (  # noqa: F401
    business_keys,
    conditions,
    dead,
    durability,
    evidence,
    exclusion,
    execution,
    faults,
    late,
    livelock,
    loss,
    patience,
    poison,
    recovery,
    results,
    start,
    statements,
    throughput,
    unique,
)

__all__ = ["KNOWN", "Known"]
