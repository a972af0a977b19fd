"""The rows of an index of Redis by time, and what a person wants to know of the message of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from locked_retry.broker.audit import CHUNK
from locked_retry.broker.turns import text_of

#: In a message: its task is to be revoked, not run (delayed.py).
CANCELLED = "lr_cancelled"


def rows_by_time(redis: Any, index: str, newest_first: bool = False, newest: str = "+inf") -> Iterator[tuple[str, int]]:
    """All up to a time, each with its time in ms; some at a time, while others come and go at both ends."""
    most = CHUNK
    begin, end = (newest, "-inf") if newest_first else ("-inf", newest)
    seen: set[bytes] = set()  # of the last time: others have the same
    while True:
        found = redis.zrange(index, begin, end, newest_first, True, byscore=True, offset=0, num=most)
        yield from ((text_of(row), int(score)) for row, score in found if row not in seen)
        if len(found) < most:
            return
        last = found[-1][1]
        seen = {row for row, score in found if score == last} | (seen if f"{last:.0f}" == begin else set())
        begin, most = f"{last:.0f}", CHUNK + len(seen)


def headline(message: str) -> tuple[str, str]:
    """Task and task id; "?" for what a message does not say."""
    try:
        headers = json.loads(message)["headers"]
        return str(headers.get("task", "?")), str(headers.get("id", "?"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "?", "?"


def number_in(text: str) -> int:
    """A count or a time in ms; 0 for what is none: somebody may have been at the row."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def generation(headers: dict[str, Any], retries: int, row: str) -> dict[str, Any]:
    """The headers with which a message names its row, in the attempt that it says it is (claim.lua)."""
    return {"retries": retries, "lr": f"{retries}~{int(headers.get('replaced_task_nesting') or 0)}~{row}"}
