"""Every log line of the package: `locked_retry event=<name> key=value ...`, one line each, names that stay.

The logger is "locked_retry". For JSON formatters a record carries the same as a dict: `record.locked_retry`.
"""

from __future__ import annotations

import json
import logging
import re
from enum import StrEnum

from locked_retry.text import describe, shown

logger = logging.getLogger("locked_retry")

Value = str | int | float | BaseException


class Event(StrEnum):
    """What is told. The levels are in LEVELS; docs/reference/locked_retry.md explains each."""

    STARTED = "started"
    GIVEN_BACK = "given_back"
    GIVE_BACK_FAILED = "give_back_failed"
    CONNECTION_FAILED = "connection_failed"
    CONNECTION_RESTORED = "connection_restored"
    DOORBELL_FAILED = "doorbell_failed"
    REMOTE_CONTROL_LOST = "remote_control_lost"
    HEARTBEAT_LOST = "heartbeat_lost"
    RENEWAL_FAILED = "renewal_failed"
    SWEEP_FAILED = "sweep_failed"
    CLOSE_FAILED = "close_failed"
    REAPED = "reaped"
    LEASE_LOST = "lease_lost"
    LEASE_ENDS = "lease_ends"
    KILLED = "killed"
    SETTLE_REFUSED = "settle_refused"
    DUPLICATE_DROPPED = "duplicate_dropped"
    CRASHED = "crashed"
    HELD_BACK = "held_back"
    DEAD_LETTER = "dead_letter"
    DEAD_TRIMMED = "dead_trimmed"
    NOT_A_MESSAGE = "not_a_message"
    NOT_HANDLED = "not_handled"
    CALLBACK_FAILED = "callback_failed"
    ABANDONED = "abandoned"
    TURN_REFUSED = "turn_refused"
    BROKEN_QUEUE = "broken_queue"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_RESUMED = "queue_resumed"
    RESULT_LEFT = "result_left"
    RESULT_LOST = "result_lost"
    HOOK_FAILED = "hook_failed"
    FAILURE_NOT_STORED = "failure_not_stored"
    UNKNOWN_RELEASE = "unknown_release"
    METRICS_SERVED = "metrics_served"
    METRICS_FAILED = "metrics_failed"


#: A restored connection is a warning so that whoever has seen the failure also sees its end.
LEVELS = {
    Event.STARTED: logging.INFO,
    Event.GIVEN_BACK: logging.INFO,
    Event.GIVE_BACK_FAILED: logging.WARNING,
    Event.CONNECTION_FAILED: logging.WARNING,
    Event.CONNECTION_RESTORED: logging.WARNING,
    Event.DOORBELL_FAILED: logging.WARNING,
    Event.REMOTE_CONTROL_LOST: logging.WARNING,
    Event.HEARTBEAT_LOST: logging.DEBUG,
    Event.RENEWAL_FAILED: logging.DEBUG,
    Event.SWEEP_FAILED: logging.DEBUG,
    Event.CLOSE_FAILED: logging.WARNING,
    Event.REAPED: logging.WARNING,
    Event.LEASE_LOST: logging.WARNING,
    Event.LEASE_ENDS: logging.WARNING,
    Event.KILLED: logging.WARNING,
    Event.SETTLE_REFUSED: logging.WARNING,
    Event.DUPLICATE_DROPPED: logging.INFO,
    Event.CRASHED: logging.WARNING,
    Event.HELD_BACK: logging.INFO,
    Event.DEAD_LETTER: logging.WARNING,
    Event.DEAD_TRIMMED: logging.WARNING,
    Event.NOT_A_MESSAGE: logging.ERROR,
    Event.NOT_HANDLED: logging.ERROR,
    Event.CALLBACK_FAILED: logging.ERROR,
    Event.ABANDONED: logging.ERROR,
    Event.TURN_REFUSED: logging.ERROR,
    Event.BROKEN_QUEUE: logging.ERROR,
    Event.QUEUE_PAUSED: logging.WARNING,
    Event.QUEUE_RESUMED: logging.WARNING,
    Event.RESULT_LEFT: logging.WARNING,
    Event.RESULT_LOST: logging.ERROR,
    Event.HOOK_FAILED: logging.ERROR,
    Event.FAILURE_NOT_STORED: logging.ERROR,
    Event.UNKNOWN_RELEASE: logging.WARNING,
    Event.METRICS_SERVED: logging.INFO,
    Event.METRICS_FAILED: logging.WARNING,
}

_PLAIN = re.compile(r"[^\s\"=\\]+")
_LONGEST = 500


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = describe(value) if isinstance(value, BaseException) else shown(value)
    text = text[:_LONGEST]
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def say(event: Event, *, quiet: bool = False, traceback: bool = False, **fields: Value) -> None:
    """One line. Texts with spaces, quotes or "=" are quoted as JSON. `quiet`: at the level DEBUG."""
    level = logging.DEBUG if quiet else LEVELS[event]
    if logger.isEnabledFor(level):
        words = "".join(f" {name}={_text(value)}" for name, value in fields.items())
        extra = {"locked_retry": {"event": event.value, **fields}}
        logger.log(level, "locked_retry event=%s%s", event.value, words, exc_info=traceback, extra=extra)
