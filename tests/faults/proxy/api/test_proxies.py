"""The REST API as clients of Toxiproxy 2.12 know it: status codes, bodies, texts, order."""

import random
import re
import socket
from collections.abc import Iterator

import pytest
from proxy_support import Http, ProxyServer, TcpServer, connect, error, round_trip_s


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])


class TestTransport:
    def test_the_version_is_read(self, api: Http) -> None:
        answer = api("GET", "/version")
        assert (answer.status, answer.text) == (200, '{"version": "2.12.0"}\n')
        assert answer.headers["content-type"] == "application/json;charset=utf-8"

    def test_success_is_compact_json(self, api: Http) -> None:
        answer = api("GET", "/proxies")
        assert (answer.status, answer.text, answer.headers["content-type"]) == (200, "{}", "application/json")

    def test_errors_are_json_labelled_as_text(self, api: Http) -> None:
        answer = api("GET", "/proxies/nobody")
        assert (answer.status, answer.text) == (404, error("proxy not found", 404))
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_matched_routes_have_a_request_id(self, api: Http) -> None:
        ids = [api("GET", path).headers["x-toxiproxy-request-id"] for path in ("/version", "/proxies", "/proxies/no")]
        assert len(set(ids)) == 3
        assert all(re.fullmatch("[0-9a-v]{20}", each) for each in ids)

    @pytest.mark.parametrize(
        "path", ["/", "/nothing", "/proxies/", "/metrics", "/proxies/a/toxics/b/c", "/proxies/s%2Fl"]
    )
    def test_an_unknown_path_is_not_found(self, api: Http, path: str) -> None:
        answer = api("GET", path)
        assert (answer.status, answer.text) == (404, "404 page not found\n")
        assert "x-toxiproxy-request-id" not in answer.headers

    @pytest.mark.parametrize(
        ("method", "path"),
        [("PUT", "/proxies"), ("HEAD", "/version"), ("OPTIONS", "/proxies"), ("GET", "/reset"), ("GET", "/populate")],
    )
    def test_a_wrong_method_is_refused(self, api: Http, method: str, path: str) -> None:
        answer = api(method, path)
        assert (answer.status, answer.body) == (405, b"")
        assert "allow" not in answer.headers

    @pytest.mark.parametrize(("path", "clean"), [("//version", "/version"), ("/a/../version", "/version"), ("//", "/")])
    def test_an_unclean_path_is_redirected(self, api: Http, path: str, clean: str) -> None:
        answer = api("GET", path)
        assert (answer.status, answer.headers["location"]) == (301, clean)

    def test_browsers_are_refused(self, api: Http) -> None:
        answer = api("GET", "/proxies", User_Agent="Mozilla/5.0 (X11)")
        assert (answer.status, answer.text) == (403, "User agent not allowed\n")
        assert api("GET", "/nothing", User_Agent="Mozilla/5.0").status == 404
        assert api("GET", "/proxies", User_Agent="mozilla/5.0").status == 200

    def test_pipelined_requests_are_all_answered(self, empty: ProxyServer) -> None:
        with connect(empty.port) as sock:
            request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
            sock.sendall(request * 3)
            received = b""
            while received.count(b'{"version"') < 3:
                received += sock.recv(65536)
        assert received.count(b"HTTP/1.1 200 ") == 3

    def test_garbage_is_refused_and_closed(self, empty: ProxyServer) -> None:
        with connect(empty.port) as sock:
            sock.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            received = b""
            while data := sock.recv(65536):
                received += data
        assert received.startswith(b"HTTP/1.1 400 ")


