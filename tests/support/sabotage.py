"""Faults that are broken on purpose, in each way in which a fault can be broken; and what the nemesis may make of them.

A sabotage takes a fault as the schedule made it and replaces some of its verbs. What it comes to has to be told by the
states of its life; that it is proven, held and healed is what no broken fault may come to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from taskchaos.faults.base import Fault, FaultError
from taskchaos.faults.state import FaultState as S

#: When a sabotaged fault ends by itself, of a hold so long.
VANISH_S, HOLD_S = 0.2, 1.0
VERBS = ("undo", "inject", "prove", "holds", "heal", "healed")


@dataclass
class Broken:
    """A fault with the verbs that were there before. `mend` gives them back."""

    fault: Fault
    elsewhere: Any  # another target of the same kind
    _patched: list[str] = field(default_factory=list)

    def patch(self, verb: str, instead: Callable[[], Any]) -> Callable[[], Any]:
        """Replace a verb; what it was."""
        before: Callable[[], Any] = getattr(self.fault, verb)
        setattr(self.fault, verb, instead)
        self._patched.append(verb)
        return before

    def mend(self) -> None:
        for verb in self._patched:
            vars(self.fault).pop(verb, None)
        self._patched.clear()


Sabotage = Callable[[Broken], None]


def nothing(broken: Broken) -> None:
    """It says that it was injected, and was not."""
    broken.patch("inject", lambda: None)


def elsewhere(broken: Broken) -> None:
    """It is done to another target, and taken back there."""
    fault, places = broken.fault, ("link", "worker", "server", "role", "producer")
    where = next(name for name in places if hasattr(fault, name))
    own = getattr(fault, where)

    def misled(verb: Callable[[], Any]) -> Callable[[], Any]:
        def act() -> Any:
            setattr(fault, where, broken.elsewhere)
            try:
                return verb()
            finally:
                setattr(fault, where, own)

        return act

    for verb in ("inject", "heal"):
        broken.patch(verb, misled(getattr(fault, verb)))


def early(broken: Broken) -> None:
    """It ends by itself in the middle of its hold."""

    def inject() -> None:
        really()
        timer = threading.Timer(VANISH_S, heal)
        timer.daemon = True
        timer.start()

    heal = broken.fault.heal
    really = broken.patch("inject", inject)


def for_ever(broken: Broken) -> None:
    """Its heal does nothing."""
    broken.fault.heal_deadline_s = 0.3  # type: ignore[misc]
    broken.patch("heal", lambda: None)


def raises(verb: str, error: Exception, *, after: bool) -> Sabotage:
    """The verb raises, before it has done anything or after it has done all."""

    def sabotage(broken: Broken) -> None:
        def act() -> Any:
            if after:
                really()
            raise error

        really = broken.patch(verb, act)

    return sabotage


@dataclass(frozen=True)
class Case:
    """A sabotage and what it comes to; the part of a life that is not told may be anything."""

    name: str
    sabotage: Sabotage
    hold_s: float
    has: frozenset[S]
    lacks: frozenset[S]
    said: str = ""


def cases() -> Iterable[Case]:
    """Every sabotage of a fault that lasts until it is healed."""
    yield Case("nothing", nothing, 0.3, frozenset({S.UNPROVEN}), frozenset({S.PROVEN}))
    yield Case("elsewhere", elsewhere, 0.3, frozenset({S.UNPROVEN}), frozenset({S.PROVEN}))
    yield Case("early", early, HOLD_S, frozenset({S.VANISHED}), frozenset({S.HELD}))
    yield Case("for_ever", for_ever, 0.3, frozenset({S.HEAL_FAILED}), frozenset({S.HEALED}))
    expected = {
        "undo": (S.UNPROVEN, S.PROVEN),
        "inject": (S.UNPROVEN, S.PROVEN),
        "prove": (S.UNPROVEN, S.PROVEN),
        "holds": (S.VANISHED, S.HELD),
        "heal": (S.HEAL_FAILED, S.HEALED),
        "healed": (S.HEAL_FAILED, S.HEALED),
    }
    for verb, (has, lacks) in expected.items():
        for error in (FaultError("sabotaged"), RuntimeError("sabotaged")):
            for after in (False, True):
                name = f"{verb}-{type(error).__name__}-{'after' if after else 'before'}"
                sabotage = raises(verb, error, after=after)
                yield Case(name, sabotage, 0.3, frozenset({has}), frozenset({lacks}), said="sabotaged")


CASES = {case.name: case for case in cases()}


def applies(kind: str, fault: Fault, case: Case) -> bool:
    """Whether a sabotage can make a difference to the fault."""
    verb = case.name.partition("-")[0]
    if not fault.lasts and verb in ("early", "holds"):
        return False  # what is dead is dead: it neither lasts nor is looked at again
    return not (kind in ("kill_child", "out_of_memory") and verb == "for_ever")  # the parent replaces a child by itself
