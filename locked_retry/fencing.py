"""Effects that only the latest holder may have, where the effect is in Redis. The fence is the task's `self.fence`.

A lease cannot keep a paused holder from going on after it has lost the lease: only the resource can. It has to remember
the highest fence it has seen and refuse lower ones. For SQL that is a column and a condition (docs/how-to).

    @app.task(bind=True, lock="order:{order}")
    def ship(self, order):
        done = fencing.apply(redis, f"order:{order}", self.fence, ("HSET", f"order:{order}", "state", "shipped"))
        if not done:
            return  # a later holder has taken over

This is about Redis as the place of the effect: any server, not necessarily the broker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from locked_retry.broker.turns import Script, call

Word = str | bytes | int | float

#: A fence that is forgotten lets an older holder in again: keep it longer than any process can be paused.
KEEP_FENCE_S = 7 * 86400.0
#: As long as the same effect can be tried again: retries, requeued dead letters.
KEEP_EFFECT_S = 7 * 86400.0


class FencedOutcome(StrEnum):
    """What became of an effect."""

    APPLIED = "applied"
    REPEATED = "repeated"  # the named effect had happened before; nothing was done now
    REFUSED = "refused"  # somebody with a higher fence has been here; nothing was done


@dataclass(frozen=True, slots=True)
class Applied:
    """True if the effect is in place. `replies`: the commands', as Redis gives them to a script."""

    outcome: FencedOutcome
    highest: int
    replies: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return self.outcome is not FencedOutcome.REFUSED


def apply(
    redis: Any,
    resource: str,
    fence: int,
    *commands: Sequence[Word],
    effect: str = "",
    keep_fence_s: float = KEEP_FENCE_S,
    keep_effect_s: float = KEEP_EFFECT_S,
) -> Applied:
    """Run commands in one step, unless a higher fence was used on this resource; without commands, only ask that.

    `redis` is a redis-py client. The highest fence is kept in `<resource>:fence` for `keep_fence_s` after its last use
    (0: for ever). With `effect`, a name such as the task's id, the commands run once: the name is recorded with them,
    in `<resource>:effect:<effect>`, and whoever comes with it again, under whatever fence that is not refused, gets
    REPEATED. Without, the same fence may apply again, so that a call whose answer was lost can be repeated: SET, not
    INCR.

    A command that fails raises redis-py's ResponseError and those after it do not run; those before it have. Raises
    ValueError for a negative fence or an empty command, and what redis-py raises when there is no answer: repeat then.
    Redis Cluster: put the resource's name in braces, and the commands' keys into the same slot.
    """
    if fence < 0 or not all(commands):
        raise ValueError(f"need a fence >= 0 and commands with words, got fence {fence} and {commands}")
    words: list[Word] = [fence, "1" if effect else "", round(keep_fence_s * 1000), max(1, round(keep_effect_s * 1000))]
    for command in commands:
        words += [len(command), *command]
    arguments = [2, f"{resource}:fence", f"{resource}:effect:{effect}", *words]
    outcome, highest, replies = call(redis, Script.load("fenced"), arguments)
    return Applied(FencedOutcome(_text(outcome)), int(highest), tuple(replies))


def fenced_set(redis: Any, key: str, value: Word, fence: int, *, keep_fence_s: float = KEEP_FENCE_S) -> bool:
    """SET, unless a higher fence has set this key (or used it as a resource). False: refused, nothing was changed.

    A repeat with the same fence sets again and answers True. See `apply` for `keep_fence_s` and what is raised.
    """
    return bool(apply(redis, key, fence, ("SET", key, value), keep_fence_s=keep_fence_s))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