class TestProxies:
    def test_a_created_proxy_can_be_read(self, api: Http) -> None:
        port = free_port()
        body = {"name": "r1", "listen": f"localhost:{port}", "upstream": "up:1"}
        expected = (
            f'{{"name":"r1","listen":"127.0.0.1:{port}","upstream":"up:1","enabled":true,"Logger":{{}},"toxics":[]}}'
        )
        answer = api("POST", "/proxies", body)
        assert (answer.status, answer.text) == (201, expected)
        assert api("GET", "/proxies/r1").text == expected
        assert api("GET", "/proxies").text == f'{{"r1":{expected}}}'

    def test_the_list_is_sorted(self, api: Http) -> None:
        for each in ("b", "c", "a"):
            api("POST", "/proxies", {"name": each, "upstream": "u:1", "enabled": False})
        assert list(api("GET", "/proxies").json) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("", "bad request body: EOF"),
            ("  ", "bad request body: EOF"),
            ("{", "bad request body: unexpected EOF"),
            ('{"name": "a', "bad request body: unexpected EOF"),
            ("garbage", "bad request body: invalid character 'g' looking for beginning of value"),
            ("{1:2}", "bad request body: invalid character '1' looking for beginning of object key string"),
            ('{"a" 1}', "bad request body: invalid character '1' after object key"),
            ('{"a":1 "b":2}', "bad request body: invalid character '\\\"' after object key:value pair"),
            ("NaN", "bad request body: invalid character 'N' looking for beginning of value"),
            ("[]", "bad request body: json: cannot unmarshal array into Go value of type toxiproxy.Proxy"),
            (
                '{"name":1}',
                "bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string",
            ),
            ("{}", "missing required field: name"),
            ("null", "missing required field: name"),
            ('{"name":""}', "missing required field: name"),
            ('{"name":"x"}', "missing required field: upstream"),
        ],
    )
    def test_a_bad_body_is_refused(self, api: Http, body: str, text: str) -> None:
        answer = api("POST", "/proxies", body)
        assert (answer.status, answer.text) == (400, error(text, 400))
        assert api("GET", "/proxies").text == "{}"

    def test_a_body_is_read_leniently(self, api: Http) -> None:
        body = '{"NAME":"x","Upstream":"u:1","Listen":"127.0.0.1:0","enabled":null,"x":[1],"toxics":null} trailing'
        answer = api("POST", "/proxies", body)
        assert answer.status == 201
        assert answer.json["enabled"] is True
        assert answer.json["toxics"] == []

    def test_a_duplicate_is_refused_before_its_address_is_bound(self, api: Http, name: str, busy_port: int) -> None:
        answer = api("POST", "/proxies", {"name": name, "upstream": "u:1", "listen": f"127.0.0.1:{busy_port}"})
        assert (answer.status, answer.text) == (409, error("proxy already exists", 409))

    def test_a_port_in_use_is_an_error(self, api: Http, busy_port: int) -> None:
        answer = api("POST", "/proxies", {"name": "x", "upstream": "u:1", "listen": f"127.0.0.1:{busy_port}"})
        text = f"listen tcp 127.0.0.1:{busy_port}: bind: address already in use"
        assert (answer.status, answer.text) == (500, error(text, 500))
        assert api("GET", "/proxies/x").status == 404

    @pytest.mark.parametrize(
        ("listen", "text"),
        [
            ("local373", "listen tcp: address local373: missing port in address"),
            ("127.0.0.1:99999", "listen tcp: address 99999: invalid port"),
            ("::1:80:", "listen tcp: address ::1:80:: too many colons in address"),
        ],
    )
    def test_a_bad_listen_address_is_an_error(self, api: Http, listen: str, text: str) -> None:
        answer = api("POST", "/proxies", {"name": "x", "upstream": "u:1", "listen": listen})
        assert (answer.status, answer.text) == (500, error(text, 500))

    @pytest.mark.parametrize("listen", [None, "", ":0", "0.0.0.0:0"])
    def test_a_wildcard_address_is_shown_with_its_port(self, api: Http, listen: str | None) -> None:
        shown = api("POST", "/proxies", {"name": "x", "upstream": "u:1", "listen": listen}).json["listen"]
        # On a machine without IPv6 the wildcard is the IPv4 one.
        assert re.fullmatch(r"(\[::\]|0\.0\.0\.0):[1-9]\d*", shown)

    def test_a_disabled_proxy_keeps_its_address_as_given(self, api: Http) -> None:
        created = api("POST", "/proxies", {"name": "x", "upstream": "u:1", "listen": "localhost:0", "enabled": False})
        assert created.json["listen"] == "localhost:0"
        assert created.json["enabled"] is False
        enabled = api("POST", "/proxies/x", {"enabled": True}).json
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", enabled["listen"])

    def test_a_deleted_proxy_is_not_found(self, api: Http, name: str) -> None:
        answer = api("DELETE", f"/proxies/{name}")
        assert (answer.status, answer.body) == (204, b"")
        assert api("DELETE", f"/proxies/{name}").text == error("proxy not found", 404)

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    def test_an_update_changes_all_but_the_name(self, api: Http, name: str, method: str) -> None:
        api("POST", f"/proxies/{name}/toxics", {"type": "noop"})
        port = free_port()
        answer = api(method, f"/proxies/{name}", {"name": "other", "listen": f"localhost:{port}", "upstream": "new:1"})
        assert answer.status == 200
        assert (answer.json["name"], answer.json["listen"]) == (name, f"127.0.0.1:{port}")
        assert answer.json["upstream"] == "new:1"
        assert len(answer.json["toxics"]) == 1

    @pytest.mark.parametrize("body", [{}, None, "null", '{"enabled": null}'])
    def test_an_empty_update_changes_nothing(self, api: Http, name: str, body: object) -> None:
        before = api("GET", f"/proxies/{name}").text
        answer = api("PATCH", f"/proxies/{name}", body)
        assert (answer.status, answer.text) == (
            (200, before) if body is not None else (400, error("bad request body: EOF", 400))
        )

    def test_an_update_of_an_unknown_proxy_is_not_found(self, api: Http) -> None:
        assert api("PATCH", "/proxies/no", "garbage").text == error("proxy not found", 404)

    def test_a_failed_update_changes_nothing(self, api: Http, name: str, busy_port: int) -> None:
        before = api("GET", f"/proxies/{name}").json
        answer = api("PATCH", f"/proxies/{name}", {"listen": f"127.0.0.1:{busy_port}", "upstream": "new:1"})
        text = f"listen tcp 127.0.0.1:{busy_port}: bind: address already in use"
        assert (answer.status, answer.text) == (500, error(text, 500))
        bad = api("PATCH", f"/proxies/{name}", {"listen": "nonsense"})
        assert (bad.status, bad.text) == (500, error("address nonsense: missing port in address", 500))
        assert api("GET", f"/proxies/{name}").json == before
        connect(int(before["listen"].rpartition(":")[2])).close()

    def test_the_same_address_keeps_connections(self, api: Http, echo_server: TcpServer) -> None:
        port = free_port()
        body = {"name": "x", "listen": f"127.0.0.1:{port}", "upstream": echo_server.address}
        api("POST", "/proxies", body)
        with connect(port) as sock:
            round_trip_s(sock)
            assert api("PATCH", "/proxies/x", {"listen": f"localhost:{port}", "enabled": True}).status == 200
            round_trip_s(sock)
            assert api("PATCH", "/proxies/x", {"upstream": "elsewhere:1"}).status == 200
            assert sock.recv(1) == b""

    def test_a_proxy_can_move_to_the_wildcard_of_its_port(self, api: Http) -> None:
        port = free_port()
        api("POST", "/proxies", {"name": "x", "listen": f"127.0.0.1:{port}", "upstream": "u:1"})
        assert api("PATCH", "/proxies/x", {"listen": f"0.0.0.0:{port}"}).status == 200
        connect(port).close()


