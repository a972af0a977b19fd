"""The store over HTTP: what it shows, and what it does not give to anybody."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import struct
from pathlib import Path
from urllib.parse import quote

import pytest
from serve_support import write_run

from taskchaos.harness.errors import UsageError
from taskchaos.harness.serve.server import RunServer, is_local


def get(
    server: RunServer, target: str, *, host: str = "", method: str = "GET"
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_the_runs_are_listed_newest_first_with_what_they_came_to(served: RunServer) -> None:
    status, text, headers = get(served, "/")
    assert status == 200
    assert all(name in text for name in ("/runs/run%20a/", "/runs/run-b/", "/runs/broken/"))
    assert "/runs/latest/" not in text and "w-fail" in text and "w-pass" in text and "broken" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_report_is_shown_with_the_files_that_it_links(served: RunServer) -> None:
    status, text, headers = get(served, "/runs/run%20a/")
    assert status == 200 and "chaos test report" in text and headers["Content-Type"].startswith("text/html")
    assert get(served, "/runs/run%20a")[0] == 301
    status, text, headers = get(served, "/runs/run%20a/cases/suite.scenario.mine/detail.json")
    assert status == 200 and json.loads(text)["phases"] and headers["Content-Type"].startswith("text/plain")


def test_two_runs_are_compared(served: RunServer) -> None:
    status, text, _ = get(served, "/compare?before=run%20a&after=run-b")
    assert status == 200 and "REGRESSION" in text and "suite." in text
    assert "fixed" in get(served, "/compare?before=run-b&after=run%20a")[1]


NOT_SERVED = {
    "above the run": "/runs/run-b/../../secret.txt",
    "above the run, encoded": "/runs/run-b/%2e%2e/%2e%2e/secret.txt",
    "above the run, slashes encoded": "/runs/run-b/..%2f..%2fsecret.txt",
    "a link out of the run": "/runs/run-b/out/secret.txt",
    "a link to a run": "/runs/latest/",
    "above the runs": "/runs/../secret.txt",
    "above the runs, encoded": "/runs/%2e%2e/secret.txt",
    "the runs themselves": "/runs//",
    "a whole path": "/runs/run-b//etc/passwd",
    "a null byte": "/runs/run-b/x%00.html",
    "a null byte in a name": "/runs/x%00/",
    "a folder": "/runs/run-b/cases",
    "no such run": "/runs/nobody/",
    "no such page": "/favicon.ico",
    "a run without a report": "/runs/broken/",
    "no runs to compare": "/compare",
    "one run to compare": "/compare?before=run-b",
    "a path to compare": "/compare?before=../secret.txt&after=run-b",
    "a long name": "/runs/" + "x" * 5000 + "/",
}


@pytest.mark.parametrize("target", NOT_SERVED.values(), ids=NOT_SERVED)
def test_nothing_else_is_given(served: RunServer, target: str) -> None:
    status, text, _ = get(served, target)
    assert status == 404, text
    assert "root:" not in text and "Traceback" not in text
    assert text.count("secret") <= target.count("secret")


@pytest.mark.parametrize("raw", [b"b\xff", "gr\u00fcn".encode(), b"a&b=c#d?e", b"% \"'<"])
def test_whatever_bytes_a_name_has_its_links_lead_to_it(served: RunServer, raw: bytes) -> None:
    write_run(served.runs, os.fsdecode(raw))
    status, text, _ = get(served, "/")
    assert status == 200
    place = f"/runs/{quote(raw, safe='')}/"
    assert f'href="{place}"' in text and get(served, place)[0] == 200
    assert get(served, f"/compare?before={quote(raw, safe='')}&after=run-b")[0] == 200


def test_a_run_that_is_made_again_under_its_name_is_followed_anew(served: RunServer) -> None:
    lines = (served.runs / "run-b" / "events.jsonl").read_text()
    assert json.loads(get(served, "/runs/run-b/state.json")[1])["cases"]
    for text, cases in (("", 0), (lines + lines, 1), ("x" * 100, 0)):
        (served.runs / "run-b" / "events.jsonl").unlink()
        (served.runs / "run-b" / "events.jsonl").write_text(text)
        assert len(json.loads(get(served, "/runs/run-b/state.json")[1])["cases"]) == cases


def test_a_pipe_in_the_place_of_events_holds_nobody_up(served: RunServer) -> None:
    (served.runs / "run-b" / "events.jsonl").unlink()
    os.mkfifo(served.runs / "run-b" / "events.jsonl")
    assert get(served, "/runs/run-b/state.json")[0] == 409
    assert get(served, "/")[0] == 200


def test_what_is_no_http_is_not_told_on_the_terminal(served: RunServer, capfd: pytest.CaptureFixture[str]) -> None:
    for said in (
        b"\x16\x03\x01",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.server_port), 10) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            assert b"defect" not in client.recv(1 << 16)
    with socket.create_connection(("127.0.0.1", served.server_port), 10) as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert get(served, "/")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_request_carries_is_not_the_next_request(served: RunServer) -> None:
    hidden = b"GET /runs/run-b/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.server_port), 10) as client:
        head = f"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\n\r\n"
        client.sendall(head.encode() + hidden)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while more := client.recv(1 << 16):
                got += more
    assert got.count(b"HTTP/1.0 200") == 1 and b"chaos test report" not in got


def test_the_other_loopback_address_is_served_too(tmp_path: Path) -> None:
    try:
        server = RunServer(tmp_path, "::1")
    except UsageError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server:
        assert server.address.startswith("http://[::1]:")


def test_a_run_that_cannot_be_compared_says_why(served: RunServer) -> None:
    status, text, _ = get(served, "/compare?before=broken&after=run-b")
    assert (status == 409 or "NOTHING COMPARED" in text) and "Traceback" not in text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8137", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "@", ""]
)
def test_a_name_that_was_made_to_lead_here_is_not_answered(served: RunServer, host: str) -> None:
    assert not is_local(host)
    if host:
        assert get(served, "/", host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8137", "127.0.0.1", "127.0.0.2:80", "[::1]:8137"])
def test_loopback_names_are(served: RunServer, host: str) -> None:
    assert is_local(host) and get(served, "/", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(served: RunServer, method: str) -> None:
    assert get(served, "/", method=method)[0] == 501


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com", ""])
def test_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="only loopback is served"):
        RunServer(tmp_path, host)


def test_a_port_that_is_taken_is_a_clear_error(served: RunServer, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"cannot serve at 127.0.0.1:{served.server_port}: Address already in use; give"
    ):
        RunServer(tmp_path, port=served.server_port)


def test_a_store_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    with RunServer(tmp_path / "none") as server:
        server.start()
        assert "taskchaos run" in get(server, "/")[1]
        server.shutdown()


def test_three_hundred_runs_are_listed(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"run-{number}").mkdir()
        (tmp_path / f"run-{number}" / "verdict.json").write_text("{}")
    write_run(tmp_path, "good")
    with RunServer(tmp_path) as server:
        server.start()
        assert get(server, "/")[1].count("<tr>") == 302
        server.shutdown()
