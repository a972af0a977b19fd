"""Changes under guard: an answer that is lost is no change lost or made twice, and removals close what they must."""

from collections.abc import Callable
from typing import Any

import pytest
from guarded_support import LOST_AFTER, LOST_BEFORE, Front, Owner, closed, furnish
from proxy_support import TcpServer, connect, round_trip_s

from taskchaos.faults.base import Link
from taskchaos.faults.guarded import GuardedClient
from taskchaos.faults.network import BlackHole, Reset
from taskchaos.faults.toxiproxy import AlreadyExists, NotFound, Stream, ToxiproxyClient, ToxiproxyError

UP, DOWN = Stream.UPSTREAM, Stream.DOWNSTREAM

#: By the call: what it does after `furnish`, and the one change that the server is to see, as a part of its path.
CHANGES: dict[str, tuple[Callable[[GuardedClient], Any], Any, str]] = {
    "create": (lambda api: api.create("new", "127.0.0.1:9").enabled, True, "POST /proxies"),
    "enable": (lambda api: api.set_enabled("producer", True).enabled, True, "POST /proxies/producer"),
    "disable": (lambda api: api.set_enabled("plain", False).enabled, False, "POST /proxies/plain"),
    "add": (
        lambda api: api.add_toxic("plain", "latency", stream=UP, attributes={"latency": 7}).attributes,
        {"latency": 7, "jitter": 0},
        "POST /proxies/plain/toxics",
    ),
    "update": (
        lambda api: api.update_toxic("worker", "first", {"latency": 9}).attributes,
        {"latency": 9, "jitter": 0},
        "POST /proxies/worker/toxics/first",
    ),
    "remove": (lambda api: api.remove_toxic("worker", "first"), True, "DELETE /proxies/worker/toxics/first"),
    "delete": (lambda api: api.delete("worker"), True, "DELETE /proxies/worker"),
}


class TestLostAnswers:
    @pytest.mark.parametrize("lost", [LOST_BEFORE, LOST_AFTER], ids=["before", "after"])
    @pytest.mark.parametrize("change", list(CHANGES))
    def test_a_change_whose_answer_is_lost_is_made_once(self, front: Front, change: str, lost: str) -> None:
        call, expected, request = CHANGES[change]
        api = front.client()
        furnish(api, "127.0.0.1:9")
        front.changes.clear()
        front.lose = [lost]
        assert call(api) == expected
        assert [made for made in front.changes if made == request] == [request]
        assert api.proxies() == front.owner.states()
        assert front.owner.restarts == 0
        assert front.owner.told == [], "nothing was lost that a verdict would have to know of"

    @pytest.mark.parametrize("lost", [LOST_BEFORE, LOST_AFTER], ids=["before", "after"])
    def test_a_reset_whose_answer_is_lost_is_made(self, front: Front, lost: str) -> None:
        api = front.client()
        furnish(api, "127.0.0.1:9")
        front.lose = [lost]
        api.reset()
        assert all(state.enabled and not state.toxics for state in front.owner.states().values())

    @pytest.mark.parametrize("answers", range(4))
    @pytest.mark.parametrize("lost", [LOST_BEFORE, LOST_AFTER], ids=["before", "after"])
    def test_a_drain_that_loses_an_answer_ends_enabled(self, front: Front, lost: str, answers: int) -> None:
        """Disable, two removals, enable: whichever is lost, it ends enabled and without them."""
        api = front.client()
        proxy = api.create("p", "127.0.0.1:9")
        fault = Reset(Link("p", proxy.host, proxy.port, api))
        fault.inject()
        front.lose = [""] * answers + [lost]
        fault.heal()
        assert api.proxy("p") == proxy

    def test_refusals_stay_refusals(self, front: Front) -> None:
        """What was wrong with the call is said, also when the first answer was lost; nothing is kept of it."""
        api = front.client()
        api.create("p", "127.0.0.1:9")
        for lost in ("", LOST_BEFORE, LOST_AFTER):
            front.lose = [lost] if lost else []
            with pytest.raises(ToxiproxyError, match="invalid toxic type"):
                api.add_toxic("p", "nonsense", stream=UP, attributes={})
        front.lose = []
        with pytest.raises(AlreadyExists):
            api.create("p", "127.0.0.1:9")
        api.add_toxic("p", "latency", stream=UP, attributes={"latency": 1}, name="t")
        with pytest.raises(AlreadyExists):
            api.add_toxic("p", "latency", stream=DOWN, attributes={"latency": 1}, name="t")
        with pytest.raises(NotFound):
            api.update_toxic("p", "none", {"latency": 1})
        with pytest.raises(NotFound):
            api.set_enabled("nobody's", True)
        assert api.remove_toxic("nobody's", "t") is False
        assert api.delete("nobody's") is False
        assert [toxic.name for toxic in api.proxy("p").toxics] == ["t"]

    def test_a_proxy_of_somebody_else_is_not_taken_for_ones_own(self, front: Front) -> None:
        api = front.client()
        server = front.owner.server
        ToxiproxyClient(server.host, server.port).create("p", "127.0.0.1:8")
        front.lose = [LOST_BEFORE]
        with pytest.raises(AlreadyExists):
            api.create("p", "127.0.0.1:9")


class TestDrain:
    def test_one_drain_serves_all_toxics(self, front: Front) -> None:
        api = front.client()
        api.create("p", "127.0.0.1:9")
        for name in ("a", "b"):
            api.add_toxic("p", "reset_peer", stream=UP, attributes={"timeout": 0}, name=name)
        front.changes.clear()
        api.remove_toxics("p", ["a", "b"])
        switch, toxic = "POST /proxies/p", "DELETE /proxies/p/toxics/"
        assert front.changes == [switch, f"{toxic}a", f"{toxic}b", switch]
        front.changes.clear()
        api.remove_toxics("p", ["a", "b"])
        assert switch not in front.changes, "nothing is closed for toxics that are gone"

    def test_a_black_hole_is_healed_without_refusing_anybody(self, front: Front) -> None:
        """A client that is refused once may wait for long: that would be another fault."""
        api = front.client()
        state = api.create("p", "127.0.0.1:9")
        fault = BlackHole(Link("p", state.host, state.port, api))
        fault.inject()
        front.changes.clear()
        fault.heal()
        assert front.changes == [f"DELETE /proxies/p/toxics/black_hole_{stream.value}" for stream in Stream]

    def test_a_disabled_proxy_stays_disabled(self, owner: Owner) -> None:
        api = owner.client()
        api.create("p", "127.0.0.1:9")
        api.add_toxic("p", "timeout", stream=UP, attributes={"timeout": 0}, name="t")
        api.set_enabled("p", False)
        assert api.remove_toxic("p", "t") is True
        assert owner.states()["p"].enabled is False

    @pytest.mark.parametrize(("type", "closes"), [("latency", False), ("bandwidth", False), ("timeout", True)])
    def test_a_removal_closes_only_what_would_break_anyway(
        self, owner: Owner, echo_server: TcpServer, type: str, closes: bool
    ) -> None:
        attributes = {"latency": {"latency": 1}, "bandwidth": {"rate": 1000}, "timeout": {"timeout": 0}}
        api = owner.client()
        proxy = api.create("p", echo_server.address)
        with connect(proxy.port) as sock:
            round_trip_s(sock)
            api.add_toxic("p", type, stream=DOWN, attributes=attributes[type], name="t")
            assert api.remove_toxic("p", "t") is True
            if closes:
                assert closed(sock)
            else:
                round_trip_s(sock)
        with connect(proxy.port) as sock:
            round_trip_s(sock)
        assert owner.restarts == 0
