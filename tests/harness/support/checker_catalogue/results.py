"""Known histories: results, which what took effect has to have in the end where the case asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder
from checker_known import FAIL, FAILURE, NOT_CLAIMED, PASS, SUCCESS, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import ClaimKind, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
SILENT = replace(ALL, claims=ALL.claims - {Claim.RESULTS})
_MISSING = "1 task took effect and left no final result"
_NOTE = "it took effect, and the result backend has no final result of it"


def _asked(*done: int, **kinds: ClaimKind) -> H:
    """Operations that were done, in a case that asks for results; and the results there are, as op0=SUCCESS."""
    results = {int(name.removeprefix("op")): int(kind) for name, kind in kinds.items()}
    return H().done(*done).set(keep_results=True).final(results=results)


@known("kept", Rule.RESULTS, PASS, 0, "each of 2 tasks that took effect has one")
def _() -> H:
    return _asked(0, 1, op0=SUCCESS, op1=SUCCESS)


@known("one missing", Rule.RESULTS, FAIL, 1, _MISSING, (1, _NOTE))
def _() -> H:
    return _asked(0, 1, op0=SUCCESS)


@known("none at all", Rule.RESULTS, FAIL, 2, "2 tasks took effect and left no final result", (0, _NOTE), (1, _NOTE))
def _() -> H:
    return _asked(0, 1)


@known(
    "a failure is a result, and another rule's",
    Rule.RESULTS,
    PASS,
    0,
    "each of 1 task that took effect has one",
    others=(Rule.FALSE_FAILURE,),
)
def _() -> H:
    return _asked(0, op0=FAILURE)


@known("not asked for", Rule.RESULTS, NOT_CLAIMED, None, "the case does not ask for results")
def _() -> H:
    return H().done(0)


@known(
    "not claimed",
    Rule.RESULTS,
    NOT_CLAIMED,
    1,
    f"the subject does not claim results; seen: {_MISSING}",
    contract=SILENT,
)
def _() -> H:
    return _asked(0)


for _name, _build in (
    ("without an effect", lambda: _asked(0, op0=SUCCESS).ack(1)),
    ("refused", lambda: _asked(0, op0=SUCCESS).submit(1, SubmitOutcome.REFUSED, 1).effect(1)),
    ("still on the broker", lambda: _asked(0, 1, op0=SUCCESS).not_converged(pending=frozenset({1}))),
):
    _number = 2 if _name.startswith("still") else 1

    @known(
        f"none is due: {_name}",
        Rule.RESULTS,
        PASS,
        0,
        f"each of {_number} task{'s' if _number > 1 else ''} that took effect has one",
        others=(Rule.LOST, Rule.EVIDENCE, Rule.RESURRECTED, Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "nothing took effect",
    Rule.RESULTS,
    UNKNOWN,
    0,
    "nothing took effect, so no result was due: check that workers ran",
    others=(Rule.LOST, Rule.EVIDENCE),
)
def _() -> H:
    return H().ack(0).set(keep_results=True)


for _name, _final, _doubt in (
    ("not read twice", {"reads": 1}, "only 1 final read"),
    ("things still moved", {"quiet": False}, "things still moved"),
    ("not healed", {"healed": False}, "the world was not healed"),
):

    @known(
        f"one missing, but {_name}",
        Rule.RESULTS,
        UNKNOWN,
        1,
        f"{_MISSING}, but {_doubt}; drain for longer",
        (0, _NOTE),
        others=(Rule.LOST, Rule.EVIDENCE, Rule.CONVERGED, Rule.STUCK),
    )
    def _(final: dict[str, object] = _final) -> H:
        return _asked(0).final(**final)


@known(
    "kept so far",
    Rule.RESULTS,
    UNKNOWN,
    0,
    "each of 1 task that took effect has one, but things still moved; drain for longer",
    others=(Rule.LOST, Rule.CONVERGED, Rule.STUCK),
)
def _() -> H:
    return _asked(0, op0=SUCCESS).final(quiet=False)
