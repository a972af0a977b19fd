"""What the plugin, the selection and the record of a session share, and no more: other people's sessions import it."""

from __future__ import annotations

import pytest

#: How a case counts in pytest's figures; a property of its test in pytest's JUnit file, beside those of the verdict.
COUNTS_AS = "taskchaos_counts_as"
#: What a test asks for that is to be run with one seed after the other.
SEED = "chaos_seed"
#: The attribute of a report that carries what the controller has to know; plain values, for xdist sends them on.
NOTE = "taskchaos"
#: The value of PYTHONSAFEPATH that is for the test workers of a run only, not for what they start.
FOR_TEST_WORKERS = "for the test workers of taskchaos"


def is_case(item: pytest.Item) -> bool:
    """Whether a test runs a case."""
    return isinstance(item, pytest.Function) and wants_case(item)


def wants_case(test: pytest.Metafunc | pytest.Function) -> bool:
    """Whether a test function asks for what only a case has."""
    return {"chaos", "chaos_subject"} <= set(test.fixturenames)


class TimeIsUp(pytest.skip.Exception):  # type: ignore[name-defined, misc]
    """The time of the run was up before this case began: it is no part of its plan."""


# pytest puts the module of an exception before what it says, and cuts the line at the edge of the terminal: these have
# none, as pytest's own `Failed` has none.


class Inconclusive(Exception):
    """The case could not be decided: evidence is missing."""

    __module__ = "builtins"


class Unexpected(AssertionError):
    """The verdict is not the expected one."""

    __module__ = "builtins"


class NoVerdict(Exception):
    """The case has no verdict: the stack failed, or the subject's own code did."""

    __module__ = "builtins"


class NeverCalled(Exception):
    """The test asked for `chaos` and did not call it: the case that was planned did not run."""

    __module__ = "builtins"
