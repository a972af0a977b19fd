"""Two deliveries of one task at the same moment: what they are claimed by reaches Redis at once.

Who looks whether a task is free, and then takes it, is wrong only between these two steps. Workers hit that by luck,
once in many thousand tasks; here the first one waits until the second is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from taskchaos.faults.bounds import Choice
from taskchaos.faults.command import LATE, CommandFault
from taskchaos.faults.draw import NotDrawn

#: What two commands that are let go together have in common: the task that they name, or nothing.
TASK, ANY = "task", "any"


@dataclass
class Together(CommandFault):
    """A command waits, for `longest_ms` at most, for one of another connection, then both go on at the same moment.

    It meets those of its own link, and those of every link that has this fault for the same command. `about`: task
    (they name the same one) or any. Every other time the one that came last goes first.
    """

    kind: ClassVar[str] = "together"
    summary: ClassVar[str] = "a command waits for another connection's about the same task, and both go at once"
    drawn: ClassVar[NotDrawn] = NotDrawn("it needs the command that the subject claims a task by, and tasks sent twice")
    about: Annotated[str, Choice((TASK, ANY))] = TASK
    longest_ms: Annotated[int, LATE] = 300

    def _add(self) -> None:
        group = f"{self.kind} {self.command} {self.script}"
        self._add_rule("before", "meet", delay=self.longest_ms, scope="group", group=group)

    def _capture(self) -> str:
        """Where any two meet, what they name is not looked at: they would have to name the same."""
        return super()._capture() if self.about == TASK else ""

    def _deed(self) -> str:
        return "together with another connection's"

    def in_all(self) -> str:
        """Pairs that were let go: a command that waited in vain is not among the firings."""
        if not (told := super().in_all()):
            return ""
        what = "about the same task" if self.about == TASK else "of another connection"
        return f"{told}, let go at the same moment as one {what} (journal {self._firings()[-1].met})"

    def missing(self) -> str:
        rule = self._state
        if rule is None or not rule.seen or rule.fired:
            return super().missing()
        what = "of the same task" if self.about == TASK else "of another connection"
        came = f"{' or '.join(self._commands()) or 'a command'} came {rule.seen} times"
        advice = "see that tasks are delivered twice, to workers that are idle, or wait for longer"
        return f"{came}, and none met another one {what} within {self.longest_ms} ms: {advice}"
