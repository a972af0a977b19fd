"""Which subjects run where nobody names one."""

from __future__ import annotations

from taskchaos.harness.case.subject_names import controls, shipped_names
from taskchaos.harness.profile import Depth

#: The subject that every suite has to pass.
REFERENCE = "locked_retry"
#: Fails wherever interview_inside does, and a run that is to take a minute has room for one of them.
ALIKE = "interview_before"


def subjects_of_none(depth: Depth, *, local: bool, named_suites: bool) -> tuple[str, ...]:
    """The subjects of a run that names none, controls included.

    All that ship where suites are named, and at night. All suites against all of them would take more than the minute
    of the quick profile, and an hour of the default one: that has the reference alone, with the controls.
    """
    subjects = shipped_names()
    if not named_suites and depth is Depth.QUICK:
        subjects = tuple(name for name in subjects if name != ALIKE)
    elif not named_suites and depth is Depth.DEFAULT:
        subjects = (REFERENCE,)
    return subjects + _controls(depth, local=local)


def _controls(depth: Depth, *, local: bool) -> tuple[str, ...]:
    """Those that fit the profile.

    They say of suites that these see what they are for, which is the same on every stack: the quickest has to do.
    """
    if not local:
        return ()
    return tuple(pair.name for pair in controls() if pair.quick or depth > Depth.QUICK)
