"""What toxiproxy-cli 2.12 sends, byte for byte as recorded from it, and what it has to be answered.

It asks for the proxy before each change, on the same connection, and gives attributes as numbers of Go's float64.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from proxy_support import ProxyServer, connect, error

HEADERS = "Host: 127.0.0.1:8474\r\nUser-Agent: toxiproxy-cli/git (linux/amd64)\r\n"
TAIL = "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"


@dataclass
class Cli:
    """One command of the tool is one connection."""

    server: ProxyServer

    def __call__(self, *requests: tuple[str, str, str]) -> list[tuple[int, str]]:
        answers = []
        with connect(self.server.port) as sock, sock.makefile("rb") as stream:
            for method, path, body in requests:
                length = f"Content-Length: {len(body)}\r\n" if body else ""
                sock.sendall(f"{method} {path} HTTP/1.1\r\n{HEADERS}{length}{TAIL}{body}".encode())
                version, status, reason = stream.readline().decode().split(" ", 2)
                assert (version, bool(reason.strip())) == ("HTTP/1.1", True)
                size = 0
                while line := stream.readline().strip().lower():
                    if line.startswith(b"content-length:"):
                        size = int(line.partition(b":")[2])
                answers.append((int(status), stream.read(size).decode()))
        return answers


@pytest.fixture
def cli(empty: ProxyServer) -> Cli:
    return Cli(empty)


@pytest.fixture
def redis(cli: Cli) -> dict[str, Any]:
    """`create -l 127.0.0.1:0 -u 127.0.0.1:6379 redis`"""
    body = '{"name":"redis","listen":"127.0.0.1:0","upstream":"127.0.0.1:6379","enabled":true,"toxics":null}'
    ((status, text),) = cli(("POST", "/proxies", body))
    assert status == 201
    made: dict[str, Any] = json.loads(text)
    return made


GET = ("GET", "/proxies/redis", "")


def latency(cli: Cli) -> tuple[int, str]:
    """`toxic add -t latency -a latency=100 -a jitter=5 redis`"""
    body = '{"name":"","type":"latency","stream":"downstream","toxicity":1,"attributes":{"jitter":5,"latency":100}}'
    return cli(GET, ("POST", "/proxies/redis/toxics", body))[1]


def test_list_and_inspect_are_answered(cli: Cli) -> None:
    assert cli(("GET", "/proxies", "")) == [(200, "{}")]
    assert cli(("GET", "/proxies/nobody", "")) == [(404, error("proxy not found", 404))]


def test_create_makes_a_proxy_once(cli: Cli, redis: dict[str, Any]) -> None:
    ((status, text),) = cli(GET)
    assert (status, json.loads(text)) == (200, redis)
    body = '{"name":"redis","listen":"127.0.0.1:0","upstream":"x:1","enabled":true,"toxics":null}'
    assert cli(("POST", "/proxies", body)) == [(409, error("proxy already exists", 409))]


@pytest.mark.usefixtures("redis")
def test_toxic_add_shows_what_it_added(cli: Cli) -> None:
    shown = (
        '{"attributes":{"latency":100,"jitter":5},"name":"latency_downstream","type":"latency",'
        '"stream":"downstream","toxicity":1}'
    )
    assert latency(cli) == (200, shown)
    body = '{"name":"cut","type":"limit_data","stream":"upstream","toxicity":0.5,"attributes":{"bytes":1000000}}'
    shown = '{"attributes":{"bytes":1000000},"name":"cut","type":"limit_data","stream":"upstream","toxicity":0.5}'
    assert cli(GET, ("POST", "/proxies/redis/toxics", body))[1] == (200, shown)


@pytest.mark.usefixtures("redis")
def test_toxic_add_with_a_fraction_is_refused(cli: Cli) -> None:
    body = '{"name":"slow","type":"bandwidth","stream":"downstream","toxicity":1,"attributes":{"rate":1.5}}'
    text = "bad request body: json: cannot unmarshal number 1.5 into Go struct field BandwidthToxic.attributes.rate"
    assert cli(GET, ("POST", "/proxies/redis/toxics", body))[1] == (400, error(f"{text} of type int64", 400))


@pytest.mark.usefixtures("redis")
def test_toxic_update_changes_what_it_names(cli: Cli) -> None:
    latency(cli)
    body = '{"attributes":{"jitter":25},"toxicity":1}'
    status, text = cli(GET, ("PATCH", "/proxies/redis/toxics/latency_downstream", body))[1]
    assert (status, json.loads(text)["attributes"]) == (200, {"latency": 100, "jitter": 25})
    assert cli(GET, ("PATCH", "/proxies/redis/toxics/nope", body))[1] == (404, error("toxic not found", 404))


@pytest.mark.usefixtures("redis")
def test_toxic_remove_removes_it(cli: Cli) -> None:
    latency(cli)
    assert cli(GET, ("DELETE", "/proxies/redis/toxics/latency_downstream", ""))[1] == (204, "")
    assert json.loads(cli(GET)[0][1])["toxics"] == []


def test_toggle_disables_and_enables(cli: Cli, redis: dict[str, Any]) -> None:
    for enabled in (False, True):
        shown = {"name": "redis", "listen": redis["listen"], "upstream": "127.0.0.1:6379"}
        body = json.dumps({**shown, "enabled": enabled, "toxics": []}, separators=(",", ":"))
        status, text = cli(GET, ("POST", "/proxies/redis", body))[1]
        assert (status, json.loads(text)) == (200, {**redis, "enabled": enabled})


@pytest.mark.usefixtures("redis")
def test_delete_removes_the_proxy(cli: Cli) -> None:
    assert cli(GET, ("DELETE", "/proxies/redis", ""))[1] == (204, "")
    assert cli(GET) == [(404, error("proxy not found", 404))]
