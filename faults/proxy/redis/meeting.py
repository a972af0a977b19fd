"""Where commands of two connections wait for one another, so that both reach Redis at the same moment."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Guest:
    """A command that waits. `of`: its connection; `about`: what it names, and the other has to name as well.

    waits: whether it still does; met: called with the index of the other; go_on: lets it pass.
    """

    of: object
    about: tuple[str, ...]
    index: int
    waits: Callable[[], bool]
    met: Callable[[int], None]
    go_on: Callable[[], None]


@dataclass(slots=True)
class Meeting:
    """Guests that have met nobody yet, in order of their coming."""

    guests: list[Guest] = field(default_factory=list)
    pairs: int = 0

    def enter(self, guest: Guest) -> tuple[Guest, Guest] | None:
        """The two that have met, in the order in which they are to pass: every other time who came last is first.

        None: nobody is there, and it waits.
        """
        self.guests = [each for each in self.guests if each.waits()]
        other = next((each for each in self.guests if each.of is not guest.of and each.about == guest.about), None)
        if other is None:
            self.guests.append(guest)
            return None
        self.guests.remove(other)
        other.met(guest.index)
        guest.met(other.index)
        self.pairs += 1
        return (other, guest) if self.pairs % 2 else (guest, other)

    def leave(self, guest: Guest) -> None:
        """It waits no more."""
        if guest in self.guests:
            self.guests.remove(guest)
