"""Which subjects run where nobody names one."""

from __future__ import annotations

from taskchaos.harness.case.subject_names import controls, shipped_names
from taskchaos.harness.profile import Depth

#: The subject that every suite has to pass.
REFERENCE = "locked_retry"


def subjects_of_none(depth: Depth, *, local: bool, named_suites: bool) -> tuple[str, ...]:
    """The subjects of a run that names none, controls included.

    All that ship in the quick profile, and at night. In between all suites against all of them would take an hour: the
    reference alone, with the controls, takes as long as is promised.
    """
    few = depth is Depth.DEFAULT and not named_suites
    return ((REFERENCE,) if few else shipped_names()) + _controls(depth, local=local)


def _controls(depth: Depth, *, local: bool) -> tuple[str, ...]:
    """Those that fit the profile.

    They say of suites that these see what they are for, which is the same on every stack: the quickest has to do.
    """
    if not local:
        return ()
    return tuple(pair.name for pair in controls() if pair.quick or depth > Depth.QUICK)
