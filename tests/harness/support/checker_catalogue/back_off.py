"""Known histories: waits between attempts, against the law that the subject claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.backoff import BackoffLaw, JitterKind, LawKind
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.history import AttemptOutcome, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
SILENT = replace(ALL, claims=ALL.claims - {Claim.BACKOFF}, backoff=None)
UNCLAIMED = replace(ALL, claims=ALL.claims - {Claim.BACKOFF})
#: What a worker needs to see that a task is due.
SEEN = 10


def spread(number: int, low: float, high: float) -> list[float]:
    """Waits that are spread evenly, in an order that says nothing."""
    return [low + (high - low) * (n * 17 % number + 0.5) / number for n in range(number)]


def waited(
    *waits: Iterable[float],
    outcome: AttemptOutcome = TRANSIENT,
    sent: SubmitOutcome = SubmitOutcome.ACKNOWLEDGED,
    queue: float = 2,
) -> H:
    """An operation each 20 ms, begun `queue` ms after it was sent, that waits as the lists say, and then takes effect.

    Each list holds the waits of all operations after as many retries as there are lists before it.
    """
    builder = H().slo(waits=True)
    for op, each in enumerate(zip(*waits, strict=True)):
        at = 1000 + 20 * op
        builder.submit(op, sent, at - queue, done=at - queue)
        for wait in each:
            builder.attempt(op, at, at + 1, outcome)
            at += 1 + wait
        builder.attempt(op, at, at + 1).effect(op, at)
    return builder


def _fair(number: int = 40) -> H:
    return waited(spread(number, SEEN, 200 + SEEN))


def _twice(number: int, longest: float) -> H:
    return waited(spread(number, SEEN, 200), spread(number, SEEN, longest))


def _compared(early: int, late: int) -> str:
    noun = "wait" if early == 1 else "waits"
    return f"{early} {noun} compared with the law, {late} of them while the queue was short"


def _seen(number: int) -> str:
    needed = "30 after the same number of retries, while the queue is short, can be judged"
    return f"{number} waits that no fault met; {needed}"


def _few(number: int) -> str:
    return f"too few: {_seen(number)}; have more tasks fail, or free the machine"


@known("as claimed", Rule.BACKOFF, PASS, 1.0, f"{_compared(40, 40)}: as claimed (p = 1)")
def _() -> H:
    return _fair()


@known("as claimed, twice", Rule.BACKOFF, PASS, 1.0, f"{_compared(80, 80)}: as claimed (p = 1)")
def _() -> H:
    return _twice(40, 400)


for _name, _waits, _p, _how in (
    ("at once", spread(40, 1, 5), 1e-34, "earlier than the law after 0 retries (p = 1e-34"),
    ("without jitter", [205.0] * 40, 4e-11, "later than the law after 0 retries (p = 4e-11"),
    ("in the middle, without jitter", [95.0] * 60, 9e-13, "earlier than the law after 0 retries (p = 9e-13"),
):

    @known(
        _name,
        Rule.BACKOFF,
        FAIL,
        _p,
        f"{_compared(len(_waits), len(_waits))}; {len(_waits)} are {_how}, below 1e-06)",
    )
    def _(waits: list[float] = _waits) -> H:
        return waited(waits)


@known(
    "up to twice the longest",
    Rule.BACKOFF,
    FAIL,
    5e-32,
    f"{_compared(149, 147)}; 147 are later than the law after 0 retries (p = 5e-32, below 1e-06)",
)
def _() -> H:
    return waited(spread(149, 10, 420))


@known(
    "the second wait ignores the cap",
    Rule.BACKOFF,
    FAIL,
    6e-48,
    f"{_compared(240, 226)}; 106 are later than the law after 1 retry (p = 6e-48, below 1e-06)",
)
def _() -> H:
    return _twice(120, 1000)


def _shuffled(waits: list[float]) -> list[float]:
    """In another order, so that those that stray are anywhere."""
    return [waits[n * 7 % len(waits)] for n in range(len(waits))]


@known(
    "one in five longer than the cap",
    Rule.BACKOFF,
    FAIL,
    1e-09,
    f"{_compared(120, 116)}; 116 are later than the law after 0 retries (p = 1e-09, below 1e-06)",
)
def _() -> H:
    return waited(_shuffled([*spread(96, SEEN, 200 + SEEN), *spread(24, 700, 720)]))


@known("one straggler in forty", Rule.BACKOFF, PASS, 1.0, f"{_compared(120, 120)}: as claimed (p = 1)")
def _() -> H:
    return waited(_shuffled([*spread(117, SEEN, 200 + SEEN), 900.0, 900.0, 900.0]))


@known("of two numbers of retries, one has enough", Rule.BACKOFF, PASS, 1.0, f"{_compared(31, 31)}: as claimed (p = 1)")
def _() -> H:
    builder = _fair(30).ack(30, at=2000).attempt(30, 2001, 2002, TRANSIENT).attempt(30, 2100, 2101, TRANSIENT)
    return builder.attempt(30, 2102, 2103).effect(30, 2102)


@known("just enough", Rule.BACKOFF, PASS, 1.0, f"{_compared(30, 30)}: as claimed (p = 1)")
def _() -> H:
    return _fair(30)


@known("a fault met the attempt before one of them", Rule.BACKOFF, UNKNOWN, None, _few(29), others=(Rule.FAULTS,))
def _() -> H:
    return _fair(30).fault(1000, 1000.5)


@known("one too few", Rule.BACKOFF, UNKNOWN, None, _few(29))
def _() -> H:
    return _fair(29)


@known(
    "one too few, where it is no matter",
    Rule.BACKOFF,
    NOT_CLAIMED,
    None,
    f"the case is not about waits: {_seen(29)}",
)
def _() -> H:
    return _fair(29).slo(waits=False)


@known("while the queue was long", Rule.BACKOFF, UNKNOWN, None, _few(40))
def _() -> H:
    return waited([900.0] * 40, queue=101)


@known(
    "at once, while the queue was long",
    Rule.BACKOFF,
    FAIL,
    6e-35,
    f"{_compared(40, 0)}; 40 are earlier than the law after 0 retries (p = 6e-35, below 1e-06)",
)
def _() -> H:
    return waited(spread(40, 1, 5), queue=101)


@known("one behind another, by their keys", Rule.BACKOFF, UNKNOWN, None, _few(60), others=(Rule.KEY_OVERLAP,))
def _() -> H:
    return waited([395.0] * 60).set(keys=3)


@known("while the queue was as long as can be", Rule.BACKOFF, PASS, 1.0, f"{_compared(40, 40)}: as claimed (p = 1)")
def _() -> H:
    return waited(spread(40, 10, 200), queue=100)


@known("while one new task was late", Rule.BACKOFF, PASS, 1.0, f"{_compared(80, 44)}: as claimed (p = 1)")
def _() -> H:
    return waited(spread(80, 10, 200)).ack(80, at=1000).attempt(80, 1500).effect(80, 1500)


@known(
    "beside one that nobody sent",
    Rule.BACKOFF,
    PASS,
    1.0,
    f"{_compared(40, 40)}: as claimed (p = 1)",
    others=(Rule.UNEXPECTED, Rule.EVIDENCE),
)
def _() -> H:
    return waited(spread(40, 10, 200)).attempt(40, 1500).effect(40, 1500).planned(41)


@known(
    "not at all",
    Rule.BACKOFF,
    FAIL,
    2e-38,
    f"{_compared(40, 40)}; 40 are earlier than the law after 0 retries (p = 2e-38, below 1e-06)",
)
def _() -> H:
    return waited([0.0] * 40)


@known("as late as new tasks", Rule.BACKOFF, PASS, 1.0, f"{_compared(40, 40)}: as claimed (p = 1)")
def _() -> H:
    return waited(spread(40, 190, 390), queue=95)


for _name, _build in (
    ("a fault met all of them", lambda: waited([1.0] * 40).fault(900, 4000)),
    ("a fault met all of them, at another worker", lambda: waited([1.0] * 40).fault(900, 4000, target="worker-2")),
    ("submits are unsure", lambda: waited([1.0] * 40, sent=SubmitOutcome.UNKNOWN)),
    ("the attempts were interrupted", lambda: waited([1.0] * 40, outcome=AttemptOutcome.INTERRUPTED)),
    ("attempts overlap", lambda: waited([-0.5] * 40)),
):

    @known(
        f"none counts: {_name}",
        Rule.BACKOFF,
        UNKNOWN,
        None,
        _few(0),
        others=(Rule.EVIDENCE, Rule.FAULTS, Rule.OVERLAP, Rule.DUPLICATE, Rule.LOST),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "at once, unless a fault without evidence explains it",
    Rule.BACKOFF,
    UNKNOWN,
    1e-34,
    f"{_compared(40, 40)}; 40 are earlier than the law after 0 retries (p = 1e-34, below 1e-06), "
    "unless worker_kill on worker-1 explains it, of which there is no evidence",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return waited(spread(40, 1, 5)).fault(900, 4000, proven=False)


@known(
    "no law",
    Rule.BACKOFF,
    NOT_CLAIMED,
    None,
    "the subject names no law of waiting",
    expression="waits as claimed",
    contract=SILENT,
)
def _() -> H:
    return waited(spread(40, 1, 5))


@known(
    "not claimed",
    Rule.BACKOFF,
    NOT_CLAIMED,
    1e-34,
    f"the subject does not claim backoff; seen: {_compared(40, 40)}; 40 are earlier than the law after 0 retries "
    "(p = 1e-34, below 1e-06)",
    contract=UNCLAIMED,
)
def _() -> H:
    return waited(spread(40, 1, 5))


# ---------------------------------------------------------------- other laws

_EQUAL = BackoffLaw(base_s=0.2, cap_s=0.4, jitter=JitterKind.EQUAL)
_NONE = BackoffLaw(base_s=0.2, cap_s=0.4, jitter=JitterKind.NONE)
_FIXED = BackoffLaw(LawKind.FIXED, base_s=0.2, cap_s=0.4, jitter=JitterKind.NONE)
_STEPS = BackoffLaw(base_s=1.0, cap_s=10.0, grain_s=1.0)
_WANDERS = BackoffLaw(LawKind.DECORRELATED, base_s=0.1, cap_s=1.0)
_LONG = BackoffLaw(base_s=4.0, cap_s=8.0, jitter=JitterKind.EQUAL)
_FLOOR = BackoffLaw(base_s=0.2, cap_s=0.4, floor_s=0.1)


def _claims(law: BackoffLaw) -> Contract:
    return replace(ALL, backoff=law)


for _law, _waits, _after, _note in (
    (_EQUAL, [100.0] * 39 + [79.0], 0, "79 ms after 0 retries, at least 100 ms claimed"),
    (_NONE, [200.0] * 39 + [179.0], 0, "179 ms after 0 retries, at least 200 ms claimed"),
    (_FIXED, [200.0] * 39 + [179.0], 0, "179 ms after 0 retries, at least 200 ms claimed"),
    (_FLOOR, [100.0] * 39 + [79.0], 0, "79 ms after 0 retries, at least 100 ms claimed"),
    (_WANDERS, [100.0] * 39 + [79.0], 0, "79 ms after 0 retries, at least 100 ms claimed"),
    (_LONG, [2000.0] * 39 + [1979.0], 0, "1979 ms after 0 retries, at least 2000 ms claimed"),
):

    @known(
        f"one is too short: {_law}, floor {_law.floor_s:g}",
        Rule.BACKOFF,
        FAIL,
        1,
        "1 wait of 40 shorter than the law allows",
        (39, _note),
        contract=_claims(_law),
        expression=f"waits: {_law}",
    )
    def _(waits: list[float] = _waits) -> H:
        return waited(waits)


for _law, _waits, _late in (
    (_EQUAL, spread(40, 81, 200), 40),
    (BackoffLaw(base_s=0.2, cap_s=0.4, floor_s=0.1), [80.0, *spread(39, 100, 200)], 40),
    (_NONE, [200.0, 210.0] * 20, 40),
    (_FIXED, [200.0, 210.0] * 20, 40),
    (_STEPS, [2.0, 1003.0] * 60, 104),  # no new task is begun when the last ones come back
    (_WANDERS, spread(40, 100, 300), 40),
    (_FLOOR, spread(40, 100, 200), 40),
):

    @known(
        f"as claimed: {_law}, floor {_law.floor_s:g}",
        Rule.BACKOFF,
        PASS,
        1.0,
        f"{_compared(len(_waits), _late)}: as claimed (p = 1)",
        contract=_claims(_law),
        expression=f"waits: {_law}",
        others=(Rule.DURATION,),
    )
    def _(waits: list[float] = _waits) -> H:
        return waited(waits).set(longest_wait_ns=0)


@known(
    "one in five at once, of a law that is long",
    Rule.BACKOFF,
    FAIL,
    1e-12,
    f"{_compared(120, 111)}; 120 are earlier than the law after 0 retries (p = 1e-12, below 1e-06)",
    contract=_claims(BackoffLaw(base_s=1.0, cap_s=8.0)),
    expression="waits: exponential, 1 s up to 8 s, full jitter",
)
def _() -> H:
    return waited(_shuffled([*spread(24, 0, 2), *spread(96, 10, 1000)]))


@known(
    "as claimed, while the queue was shorter than half of the longest wait",
    Rule.BACKOFF,
    PASS,
    1.0,
    f"{_compared(120, 110)}: as claimed (p = 1)",
    contract=_claims(BackoffLaw(base_s=1.0, cap_s=8.0)),
    expression="waits: exponential, 1 s up to 8 s, full jitter",
)
def _() -> H:
    return waited(spread(120, 10, 1000), queue=300)


@known(
    "decorrelated, the second wait too short",
    Rule.BACKOFF,
    FAIL,
    1e-40,
    f"{_compared(80, 80)}; 40 are earlier than the law after 1 retry (p = 1e-40, below 1e-06)",
    contract=_claims(_WANDERS),
    expression=f"waits: {_WANDERS}",
)
def _() -> H:
    return waited([250.0] * 40, [110.0] * 40)
