"""In which order a turn looks into its queues: kombu's `queue_order_strategy`, or by weight.

Priorities come first: of each, every queue is looked into in this order before the next one is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from kombu.utils.scheduling import cycle_by_name, priority_cycle, round_robin_cycle

ROUND_ROBIN = "round_robin"


class Weighted(priority_cycle):
    """Each turn draws an order, in which a queue is first as often as its weight is of all weights.

    What stands last is never left out for good. Without replacement: Efraimidis and Spirakis, "Weighted random sampling
    with a reservoir", 2006.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights

    def consume(self, n: int) -> list[str]:
        """As kombu's cycles."""
        return sorted(self.items[:n], key=lambda queue: random.expovariate(self._weights.get(queue, 1.0)))


class QueueOrder:
    """`next` is the order of the next turn, for the queues that are consumed now; `took` when that is on its way.

    The loop asks far more often than it takes turns: were each of its looks a step, two looks a turn would begin every
    turn with the same one of two queues.

    fair: each queue gets a share of what a turn claims. Otherwise one is emptied before the next is looked into.
    Raises ValueError for a strategy that kombu does not know, and for weights beside one.
    """

    def __init__(self, strategy: str = ROUND_ROBIN, weights: Mapping[str, float] | None = None) -> None:
        if weights and strategy != ROUND_ROBIN:
            raise ValueError(f"queue_weights and queue_order_strategy {strategy!r} exclude each other")
        try:
            self._cycle = Weighted(weights) if weights else cycle_by_name(strategy)()  # type: ignore[no-untyped-call]
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"queue_order_strategy {strategy!r} is not round_robin, priority, sorted, or a class: {error}"
            ) from error
        self.fair = type(self._cycle) is round_robin_cycle
        self._queues: tuple[str, ...] = ()

    def next(self, queues: Sequence[str]) -> tuple[str, ...]:
        """All of them, or those that a cycle of the user's names."""
        if tuple(queues) != self._queues:
            self._queues = tuple(queues)
            self._cycle.update(self._queues)
        return tuple(queue for queue in self._cycle.consume(len(queues)) if queue in self._queues)

    def took(self, order: Sequence[str]) -> None:
        """A turn began with the first of these."""
        if order:
            self._cycle.rotate(order[0])
