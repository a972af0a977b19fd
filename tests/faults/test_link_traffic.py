"""A fault of a link is proven by the traffic of the role that it was meant for, and looked at again before its heal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import redis as redis_py
from course import Course
from stack_support import add_link, ran, started
from talking import talking
from waiting import until

from taskchaos.faults import nemesis
from taskchaos.faults.base import Link, On, PingResult
from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.network import Latency, RefusedLink
from taskchaos.faults.schedule import PlannedFault, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.faults.toxiproxy import ToxiproxyClient
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")

INJECTED, PROVEN, UNPROVEN, UNUSED = FaultState.INJECTED, FaultState.PROVEN, FaultState.UNPROVEN, FaultState.UNUSED
HELD, VANISHED, HEALED, HEAL_FAILED = FaultState.HELD, FaultState.VANISHED, FaultState.HEALED, FaultState.HEAL_FAILED

MakeLink = Callable[..., Link]
_numbers = count(7)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Redis and the proxy; no worker runs, and each test plays a role of its own."""
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with LocalStack(tmp_path_factory.mktemp("stack"), "stock_best", workload, StackOptions()) as running:
        yield running


@pytest.fixture
def link_of(stack: LocalStack) -> Iterator[MakeLink]:
    """A link of a new worker; with `results`, its path to the result backend."""
    made: list[Link] = []

    def make(results: str = "") -> Link:
        made.append(add_link(stack, f"worker-{next(_numbers)}{results}"))
        return made[-1]

    yield make
    for link in made:
        link.api.delete(link.name)


def connected(link: Link) -> redis_py.Redis:
    """A client with one connection that has been used and is idle now."""
    client = redis_py.Redis(
        host=link.host, port=link.port, socket_timeout=0.5, single_connection_client=True, retry=None
    )
    assert client.ping()
    return client


def fault(kind: str, link: Link, hold_s: float = 0.4, at_s: float = 0.0, **parameters: int | str) -> PlannedFault:
    often: dict[str, int | str] = {"period_ms": 200} if kind == "flapping" else {}
    return PlannedFault(kind, link.name, at_s, hold_s, {**often, **parameters})


#: What is met within a short hold by somebody who sends little.
SOON: dict[str, dict[str, int | str]] = {"limit_data": {"limit_bytes": 50}}


# --- the traffic of the role ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_what_only_the_harness_meets_proves_nothing(stack: LocalStack, link_of: MakeLink, kind: str) -> None:
    """A subject that talks to another Redis passes no longer: its link carries the harness's PINGs alone."""
    link = link_of()
    course = ran(stack, fault(kind, link), links=[link])
    assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
    assert course.said(UNPROVEN).endswith(
        f"but {link.name} has no connection through its link: does the subject use the broker URL that it is given?"
    )
    shown = ("PING took", "PING met", "PING was", "PING with", "a PING with", "connect was refused", "Redis closed a")
    assert course.said(UNPROVEN).startswith(shown)


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_an_idle_connection_is_only_met_by_what_cuts_it(stack: LocalStack, link_of: MakeLink, kind: str) -> None:
    link = link_of()
    with connected(link):
        course = ran(stack, fault(kind, link), links=[link])
    if kind in ("refused", "flapping"):
        assert course.states() == [INJECTED, PROVEN, HELD, HEALED]
        assert course.said(PROVEN).endswith(f"connect was refused; 1 connection of {link.name} was cut")
    else:
        assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
        assert course.said(UNPROVEN).endswith(
            f"but nothing of {link.name} passed while it was in force: hold it for longer, or offer more"
        )


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_the_traffic_of_the_role_proves_it(stack: LocalStack, link_of: MakeLink, kind: str) -> None:
    link = link_of()
    with talking(link):
        course = ran(stack, fault(kind, link, **SOON.get(kind, {})), links=[link])
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]
    assert f" of {link.name}" in course.said(PROVEN)