class TestPopulate:
    def test_proxies_are_created_in_order(self, api: Http) -> None:
        body = [
            {"name": "z", "listen": "127.0.0.1:0", "upstream": "u:1"},
            {"name": "a", "listen": "localhost:0", "upstream": "u:2", "enabled": False},
        ]
        answer = api("POST", "/populate", body)
        assert answer.status == 201
        assert [(each["name"], each["enabled"], each["toxics"]) for each in answer.json["proxies"]] == [
            ("z", True, []),
            ("a", False, []),
        ]

    @pytest.mark.parametrize("body", ["[]", "null"])
    def test_an_empty_list_creates_nothing(self, api: Http, body: str) -> None:
        answer = api("POST", "/populate", body)
        assert (answer.status, answer.text) == (201, '{"proxies":null}')

    @pytest.mark.parametrize(
        ("second", "text"),
        [
            ({"upstream": "u:1"}, "missing required field: name at proxy 2"),
            ({"name": "b"}, "missing required field: upstream at proxy 2"),
        ],
    )
    def test_all_proxies_are_checked_before_one_is_created(self, api: Http, second: dict[str, str], text: str) -> None:
        answer = api("POST", "/populate", [{"name": "a", "upstream": "u:1"}, second])
        assert (answer.status, answer.text) == (400, f'{{"error":"{text}","status":400,"proxies":null}}')
        assert answer.headers["content-type"] == "application/json"
        assert api("GET", "/proxies").text == "{}"

    def test_what_is_not_a_list_is_refused(self, api: Http) -> None:
        answer = api("POST", "/populate", {"name": "a"})
        assert answer.status == 400
        assert answer.json["error"].startswith(
            "bad request body: json: cannot unmarshal object into Go value of type []"
        )
        assert answer.json["proxies"] is None

    def test_it_stops_at_the_first_failure(self, api: Http) -> None:
        body = [
            {"name": "a", "listen": "127.0.0.1:0", "upstream": "u:1"},
            {"name": "b", "listen": "local373", "upstream": "u:1"},
            {"name": "c", "listen": "127.0.0.1:0", "upstream": "u:1"},
        ]
        answer = api("POST", "/populate", body)
        assert (answer.status, answer.json["error"]) == (500, "listen tcp: address local373: missing port in address")
        assert [each["name"] for each in answer.json["proxies"]] == ["a"]
        assert list(api("GET", "/proxies").json) == ["a"]

    def test_an_equal_proxy_is_left_alone_and_another_is_replaced(self, api: Http, echo_server: TcpServer) -> None:
        port = free_port()
        body = [{"name": "a", "listen": f"127.0.0.1:{port}", "upstream": echo_server.address}]
        api("POST", "/populate", body)
        api("POST", "/proxies/a/toxics", {"type": "noop"})
        with connect(port) as sock:
            round_trip_s(sock)
            body[0]["listen"] = f"localhost:{port}"
            again = api("POST", "/populate", [{**body[0], "enabled": False}]).json["proxies"][0]
            assert (again["enabled"], len(again["toxics"])) == (True, 1)
            round_trip_s(sock)
            replaced = api("POST", "/populate", [{**body[0], "upstream": "other:1"}]).json["proxies"][0]
            assert (replaced["upstream"], replaced["toxics"]) == ("other:1", [])
            assert sock.recv(1) == b""


class TestReset:
    def test_a_reset_enables_all_and_removes_toxics(self, api: Http) -> None:
        for each in ("a", "b"):
            api("POST", "/proxies", {"name": each, "listen": "127.0.0.1:0", "upstream": "u:1", "enabled": each == "a"})
            api("POST", f"/proxies/{each}/toxics", {"type": "noop"})
        answer = api("POST", "/reset", "ignored")
        assert (answer.status, answer.body) == (204, b"")
        assert [(each["enabled"], each["toxics"]) for each in api("GET", "/proxies").json.values()] == [(True, [])] * 2

    def test_a_reset_says_what_cannot_be_enabled_and_resets_the_rest(self, api: Http, busy_port: int) -> None:
        api("POST", "/proxies", {"name": "a", "listen": f"127.0.0.1:{busy_port}", "upstream": "u:1", "enabled": False})
        api("POST", "/proxies", {"name": "b", "listen": "127.0.0.1:0", "upstream": "u:1", "enabled": False})
        answer = api("POST", "/reset")
        text = f"listen tcp 127.0.0.1:{busy_port}: bind: address already in use"
        assert (answer.status, answer.text) == (500, error(text, 500))
        assert [each["enabled"] for each in api("GET", "/proxies").json.values()] == [False, True]
