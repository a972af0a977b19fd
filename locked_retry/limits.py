"""What numbers may be, wherever a user or an application gives one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a number may be. Beyond these Redis would refuse it, in the middle of a turn, or the worker would spin."""

    least: float
    most: float
    whole: bool = False

    def check(self, name: str, value: object) -> None:
        """Raises ValueError for anything else."""
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not number or not self.least <= value <= self.most:  # type: ignore[operator]
            kind = "whole number" if self.whole else "number"
            raise ValueError(f"{name} has to be a {kind} from {self.least:g} to {self.most:g}: {value!r}")


def listen_address(text: object) -> tuple[str, int]:
    """Host and port of `9808`, `0.0.0.0:9808` or `[::]:9808`; loopback where no host is named. Raises ValueError."""
    host, colon, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not isinstance(text, str) or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"metrics has to be a port, or host:port, such as 9808 or 0.0.0.0:9808: {text!r}")
    return host, int(port)


#: How long a retry may wait: beyond any use, and a number that Redis can count with.
LONGEST_DELAY_S = 36500 * DAY_S


def check_weights(weights: object) -> None:
    """Raises ValueError unless it maps names of queues to positive numbers."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"queue_weights has to be a dict of queue names and numbers: {weights!r}")
    for queue, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not isinstance(queue, str) or not number or not 0 < weight < math.inf:
            raise ValueError(f"queue_weights: the weight of {queue!r} has to be a positive number: {weight!r}")
