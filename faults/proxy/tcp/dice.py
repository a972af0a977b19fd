"""All chance of a proxy, from one seed: whether a toxic takes a connection, and how much a delay jitters.

Every (proxy, connection, toxic) has a stream of its own, so that one more connection or toxic does not change what
happens on the others. The real server cannot be seeded.
"""

import os
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Dice:
    """`key` is what the streams are derived from."""

    key: str

    @classmethod
    def seeded(cls, seed: int | None) -> "Dice":
        return cls(str(seed) if seed is not None else os.urandom(8).hex())

    def of(self, part: object) -> "Dice":
        """The dice of a part: a proxy, a connection."""
        return Dice(f"{self.key}/{part}")

    def rng(self, purpose: str) -> Random:
        """A fresh generator; the same key and purpose give the same numbers."""
        return Random(f"{self.key}/{purpose}")

    def falls(self, toxicity: float, purpose: str) -> bool:
        """Whether something of probability `toxicity` happens; below 0 is never, above 1 is always."""
        if toxicity >= 1:
            return True
        if toxicity <= 0:
            return False
        return self.rng(purpose).random() < toxicity
