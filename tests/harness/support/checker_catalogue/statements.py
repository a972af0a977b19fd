"""Known histories: what the subject says."""

from __future__ import annotations

from checker_histories import HistoryBuilder
from checker_known import (
    FAIL,
    FAILURE,
    NOT_CLAIMED,
    PASS,
    REJECTED,
    RETRY,
    REVOKED,
    SUCCESS,
    TRANSIENT,
    UNKNOWN,
    known,
)

from taskchaos.harness.record.history import SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder

# ---------------------------------------------------------------- what the subject says


@known("success kept", Rule.FALSE_SUCCESS, PASS, 0, "every success that was claimed took effect")
def _() -> H:
    return H().done(0, 1).final(results={1: SUCCESS})


@known(
    "success without effect",
    Rule.FALSE_SUCCESS,
    FAIL,
    2,
    "2 successes claimed without an effect",
    (1, "success claimed, no effect recorded"),
    (2, "success claimed, no effect recorded"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).submit(2, SubmitOutcome.UNKNOWN, 1)
    return builder.attempt(1).said(1).final(results={2: SUCCESS})


@known(
    "success and torn records",
    Rule.FALSE_SUCCESS,
    UNKNOWN,
    1,
    "1 success claimed without an effect, unless the effects are among the 1 torn record; see why the ledger was cut",
    (1, "success claimed, no effect recorded"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).said(1).set(torn_records=1)


@known(
    "success with an empty ledger",
    Rule.FALSE_SUCCESS,
    UNKNOWN,
    1,
    "1 success claimed without an effect, but no worker wrote to the ledger; see why",
    (0, "success claimed, no effect recorded"),
    others=(Rule.LOST, Rule.EVIDENCE),
)
def _() -> H:
    return H().ack(0).final(results={0: SUCCESS})


for _rule in (Rule.FALSE_SUCCESS, Rule.FALSE_FAILURE, Rule.ZOMBIE):

    @known("silent subject", _rule, NOT_CLAIMED, None, "the subject says nothing about results")
    def _() -> H:
        return H().ack(0).attempt(0).effect(0).said(0, RETRY)


_LAST = "took effect although the subject's last word is failure"


@known("failure taken back", Rule.FALSE_FAILURE, PASS, 0, f"0 tasks {_LAST}")
def _() -> H:
    builder = H().done(0, 1, 2, 3).said(0, FAILURE, 110.5).said(1, REJECTED, 111).said(2, FAILURE, 200)
    return (
        builder.final(results={2: SUCCESS})
        .ack(4)
        .attempt(4, outcome=TRANSIENT)
        .said(4, FAILURE)
        .final(dead=frozenset({4}))
        .set(permanent=frozenset({4}))
    )


@known(
    "failure, though done",
    Rule.FALSE_FAILURE,
    FAIL,
    3,
    f"3 tasks {_LAST}",
    (0, "failure claimed, but it took effect"),
    (1, "failure claimed, but it took effect"),
    (2, "failure claimed, but it took effect"),
)
def _() -> H:
    return H().done(0, 1, 2).said(0, FAILURE, 112).said(1, REJECTED, 112).final(results={2: FAILURE})


_FINAL = "took effect after the subject's final word"


@known("last effect with the final word", Rule.ZOMBIE, PASS, 0, f"0 tasks {_FINAL}")
def _() -> H:
    return H().done(0, 1).said(0, FAILURE, 105).said(1, REJECTED, 1).said(1, RETRY, 2)


@known(
    "effect after the final word",
    Rule.ZOMBIE,
    FAIL,
    4,
    f"4 tasks {_FINAL}",
    (0, "effect 1.0 ms after failure was claimed"),
    (1, "effect 5.0 ms after revoked was claimed"),
    (2, "effect 2.0 ms after success was claimed"),
    (3, "effect 50.0 ms after failure was claimed"),
)
def _() -> H:
    builder = H().done(0, 1).said(0, FAILURE, 104).said(1, REVOKED, 100).said(1, FAILURE, 101)
    builder.ack(2).attempt(2).effect(2, 113).said(2)
    return builder.done(3).said(3, FAILURE, 150).said(3, SUCCESS, 150).effect(3, 200)


@known(
    "second effect after failure is a zombie only",
    Rule.DUPLICATE,
    PASS,
    0,
    "0 tasks took effect more than once",
    others=(Rule.ZOMBIE,),
)
def _() -> H:
    return H().done(0).said(0, FAILURE, 150).effect(0, 200)


@known(
    "submitted twice, lost once",
    Rule.LOST,
    FAIL,
    1,
    "1 of 4 acknowledged tasks lost, none at the end, so not merely slow, 1 at the beginning",
    (1, "never delivered, never attempted"),
)
def _() -> H:
    return H().ack(1, at=90).ack(1, at=1).done(3).ack(0, at=50).done(2).effect(0)


@known(
    "second effect after success",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 task took effect more than once",
    (0, "2 effects within 200 ms"),
)
def _() -> H:
    return H().done(0).effect(0, 305)


@known(
    "never submitted is no zombie",
    Rule.UNEXPECTED,
    FAIL,
    1,
    "1 task ran without ever being submitted",
    (0, "in the plan, never submitted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(1).effect(0, 200).said(0, FAILURE, 100).said(0, FAILURE, 300)


@known(
    "two final words at once",
    Rule.ZOMBIE,
    FAIL,
    1,
    f"1 task {_FINAL}",
    (0, "effect 5.0 ms after failure was claimed"),
)
def _() -> H:
    return H().done(0).said(0, REVOKED, 100).said(0, FAILURE, 100)


@known(
    "results at the edges",
    Rule.FALSE_SUCCESS,
    FAIL,
    1,
    "1 success claimed without an effect",
    (0, "success claimed, no effect recorded"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.UNKNOWN, 0).done(1).final(results={0: SUCCESS, 2: SUCCESS, -1: SUCCESS})


@known("claims without effects are no zombies", Rule.ZOMBIE, PASS, 0, f"0 tasks {_FINAL}", others=(Rule.EVIDENCE,))
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).said(1, FAILURE, 100)


@known("retry and success at the same time as failure", Rule.FALSE_FAILURE, PASS, 0, f"0 tasks {_LAST}")
def _() -> H:
    return H().done(0).said(0, FAILURE, 111).said(0, RETRY, 150)


@known(
    "a retry takes no failure back",
    Rule.FALSE_FAILURE,
    FAIL,
    1,
    f"1 task {_LAST}",
    (0, "failure claimed, but it took effect"),
)
def _() -> H:
    return H().done(0).said(0, FAILURE, 120).said(0, RETRY, 150).said(0, REVOKED, 160)


@known(
    "a failure at the very start",
    Rule.FALSE_FAILURE,
    FAIL,
    1,
    f"1 task {_LAST}",
    (0, "failure claimed, but it took effect"),
)
def _() -> H:
    return H().ack(0, at=0).effect(0, 0).said(0, FAILURE, 0)


@known(
    "two final words at once, in the other order",
    Rule.ZOMBIE,
    FAIL,
    1,
    f"1 task {_FINAL}",
    (0, "effect 5.0 ms after failure was claimed"),
)
def _() -> H:
    return H().done(0).said(0, FAILURE, 100).said(0, REVOKED, 100)


@known(
    "the last of three effects is the late one",
    Rule.ZOMBIE,
    FAIL,
    1,
    f"1 task {_FINAL}",
    (0, "effect 50.0 ms after failure was claimed"),
)
def _() -> H:
    return H().done(0).effect(0, 120).effect(0, 200).said(0, FAILURE, 150)


@known("revoked or retried is no success", Rule.FALSE_SUCCESS, PASS, 0, "every success that was claimed took effect")
def _() -> H:
    builder = H().done(0).ack(1, 2, 3).said(1, REVOKED).final(results={2: REVOKED, 3: RETRY})
    return builder.final(dead=frozenset({1, 2, 3})).set(permanent=frozenset({1, 2, 3}))


@known(
    "only revoked, and that is a word",
    Rule.FALSE_SUCCESS,
    PASS,
    0,
    "every success that was claimed took effect",
)
def _() -> H:
    return H().ack(0).attempt(0).effect(0).said(0, REVOKED)


@known(
    "nothing but failures, and an empty ledger",
    Rule.FALSE_SUCCESS,
    PASS,
    0,
    "every success that was claimed took effect",
    others=(Rule.EVIDENCE, Rule.LOST),
)
def _() -> H:
    return H().ack(0).said(0, FAILURE)
