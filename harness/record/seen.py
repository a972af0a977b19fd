"""States that a case has to come through, so that its verdict means anything: a suite names them, the checker looks."""

from __future__ import annotations

from enum import StrEnum


class Seen(StrEnum):
    """What must have happened to some operation. The value is what reports call it.

    TAKEN_OVER: an attempt that nobody ended was followed by one of another process: a lease ended, or a task came back.
    RETRIED: an attempt that failed as planned was followed by another.
    GIVEN_UP: one that fails for good was tried, and the subject said that it failed, or kept it as a dead letter.
    WAITED_THROUGH: a process was ended by a fault while a failed operation waited for its next attempt.
    RETRY_CUT_SHORT: a fault ended the process of an attempt of an operation that had failed before.
    KEY_WANTED: an operation had been sent, and not begun, while another of its business key was running.
    SENT_TWICE: an operation was acknowledged a second time.
    REVOKED_WAITED: a process was ended by a fault between the acknowledged revoke of an operation and its drop.
    REVOKED_CAME_BACK: a worker had an operation, and was ended by a fault before its revoke was acknowledged; later it
    was dropped, came to a worker, or was begun.
    BOTH_RELEASES: not of one: workers of the present and of the previous release took effect on some.
    SENT_AGAIN: its submit met a fault of its producer's, and was acknowledged: whoever sends it has sent it again.
    """

    TAKEN_OVER = "a task is taken over by another process"
    RETRIED = "a task is tried again after it failed"
    GIVEN_UP = "a task that fails for good is given up"
    WAITED_THROUGH = "a process is ended while a task waits for its retry"
    RETRY_CUT_SHORT = "a process is ended while it tries a task again"
    KEY_WANTED = "a task waits while another of its business key runs"
    SENT_TWICE = "a task is acknowledged a second time"
    REVOKED_WAITED = "a process is ended while a revoked task waits"
    REVOKED_CAME_BACK = "a task is revoked after a process that had it is ended, and comes back"
    BOTH_RELEASES = "workers of two releases do tasks"
    SENT_AGAIN = "a task whose submit meets a fault is acknowledged"

    @classmethod
    def _missing_(cls, value: object) -> Seen | None:
        """As plans of 0.2 call it."""
        now = str(value).replace("an operation", "a task").replace("operation", "task")
        return next((state for state in cls if state.value == now), None) if now != value else None