#: Faults that add a delay, at the least that they may be asked for, and at their defaults.
DELAYS: list[tuple[str, dict[str, int | str]]] = [
    ("latency", {"round_trip_ms": 10}),
    ("latency", {"round_trip_ms": 40}),
    ("jitter", {"round_trip_ms": 50, "jitter_ms": 2}),
    ("jitter", {"round_trip_ms": 50, "jitter_ms": 50}),
    ("bandwidth", {"kb_per_s": 1000}),
    ("bandwidth", {}),
    ("slicing", {"piece_bytes": 512, "delay_us": 200}),
    ("slicing", {}),
    ("slow_close", {"delay_ms": 20}),
]
DELAY_NAMES = [f"{kind}-{'-'.join(map(str, parameters.values())) or 'default'}" for kind, parameters in DELAYS]
#: What each toxic is set to for it to do nothing.
NOTHING = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 10**9},
    "slicer": {"average_size": 10**9, "size_variation": 0, "delay": 0},
    "slow_close": {"delay": 0},
}


@pytest.mark.parametrize(("kind", "parameters"), DELAYS, ids=DELAY_NAMES)
def test_the_least_delay_is_told_from_none(
    stack: LocalStack, link_of: MakeLink, kind: str, parameters: dict[str, int | str]
) -> None:
    link = link_of()
    with talking(link):
        course = ran(stack, fault(kind, link, 1.0, **parameters), links=[link])
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]


@pytest.mark.parametrize(("kind", "parameters"), DELAYS, ids=DELAY_NAMES)
def test_a_delay_that_adds_nothing_is_no_evidence(
    stack: LocalStack,
    link_of: MakeLink,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    parameters: dict[str, int | str],
) -> None:
    """The proxy has what it was told, and nobody notices: proven is what is there beyond what was there before."""
    add_toxic = ToxiproxyClient.add_toxic

    def idle(api: ToxiproxyClient, link: str, type: str, **said: Any) -> object:
        return add_toxic(api, link, type, **{**said, "attributes": NOTHING[type]})

    monkeypatch.setattr(ToxiproxyClient, "add_toxic", idle)
    link = link_of()
    with talking(link):
        course = ran(stack, fault(kind, link, 1.0, **parameters), links=[link])
    assert PROVEN not in course.states() and UNPROVEN in course.states(), course.states()


def test_traffic_may_come_late(stack: LocalStack, link_of: MakeLink) -> None:
    """As long as it comes before the heal; and then it is said at once."""
    link = link_of()
    with connected(link) as client:
        course = started(stack, fault("latency", link, hold_s=600.0, round_trip_ms=10), links=[link])
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2.3, "later than the state had to be seen")
        assert course.states() == [INJECTED]
        client.ping()
        until(lambda: PROVEN in course.states(), deadline_s=5)
        assert course.nemesis.heal_all()
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]
    assert "1 connection of" in course.said(PROVEN)


