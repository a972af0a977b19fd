"""The proxy as a process: what it prints, how it ends, and what it refuses to start with."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from proxy_support import Http, TcpServer, connect, round_trip_s, running_server

from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "taskchaos.faults.proxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def assert_one_line(text: str, *parts: str) -> None:
    assert text.count("\n") == 1, text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_one_line_of_json_and_exits_promptly(
    loop: str, number: signal.Signals, echo_server: TcpServer
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with running_server("--loop", loop) as server:
        assert (server.host, server.port > 0) == ("127.0.0.1", True)
        client = ToxiproxyClient(server.host, server.port)
        proxy = client.create("x", echo_server.address)
        client.add_toxic("x", "latency", stream=Stream.UPSTREAM, attributes={"latency": 60_000})
        with connect(proxy.port) as sock, connect(server.port):
            sock.sendall(b"x")
            server.process.send_signal(number)
            assert server.process.wait(5) == 0, "it does not wait until the latency is over"
            assert server.process.stdout is not None
            assert server.process.stdout.read() == ""
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass  # the byte may have been unread, then a close is a reset


def test_it_exits_while_it_dials() -> None:
    with socket.socket() as full, running_server() as server:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        proxy = ToxiproxyClient(server.host, server.port).create("x", f"127.0.0.1:{full.getsockname()[1]}")
        with connect(proxy.port):
            server.process.terminate()
            assert server.process.wait(5) == 0
        for filler in fillers:
            filler.close()


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert_one_line(ended.stderr, f"127.0.0.1:{port}", "address already in use")


def test_proxies_of_the_config_are_made(tmp_path: Path, echo_server: TcpServer) -> None:
    config = tmp_path / "proxies.json"
    config.write_text(json.dumps([{"name": "a", "listen": "127.0.0.1:0", "upstream": echo_server.address}]))
    with running_server("--config", str(config)) as server:
        proxy = ToxiproxyClient(server.host, server.port).proxy("a")
        with connect(proxy.port) as sock:
            round_trip_s(sock)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("[", "unexpected EOF"),
        ('[{"name": "a"}]', "missing required field: upstream at proxy 1"),
        ('[{"name": "a", "upstream": "u:1", "listen": "nonsense"}]', "missing port in address"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path: Path, content: str | None, reason: str) -> None:
    config = tmp_path / "proxies.json"
    if content is not None:
        config.write_text(content)
    ended = run("--port", "0", "--config", str(config))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert_one_line(ended.stderr, str(config), reason)


def test_the_reported_version_can_be_chosen() -> None:
    with running_server("--report-version", "git") as server:
        assert Http(server.host, server.port)("GET", "/version").text == '{"version": "git"}\n'
