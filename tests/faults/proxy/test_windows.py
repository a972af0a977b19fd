"""The extensions: toxics that come with their proxy, toxics and outages that last a while."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy_support import Http, TcpServer, connect, error, round_trip_s, running_server
from waiting import until

LATENCY = {"type": "latency", "attributes": {"latency": 150}}


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    """Only the embedded server has these."""
    with running_server("--seed", "1") as server:
        yield Http(server.host, server.port)


@pytest.fixture
def spec(http: Http, echo_server: TcpServer) -> dict[str, Any]:
    """A proxy that can be made; none exists."""
    for name in http("GET", "/proxies").json:
        http("DELETE", f"/proxies/{name}")
    return {"name": "w", "listen": "127.0.0.1:0", "upstream": echo_server.address}


def port_of(proxy: dict[str, Any]) -> int:
    return int(proxy["listen"].rpartition(":")[2])


class TestToxicsWithTheProxy:
    @pytest.mark.parametrize("route", ["/proxies", "/populate"])
    def test_the_first_connection_meets_them(self, http: Http, spec: dict[str, Any], route: str) -> None:
        body = {**spec, "toxics": [{"type": "noop", "stream": "upstream"}, LATENCY]}
        answer = http("POST", route, body if route == "/proxies" else [body])
        assert answer.status == 201
        made = answer.json if route == "/proxies" else answer.json["proxies"][0]
        assert [toxic["name"] for toxic in made["toxics"]] == ["noop_upstream", "latency_downstream"]
        with connect(port_of(made)) as sock:
            assert round_trip_s(sock) > 0.14

    def test_a_config_can_have_toxics(self, tmp_path: Path, spec: dict[str, Any]) -> None:
        config = tmp_path / "proxies.json"
        config.write_text(json.dumps([{**spec, "toxics": [LATENCY]}]))
        with running_server("-config", str(config)) as server:
            made = Http(server.host, server.port)("GET", "/proxies/w").json
            assert made["toxics"][0]["attributes"]["latency"] == 150

    @pytest.mark.parametrize(
        ("toxics", "status", "text"),
        [
            ([{"type": "nonsense"}], 400, "invalid toxic type"),
            ([LATENCY, LATENCY], 409, "toxic already exists"),
            (
                {},
                400,
                "bad request body: json: cannot unmarshal object into Go struct field Proxy.toxics "
                "of type []toxics.ToxicWrapper",
            ),
        ],
    )
    def test_a_proxy_is_made_with_all_its_toxics_or_not_at_all(
        self, http: Http, spec: dict[str, Any], toxics: object, status: int, text: str
    ) -> None:
        answer = http("POST", "/proxies", {**spec, "toxics": toxics})
        assert (answer.status, answer.text) == (status, error(text, status))
        assert http("GET", "/proxies").text == "{}"

    def test_populate_says_which_proxy(self, http: Http, spec: dict[str, Any]) -> None:
        answer = http("POST", "/populate", [spec, {**spec, "name": "v", "toxics": [{}]}])
        assert (answer.status, answer.json["error"]) == (400, "invalid toxic type at proxy 2")
        assert http("GET", "/proxies").text == "{}"

    def test_what_is_shown_can_be_restored(self, http: Http, spec: dict[str, Any]) -> None:
        http("POST", "/proxies", {**spec, "toxics": [{**LATENCY, "toxicity": 0.5}]})
        shown = list(http("GET", "/proxies").json.values())
        http("DELETE", "/proxies/w")
        assert http("POST", "/populate", shown).json["proxies"] == shown


class TestWindows:
    def test_a_toxic_begins_and_ends_on_time(self, http: Http, spec: dict[str, Any]) -> None:
        port = port_of(http("POST", "/proxies", spec).json)
        with connect(port) as sock:
            start_s = time.monotonic()
            shown = http("POST", "/proxies/w/toxics", {**LATENCY, "after": 300, "for": 400})
            assert shown.text.endswith('"toxicity":1,"after":300,"for":400}')
            assert round_trip_s(sock) < 0.14
            until(lambda: round_trip_s(sock) >= 0.14, "the toxic to begin")
            assert time.monotonic() - start_s > 0.3
            until(lambda: http("GET", "/proxies/w/toxics").text == "[]", "the toxic to end")
            assert time.monotonic() - start_s > 0.69
            assert round_trip_s(sock) < 0.14

    def test_new_connections_do_not_meet_it_before_its_time(self, http: Http, spec: dict[str, Any]) -> None:
        port = port_of(http("POST", "/proxies", {**spec, "toxics": [{**LATENCY, "after": 60_000}]}).json)
        with connect(port) as sock:
            assert round_trip_s(sock) < 0.14

    def test_a_waiting_toxic_can_be_changed_and_removed(self, http: Http, spec: dict[str, Any]) -> None:
        port = port_of(http("POST", "/proxies", spec).json)
        http("POST", "/proxies/w/toxics", {"type": "latency", "after": 200, "name": "one"})
        http("POST", "/proxies/w/toxics", {"type": "timeout", "after": 200, "name": "two"})
        assert http("PATCH", "/proxies/w/toxics/one", {"attributes": {"latency": 150}}).json["after"] == 200
        assert http("DELETE", "/proxies/w/toxics/two").status == 204
        with connect(port) as sock:
            until(lambda: round_trip_s(sock) >= 0.14, "the toxic to begin")

    def test_a_removal_or_a_reset_ends_the_clock(self, http: Http, spec: dict[str, Any]) -> None:
        http("POST", "/proxies", spec)
        for remove in (lambda: http("DELETE", "/proxies/w/toxics/x"), lambda: http("POST", "/reset")):
            http("POST", "/proxies/w/toxics", {"type": "noop", "name": "x", "for": 150})
            remove()
            http("POST", "/proxies/w/toxics", {"type": "noop", "name": "x"})
            time.sleep(0.25)  # past the end of the first one
            assert len(http("GET", "/proxies/w/toxics").json) == 1
            http("DELETE", "/proxies/w/toxics/x")

    @pytest.mark.parametrize("member", ["after", "for"])
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (-1, "must be between 0 and 2592000000 ms: -1"),
            (2_592_000_001, "must be between 0 and 2592000000 ms: 2592000001"),
            (1.5, "cannot unmarshal number 1.5 into Go struct field"),
        ],
    )
    def test_a_bad_time_is_refused(
        self, http: Http, spec: dict[str, Any], member: str, value: float, text: str
    ) -> None:
        http("POST", "/proxies", spec)
        answer = http("POST", "/proxies/w/toxics", {"type": "noop", member: value})
        assert answer.status == 400
        assert text in answer.json["error"]


class TestOutage:
    def test_a_proxy_comes_back(self, http: Http, spec: dict[str, Any]) -> None:
        made = http("POST", "/proxies", spec).json
        start_s = time.monotonic()
        assert http("PATCH", "/proxies/w", {"enabled": False, "for": 300}).json["enabled"] is False
        with pytest.raises(ConnectionRefusedError):
            connect(port_of(made))
        until(lambda: http("GET", "/proxies/w").json["enabled"], "the proxy to come back")
        assert time.monotonic() - start_s > 0.29
        with connect(port_of(made)) as sock:
            round_trip_s(sock)

    def test_a_later_change_has_the_last_word(self, http: Http, spec: dict[str, Any]) -> None:
        http("POST", "/proxies", spec)
        http("PATCH", "/proxies/w", {"enabled": False, "for": 150})
        http("PATCH", "/proxies/w", {"enabled": False})
        time.sleep(0.25)  # past the time of the first one
        assert http("GET", "/proxies/w").json["enabled"] is False
