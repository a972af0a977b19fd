"""Retry budgets: how much of what a queue does may be retries, counted in Redis over all workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """A bucket of `tokens` for each queue: a success adds `refill` to it, a retry takes one.

    With refill 0.1, retries come to at most a tenth of the successes once the first `tokens` are used: an outage then
    meets 1.1 times the usual load instead of `max_retries` + 1 times (Google SRE book, chapter 21). A retry that finds
    no token waits for `wait_s` at least and is then the same attempt again: an outage uses up no task's retries.
    """

    tokens: float = 100.0
    refill: float = 0.1
    wait_s: float = 60.0

    def __post_init__(self) -> None:
        if not (self.tokens >= 1 and self.refill >= 0 and self.wait_s > 0):
            raise ValueError(f"need tokens >= 1, refill >= 0, wait_s > 0, got {self}")

    def encoded(self) -> str:
        """As the turn script reads it."""
        return f"{self.tokens:f}:{self.refill:f}:{round(self.wait_s * 1000)}"
