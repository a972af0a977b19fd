"""Which of the workers that wait for the same queues is told that a message has arrived.

Those that consume the same queue lists, and look at them as often, are a herd. One of them, the watch, is told by Redis
when a list changes (wakeup.py); the others are asleep: they block on the herd's bell, a list on which the watch puts
a call when it has claimed something. The call wakes the one that has slept longest, which is the watch from then on.
Who is the watch is decided in Redis, by the turns (scripts/includes/herd.lua): each says what its worker knows, and is
told what it is.

A call or a watch that is lost (a killed worker, a cut connection) costs time, not messages: whoever has called looks
soon whether there is a watch, and all that sleep do now and then.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

#: The longest time without a turn of one that sleeps, about. It need take none: this is for what nobody has thought of.
TURN_S = 30.0
SHORTEST_NAP_S = 0.05
#: The nap of one that has called somebody: what it has called is forgotten in Redis then, unless it has answered.
CALLERS_NAP_S = (0.55, 0.75)
#: How many times as long each sleeps when there are very many.
LONGEST_NAP = 5.0


class Role(IntEnum):
    """What a worker is in its herd."""

    NONE = 0  # it wants no messages, or does not hear
    WATCH = 1  # it listens to Redis, or has been called to
    ASLEEP = 2  # somebody else does


@dataclass(frozen=True, slots=True)
class Place:
    """What a turn says of its worker. `herd`: where it belongs when the turn is over, "" if nowhere.

    watch: it is the watch of it as far as it knows, or has been called. asleep: its connection blocks on the bell, so
    that it cannot listen. deaf: it runs tasks in the thread that would listen. ends: this is its last turn. left: the
    herd that it no longer belongs to, and whose call it may have got. gone: it left that before.
    """

    herd: str = ""
    watch: bool = False
    asleep: bool = False
    deaf: bool = False
    ends: bool = False
    gone: bool = False
    left: str = ""

    @property
    def flags(self) -> str:
        """As the script reads them."""
        return "w" * self.watch + "a" * self.asleep + "d" * self.deaf + "e" * self.ends + "g" * self.gone


@lru_cache(maxsize=64)
def _name(queue_keys: tuple[str, ...], idle_ms: int) -> str:
    return hashlib.sha1("\0".join([str(idle_ms), *sorted(queue_keys)]).encode("utf-8", "surrogateescape")).hexdigest()[
        :16
    ]


def name_of(queue_keys: Sequence[str], idle_s: float) -> str:
    """Of the herd that consumes these lists, in whatever order; "" for none."""
    return _name(tuple(queue_keys), round(idle_s * 1000)) if queue_keys else ""


def watch_ms(idle_s: float) -> int:
    """How long the word of a watch holds: it is given again each idle time."""
    return 2 * round(1000 * idle_s) + 500


@dataclass(slots=True)
class Herd:
    """One worker's part in it. Belongs to the thread of the loop."""

    idle_s: float = 1.0
    name: str = ""
    role: Role = Role.NONE
    deaf: bool = False  # its wake-up does not work now
    blocked: bool = False  # its wake-up blocks on the bell
    sleepers: int = 0  # that do so beside it
    in_loop: bool = False  # it runs tasks in the thread of the loop
    ends: bool = False
    _caller: bool = False  # it has handed on, and not looked since
    _latest: str = ""  # the herd that it was in, if it is in none now
    _called: bool = False  # since the pending turn was made: it does not know

    def joins(self, queue_keys: Sequence[str], want: int) -> str:
        """The herd that a turn says it belongs to."""
        return self.name_for(queue_keys) if want > 0 and not self.deaf else ""

    def name_for(self, queue_keys: Sequence[str]) -> str:
        """Of its herd, if it consumes these."""
        return name_of(queue_keys, self.idle_s)

    def moved(self, name: str, consumes: bool) -> bool:
        """Whether Redis has to be told that it is elsewhere now.

        A sleeper that has no room for messages stays where it is: if it is called, it passes that on.
        """
        stays = self.role is Role.ASLEEP and not name and consumes
        return self.role is not Role.NONE and self.name != name and not stays

    def says(self, name: str, consumes: bool) -> Place:
        """For the turn that is made now."""
        self._called = False
        watch = self.role is Role.WATCH and self.name == name
        left = self.name if self.moved(name, consumes) else ""
        if self.ends and not left:
            return Place(name, ends=True, gone=True, left=self._latest)
        return Place(name, watch, self.blocked, self.in_loop, self.ends, left=left)

    def called(self, name: str) -> None:
        """It was woken: it is the watch of this herd, or has to pass that on."""
        self.name, self.role, self._called = name, Role.WATCH, True

    def told(self, place: Place, role: Role, sleepers: int) -> float:
        """What the answer to a turn said. How long it may go without another turn."""
        self.sleepers = sleepers
        if not self._called:
            self._caller = role is not Role.WATCH and (self._caller or self.role is Role.WATCH)
            self.name, self.role = place.herd, role
            self._latest = place.herd or self._latest
        return max(self.idle_s, TURN_S * random.uniform(0.75, 1.25)) if self.role is Role.ASLEEP else self.idle_s

    def nap_s(self) -> float:
        """How long to sleep before looking whether there is a watch. Asked once for each time.

        A missing one is found within about two idle times by the first of those that look, at different times. Of
        many, each looks more rarely; but whoever has vanished without a word is called until its time is up.
        """
        if self._caller:
            self._caller = False
            return random.uniform(*CALLERS_NAP_S)
        many = min(LONGEST_NAP, max(1.0, self.sleepers / 20))
        return max(SHORTEST_NAP_S, self.idle_s * many * random.uniform(1.0, 2.0))