def test_a_fault_is_held_until_its_role_has_met_it(
    stack: LocalStack, link_of: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker may say nothing for as long as it was planned. For how much longer it is held has an end."""
    monkeypatch.setattr(nemesis, "LONGER_S", 60.0)
    link = link_of()
    with connected(link) as client:
        course = started(stack, fault("latency", link, hold_s=0.2, round_trip_ms=10), links=[link])
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.6, "longer than it was planned")
        assert course.states() == [INJECTED]
        client.ping()
        until(lambda: HEALED in course.states(), "it is healed at once", 20)
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]


def test_traffic_may_come_during_the_last_look(stack: LocalStack, link_of: MakeLink) -> None:
    link = link_of()
    with connected(link) as client:
        course = started(stack, fault("latency", link, round_trip_ms=10), links=[link], begin=False)
        latency = course.nemesis._plan[0][1]
        look = latency.holds
        latency.holds = lambda: client.ping() and look()  # type: ignore[method-assign]
        course.begin()
        assert course.nemesis.join(10)
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]


def test_a_fault_that_is_not_there_is_decided_early(
    stack: LocalStack, link_of: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Latency, "_apply", lambda self: None)
    monkeypatch.setattr(Latency, "proof_deadline_s", 0.2)
    link = link_of()
    course = started(stack, fault("latency", link, hold_s=600.0), links=[link])
    until(lambda: UNPROVEN in course.states(), deadline_s=5)
    assert course.said(UNPROVEN) == "no evidence that it bit: it is not in the proxy"
    assert course.nemesis.heal_all()
    assert course.states() == [INJECTED, UNPROVEN, VANISHED, HEALED]


def test_one_direction_is_proven_by_what_goes_that_way(stack: LocalStack, link_of: MakeLink) -> None:
    """A subscriber that sends nothing: what Redis sends it meets a fault of the replies, and none of the requests."""
    server = stack.redis.client
    for kind, states in (("black_hole_requests", UNPROVEN), ("black_hole_replies", PROVEN)):
        link = link_of()
        with redis_py.Redis(host=link.host, port=link.port).pubsub() as subscriber:
            subscriber.subscribe("news")
            subscriber.get_message(timeout=5)
            course = started(stack, fault(kind, link), links=[link])
            until(lambda c=course: INJECTED in c.states())  # type: ignore[misc]
            until(lambda c=course: (server.publish("news", "x"), HEALED in c.states())[1])  # type: ignore[misc]
        assert course.states() == [INJECTED, states, HELD, HEALED]
    assert ", 0 bytes from it and " in course.said(PROVEN)


def test_a_link_that_nothing_has_to_use_may_be_unused(stack: LocalStack, link_of: MakeLink) -> None:
    results, broker = link_of("-results"), link_of()
    course = ran(stack, fault("latency", results), fault("latency", broker), links=[results, broker])
    assert course.states(0) == [INJECTED, UNUSED, HELD, HEALED]
    assert course.said(UNUSED) == f"nothing has connected to {results.name} since the stack started"
    assert course.states(1) == [INJECTED, UNPROVEN, HELD, HEALED], "a broker link is never unused"


def test_a_link_that_was_used_before_is_not_unused(stack: LocalStack, link_of: MakeLink) -> None:
    link = link_of("-results")
    with connected(link):
        pass
    course = ran(stack, fault("refused", link), links=[link])
    assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
    assert f"nothing of {link.role} passed" in course.said(UNPROVEN)


def test_a_fault_that_does_nothing_to_an_unused_link_is_not_excused(
    stack: LocalStack, link_of: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RefusedLink, "_apply", lambda self: None)
    link = link_of("-results")
    course = ran(stack, fault("refused", link), links=[link])
    assert course.states() == [INJECTED, UNPROVEN, VANISHED, HEALED]


# --- at a command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", faults_on(On.COMMAND))
def test_a_command_that_never_comes_is_named(stack: LocalStack, link_of: MakeLink, kind: str) -> None:
    link = link_of()
    with connected(link):
        course = ran(stack, fault(kind, link, command="BRPOP,BLPOP"), links=[link])
    assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
    assert course.said(UNPROVEN) == (
        f"no BRPOP or BLPOP came from {link.name} while it was in force: name the command that the subject sends in "
        "Subject.commands"
    )


def test_a_command_that_comes_too_seldom_is_counted(stack: LocalStack, link_of: MakeLink) -> None:
    def said(times: int, **parameters: int | str) -> str:
        link = link_of()
        with connected(link) as client:
            course = started(stack, fault("reply_lost", link, command="BRPOP", **parameters), links=[link])
            until(lambda: INJECTED in course.states())
            for _ in range(times):
                client.brpop(["none"], timeout=0.01)
            assert course.nemesis.join(10)
        assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
        return course.said(UNPROVEN)

    advice = "hold it for longer or aim at an earlier one"
    assert said(2, nth=7) == f"BRPOP came 2 times, the fault waits for the 7th: {advice}"
    assert said(1, every=3) == f"BRPOP came once, the fault waits for the 3rd: {advice}"
    assert said(0, nth=1, script="claim").startswith("no BRPOP to script claim came")


def test_a_reply_that_does_not_come_is_named(stack: LocalStack, link_of: MakeLink) -> None:
    """The fault is at the reply of one that blocks: it has not met it yet when it is healed."""
    link = link_of()
    with connected(link) as client:
        course = started(stack, fault("reply_lost", link, command="BRPOP"), links=[link])
        until(lambda: INJECTED in course.states())
        with pytest.raises(redis_py.TimeoutError):
            client.brpop(["none"], timeout=30)
        assert course.nemesis.join(10)
    assert (
        course.said(UNPROVEN) == "BRPOP came once, and no reply to the one that the fault waits for: hold it for longer"
    )


def test_a_rule_that_fires_on_the_harness_alone_proves_nothing(stack: LocalStack, link_of: MakeLink) -> None:
    link = link_of()
    course = started(stack, fault("reply_late", link, delay_ms=1), links=[link])
    until(lambda: INJECTED in course.states())
    assert link.ping().result is PingResult.PONG
    assert course.nemesis.join(10)
    assert course.states() == [INJECTED, UNPROVEN, HELD, HEALED]
    assert course.said(UNPROVEN) == f"it fired 1 times, and never on a connection of {link.name}"


def test_hits_are_told_to_the_end(stack: LocalStack, link_of: MakeLink) -> None:
    """Each change tells the operations that were met so far; the last one all of them."""
    link, server = link_of(), stack.redis.client
    server.delete("work")
    with redis_py.Redis(host=link.host, port=link.port, retry=None) as client:
        course = started(stack, fault("reply_lost", link, command="BRPOP", hold_s=600.0), links=[link])
        until(lambda: INJECTED in course.states())
        for op in (3, 14):
            server.rpush("work", f'{{"id": "op-{op}"}}')
            with pytest.raises(redis_py.ConnectionError):
                client.brpop(["work"], timeout=5)
            until(lambda: PROVEN in course.states())
        assert course.nemesis.heal_all()
    assert course.states() == [INJECTED, PROVEN, HELD, HEALED]
    assert [hit.op for hit in course.evidence(PROVEN).hits] == [3]
    hits = course.evidence(HEALED).hits
    assert [(hit.op, hit.what) for hit in hits] == [(3, "BRPOP, reply lost (reset)"), (14, "BRPOP, reply lost (reset)")]
    assert hits[0].at_ns < hits[1].at_ns < time.monotonic_ns()
    assert course.evidence(HELD).hits == hits


def test_a_hit_right_before_the_heal_is_told(stack: LocalStack, link_of: MakeLink) -> None:
    """Nobody has looked since: the rule itself tells when it is removed."""
    link, server = link_of(), stack.redis.client
    server.rpush("work", "op-21")
    planned = fault("reply_lost", link, command="BRPOP")
    made = planned.make({link.name: link}, {})
    made.inject()
    with redis_py.Redis(host=link.host, port=link.port, retry=None) as client, pytest.raises(redis_py.ConnectionError):
        client.brpop(["work"], timeout=5)
    assert made.hits() == ()
    made.heal()
    made.heal()
    assert [hit.op for hit in made.hits()] == [21]


# --- right before the heal -----------------------------------------------------------------------------------------


def test_faults_of_one_link_that_overlap_hold(stack: LocalStack, link_of: MakeLink) -> None:
    """One hides the other from a PING; each is still told by its own trace, and its heal leaves the others alone."""
    link = link_of()
    with talking(link):
        course = ran(
            stack,
            fault("latency", link, 1.2, round_trip_ms=20),
            fault("reply_late", link, 1.3, 0.05, delay_ms=1),
            fault("black_hole_replies", link, 0.8, 0.3),
            fault("refused", link, 1.0, 0.6),
            links=[link],
        )
    for index in range(4):
        assert course.states(index) == [INJECTED, PROVEN, HELD, HEALED], index
    healed = [change.index for change in course.changes if change.state is HEALED]
    assert healed == [2, 0, 1, 3], "in the order of their heals"
    assert link.ping().result is PingResult.PONG


def test_a_fault_that_another_one_hides_is_not_waited_for(stack: LocalStack, link_of: MakeLink) -> None:
    """In a black hole a PING would wait for its answer, and the heal with it."""
    link = link_of()
    with talking(link):
        course = started(
            stack, fault("latency", link, 0.8, round_trip_ms=20), fault("black_hole", link, 4.0, 0.3), links=[link]
        )
        until(lambda: HELD in course.states(0))
        assert HEALED not in course.states(1)
        assert course.nemesis.join(10)
    assert course.states(0) == course.states(1) == [INJECTED, PROVEN, HELD, HEALED]


def test_two_faults_that_refuse_one_link_are_an_error(stack: LocalStack, link_of: MakeLink) -> None:
    link = link_of()
    with talking(link):
        course = ran(stack, fault("refused", link, 0.6), fault("refused", link, 0.2, 0.2), links=[link])
    assert course.states(0) == [INJECTED, PROVEN, HELD, HEALED]
    assert course.states(1) == [UNPROVEN, HEALED]
    assert "it is refused already" in course.said(UNPROVEN, 1)


@pytest.mark.parametrize("kind", ["black_hole", "refused", "latency"])
def test_the_last_look_does_not_make_the_heal_late(stack: LocalStack, link_of: MakeLink, kind: str) -> None:
    link, hold_s = link_of(), 0.5
    with talking(link):
        began = time.monotonic()
        course = started(stack, fault(kind, link, hold_s), links=[link])
        until(lambda: HELD in course.states())
        looked_s = time.monotonic() - began
        until(lambda: HEALED in course.states())
    assert looked_s < hold_s + 0.15, "a look takes 150 ms at the most, and begins before"
    assert looked_s > hold_s - 0.2, "and not long before"


def test_distance_is_not_taken_for_latency(stack: LocalStack, link_of: MakeLink) -> None:
    """Where Redis is far away, a fault's own delay has to come on top."""
    link = link_of()
    link.api.add_toxic(link.name, "latency", stream="upstream", attributes={"latency": 40}, name="distance_upstream")  # type: ignore[arg-type]
    with talking(link):
        course = ran(stack, fault("latency", link, round_trip_ms=20), links=[link])
        assert course.states() == [INJECTED, PROVEN, HELD, HEALED]
        assert float(course.said(PROVEN).split()[2]) >= 60
        latency = Latency(link, round_trip_ms=20)
        latency.inject()
        link.api.remove_toxics(link.name, ["latency_upstream", "latency_downstream"])
        assert latency.prove() is None and not latency.holds()
        latency.heal()


# --- what is left --------------------------------------------------------------------------------------------------


def test_a_rule_that_is_left_behind_is_seen(stack: LocalStack) -> None:
    """On any link, whatever its fault says of itself."""
    api = CommandClient.beside(stack.links["producer-1"].api)
    for name in stack.links:
        rule = api.add_rule(name, at="before", action="delay", delay=1, command="GET")
        assert stack.whole() == f"link {name} still carries rule {rule.name}"
        api.remove_rule(name, rule.name)
        assert not stack.whole().startswith("link")


def test_a_listener_that_fails_does_not_stop_the_heal(stack: LocalStack, link_of: MakeLink) -> None:
    link = link_of()
    course: Course = started(stack, fault("refused", link, 600.0), links=[link])

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    until(lambda: INJECTED in course.states())
    course.nemesis._listener = full
    assert not course.nemesis.heal_all(), "the record is not whole"
    assert "could not be recorded: OSError: [Errno 28] No space left" in course.nemesis.unhealed[0]
    assert link.ping().result is PingResult.PONG
