"""Expectations name suites and scenarios; one that names none would silently mean "expected to pass"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from taskchaos.faults.bounds import shown
from taskchaos.harness.errors import SubjectError, UsageError
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.subject import Subject
from taskchaos.harness.subject_calls import SubjectFault, call, in_hand

#: How like a shipped suite's name another has to be to be taken for a misspelt one.
_LIKENESS = 0.8


def expectation_of(subject: Subject, suite: str, scenario: str) -> Expectation:
    """What a subject says that it should come to. Raises SubjectError for what its code raises, or returns instead."""
    with in_hand(f"subject {subject.name}: expectation()"):
        try:
            found: object = call(subject, "expectation", lambda: subject.expectation(suite, scenario))
        except SubjectFault as fault:
            raise SubjectError(f"subject {subject.name}: {fault}") from fault
    if not isinstance(found, Expectation):
        raise SubjectError(f"subject {subject.name}: expectation() has to return an Expectation, not {shown(found)}")
    return found


def check_expectations(subject: Subject, whole: Mapping[str, frozenset[str]], shipped: frozenset[str]) -> None:
    """Raise UsageError when the subject's expectations have a key that matches no scenario.

    whole: the scenarios of every suite that was collected as a whole. shipped: the suites that come with taskchaos;
    keys of other suites are left alone unless they are close to the name of one, since they may belong elsewhere.
    """
    keys = dict.fromkeys((*getattr(subject, "expectations", {}), *filter(None, [getattr(subject, "only_in", "")])))
    if problem := next(_problems(keys, whole, shipped), ""):
        raise UsageError(f"subject {subject.name}: expectations {problem}")


def _problems(
    keys: Mapping[str, object], whole: Mapping[str, frozenset[str]], shipped: frozenset[str]
) -> Iterator[str]:
    for key in keys:
        suite, dot, scenario = str(key).partition(".")
        if suite in whole:
            if dot and scenario not in whole[suite]:
                close = get_close_matches(scenario, whole[suite], 1)
                meant = (
                    f"; did you mean {suite}.{close[0]}?" if close else f": it has {', '.join(sorted(whole[suite]))}"
                )
                yield f"name {key!r}, which is no scenario of {suite}{meant}"
        elif suite not in shipped and (close := get_close_matches(suite, shipped, 1, _LIKENESS)):
            yield f"name {key!r}, and there is no suite {suite}; did you mean {close[0]}?"
