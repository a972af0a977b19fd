"""When a message is due: until then it waits in Redis, whatever the base of its task, and no worker holds it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.utils.time import maybe_iso8601, maybe_make_aware

#: An ETA nearer than this is left to Celery's own timer.
NEAR_S = 0.05


def due_at(eta: Any) -> datetime | None:
    """The moment; None for none, and for what Celery will refuse."""
    try:
        due = maybe_iso8601(eta)
        return maybe_make_aware(due).astimezone(UTC) if due else None
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def left_s(eta: Any) -> float:
    """Seconds until then; 0 for none, for one that is near, and for what Celery will refuse."""
    due = due_at(eta)
    away_s = (due - datetime.now(UTC)).total_seconds() if due else 0.0
    return away_s if away_s > NEAR_S else 0.0
