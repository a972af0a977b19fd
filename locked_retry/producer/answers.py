"""What `submit_many` answers: one outcome per task, and a summary of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import overload


class Outcome(StrEnum):
    """What became of a task that was submitted."""

    ACCEPTED = "accepted"  # it is in its queue, put there by this call
    DUPLICATE = "duplicate"  # its id was known already: nothing was added
    REFUSED = "refused"  # it is certainly not in its queue
    UNKNOWN = "unknown"  # no answer came: it may be there, or come yet


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """The answer for one task. `reason` is empty for an accepted one."""

    task_id: str
    outcome: Outcome
    reason: str = ""


class NotSubmitted(RuntimeError):
    """Some tasks were refused, or their outcome is unknown. `answers` are those of the whole batch."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        missing = answers.refused + answers.unknown
        counts = f"{len(answers.refused)} refused and {len(answers.unknown)} unknown of {len(answers)} tasks"
        super().__init__(f"{counts}; the first: {missing[0].task_id}: {missing[0].reason}")


@dataclass(frozen=True, slots=True)
class Answers(Sequence[TaskAnswer]):
    """One answer for each task, in the order they were given."""

    all: tuple[TaskAnswer, ...]

    @overload
    def __getitem__(self, index: int) -> TaskAnswer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TaskAnswer, ...]: ...
    def __getitem__(self, index: int | slice) -> TaskAnswer | tuple[TaskAnswer, ...]:
        return self.all[index]

    def __len__(self) -> int:
        return len(self.all)

    def _of(self, outcome: Outcome) -> list[TaskAnswer]:
        return [answer for answer in self.all if answer.outcome is outcome]

    @property
    def accepted(self) -> list[TaskAnswer]:
        """In their queues, put there by this call."""
        return self._of(Outcome.ACCEPTED)

    @property
    def duplicate(self) -> list[TaskAnswer]:
        """Known before: nothing was added."""
        return self._of(Outcome.DUPLICATE)

    @property
    def refused(self) -> list[TaskAnswer]:
        """Certainly not in their queues."""
        return self._of(Outcome.REFUSED)

    @property
    def unknown(self) -> list[TaskAnswer]:
        """Submit these again under the same ids: what is a duplicate then was accepted now."""
        return self._of(Outcome.UNKNOWN)

    @property
    def ok(self) -> bool:
        """Whether every task is accepted or was known before."""
        return all(answer.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE) for answer in self.all)

    def check(self) -> Answers:
        """Itself if `ok`. Raises NotSubmitted if not."""
        if not self.ok:
            raise NotSubmitted(self)
        return self

    def __str__(self) -> str:
        counts = ((outcome, len(self._of(outcome))) for outcome in Outcome)
        return ", ".join(f"{count} {outcome}" for outcome, count in counts if count) or "no tasks"
