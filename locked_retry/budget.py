"""Retry budgets: how much of what a queue does may be retries, counted in Redis over all workers."""

from __future__ import annotations

from dataclasses import dataclass

from locked_retry.limits import DAY_S, Limits


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
        Limits(1, 1e9).check("tokens", self.tokens)
        Limits(0, 1e9).check("refill", self.refill)
        Limits(0.001, 30 * DAY_S).check("wait_s", self.wait_s)

    def encoded(self) -> str:
        """As the turn script reads it."""
        return f"{self.tokens:f}:{self.refill:f}:{round(self.wait_s * 1000)}"
