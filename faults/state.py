"""The states in the life of a fault."""

from __future__ import annotations

from enum import StrEnum


class FaultState(StrEnum):
    """The life cycle of a fault: injected; proven, unproven or unused; held or vanished; healed or heal_failed.

    unused: it is there, on a link that nothing has used and nothing has to use. held: right before its heal it was
    still there; what does not last (a kill) is neither held nor vanished.
    """

    INJECTED = "injected"
    PROVEN = "proven"
    UNPROVEN = "unproven"
    UNUSED = "unused"
    HELD = "held"
    VANISHED = "vanished"
    HEALED = "healed"
    HEAL_FAILED = "heal_failed"
