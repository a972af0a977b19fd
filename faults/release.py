"""A worker that comes back from another environment: an upgrade, or the way back, with both releases on one queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from taskchaos.faults.base import Ability, Release
from taskchaos.faults.bounds import Choice
from taskchaos.faults.draw import NotDrawn
from taskchaos.faults.process import Restart


@dataclass
class ChangeRelease(Restart):
    """A restart after which the worker is of the release `to`: started from the environment that has it."""

    kind: ClassVar[str] = "change_release"
    summary: ClassVar[str] = (
        "a worker is told to end as in a restart, and is started again with another release (`to`: present, previous)"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PREVIOUS})
    drawn: ClassVar[NotDrawn] = NotDrawn("who works beside whom is what a deployment is about, and no accident")
    to: Annotated[str, Choice(tuple(one.value for one in Release))] = Release.PRESENT

    def kill(self) -> None:
        super().kill()
        self.worker.change_release(Release(self.to))

    def healed(self) -> bool:
        return super().healed() and self.worker.release == self.to
