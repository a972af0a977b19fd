"""The wire journal, the events and the list of connections."""

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
from proxy_support import running_server
from resp_support import Wire, request
from waiting import until

from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.toxiproxy import ToxiproxyError


def entries(wire: Wire) -> list[dict[str, Any]]:
    return wire.api.journal(wire.name)


def test_an_entry_names_command_keys_outcome_and_rule(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    wire.api.add_rule(wire.name, name="r", at="after", action="error", error="OOM no", command="HSET", nth=2)
    client = wire.client(client_name="worker-1")
    client.hset("unacked", "tag", "secret")
    client.get("nothing")
    with pytest.raises(redis.ResponseError):
        client.hset("unacked", "tag", "secret")
    with pytest.raises(redis.ResponseError):
        client.incrby("unacked", 1)
    told = [entry for entry in entries(wire) if entry["keys"]]
    assert [(e["command"], e["keys"], e["outcome"], e["rule"]) for e in told] == [
        ("HSET", ["unacked"], "ok", None),
        ("GET", ["nothing"], "nil", None),
        ("HSET", ["unacked"], "OOM", "r"),
        ("INCRBY", ["unacked"], "WRONGTYPE", None),
    ]
    assert {entry["name"] for entry in told} == {"worker-1"}
    assert "secret" not in json.dumps(told)
    assert told[0]["skeleton"] == told[2]["skeleton"], "the same values have the same checksums"
    assert told[0]["skeleton"].startswith("HSET unacked #")
    assert [entry["index"] for entry in told] == sorted(entry["index"] for entry in told)
    assert all(entry["request_ns"] < entry["reply_ns"] for entry in told)


def test_a_command_without_a_reply_has_an_outcome(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    wire.rule("after", "silence", command="GET", key="s")
    wire.rule("before", "silence", command="GET", key="b")
    wire.rule("after", "close", command="GET", key="c")
    with wire.raw() as sock:
        sock.sendall(request("GET", "s") + request("GET", "b") + request("GET", "c"))
        assert sock.recv(1) == b""
    with wire.raw() as sock:
        sock.sendall(request("BLPOP", "q", "0"))
        until(lambda: entries(wire)[-1]["outcome"] == "pending", "the request")
    until(lambda: entries(wire)[-1]["outcome"] == "no reply", "the end")
    assert [entry["outcome"] for entry in entries(wire)] == ["swallowed", "swallowed", "cut", "no reply"]
    assert entries(wire)[-1]["reply_ns"] is None


def test_blocks_scripts_and_many_arguments_are_written_down(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    client = wire.client()
    with client.pipeline() as pipe:
        pipe.set("a", 1)
        pipe.get("a")
        pipe.execute()
    sha = client.script_load("-- claim.lua\nreturn #KEYS")
    client.evalsha(sha, 2, "k1", "k2", "v")
    client.rpush("l", *range(40))
    told = [(e["command"], e["keys"], e["script"], e["outcome"]) for e in entries(wire)]
    assert told[-7:] == [
        ("MULTI", [], None, "ok"),
        ("SET", ["a"], None, "queued"),
        ("GET", ["a"], None, "queued"),
        ("EXEC", [], None, "ok"),
        ("SCRIPT", [], None, "ok"),
        ("EVALSHA", ["k1", "k2"], "claim", "ok"),
        ("RPUSH", ["l"], None, "ok"),
    ]
    assert entries(wire)[-1]["skeleton"].endswith(" +29")


def test_a_journal_can_be_read_from_an_index_on(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    client = wire.client()
    for number in range(1000):
        client.set("k", number)
    last = entries(wire)[-1]["index"]
    assert [entry["index"] for entry in wire.api.journal(wire.name, since=last - 4)] == list(range(last - 4, last + 1))
    assert wire.api.journal(wire.name, since=last + 1) == []
    wire.api.keep_journal(wire.name, False)
    client.set("k", "unseen")
    assert entries(wire)[-1]["index"] == last


def test_the_journal_file_has_what_is_in_memory(redis_port: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with running_server("--journal", str(path)) as server:
        api = CommandClient(server.host, server.port)
        proxy = api.create("w", f"127.0.0.1:{redis_port}")
        client: redis.Redis[Any] = redis.Redis(port=proxy.port)
        for number in range(100):
            client.set("k", number)
        client.close()
        in_memory = api.journal("w")
        server.process.terminate()
        server.process.wait()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(lines, key=lambda entry: entry["index"]) == in_memory
    assert sum(entry["command"] == "SET" for entry in lines) == 100


def test_connections_are_listed_with_name_and_state(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    client = wire.client(3, client_name="me")
    client.get("k")
    (told,) = [each for each in wire.api.connections() if each["proxy"] == wire.name]
    assert (told["name"], told["first_command"], told["protocol"]) == ("me", "GET", 3)
    assert (told["state"], told["outstanding"]) == ("followed", 0)
    assert told["upstream_bytes"] > 0 < told["downstream_bytes"]


def test_events_are_told_as_they_happen(wire: Wire) -> None:
    seen: list[dict[str, Any]] = []
    done = threading.Event()

    def follow() -> None:
        for event in wire.api.follow_events(since=0):
            if event.get("proxy") == wire.name:
                seen.append(event)
                if event["event"] == "connection_closed":
                    done.set()
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    wire.api.add_rule(wire.name, name="r", at="after", action="close", command="GET")
    wire.api._call(wire.api._api.post, f"/proxies/{wire.name}/toxics", {"type": "noop", "stream": "upstream"})
    with wire.raw() as sock:
        sock.sendall(request("GET", "k"))
        assert sock.recv(1) == b""
    assert done.wait(10)
    kinds = ["rule_added", "toxic_added", "connection_opened", "rule_fired", "connection_closed"]
    assert [event["event"] for event in seen] == kinds
    fired = seen[3]
    assert (fired["rule"], fired["command"], fired["connection"], fired["at"]) == ("r", "GET", 1, "after")


def test_a_reader_of_events_that_leaves_is_forgotten(wire: Wire) -> None:
    with wire.raw():  # so that there is an event, whichever test is the first of this server
        for _ in range(3):
            for event in wire.api.follow_events(since=0):
                assert event["index"] > 0
                break
        assert wire.api.version()


def test_a_rule_that_comes_in_the_middle_of_a_request_acts_on_the_next(wire: Wire) -> None:
    """While there is only a journal, the start of a request is with the server before it is read whole."""
    wire.api.keep_journal(wire.name)
    with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as sock:
        sock.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*2\r\n$4\r\nINCR\r\n")
        assert sock.recv(64) == b":1\r\n"
        wire.api.add_rule(wire.name, at="before", action="error", command="INCR", error="OOM no")
        sock.sendall(b"$1\r\nn\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nPING\r\n")
        expected = b":2\r\n-OOM no\r\n+PONG\r\n"
        received = b""
        while len(received) < len(expected):
            received += sock.recv(64)
    assert received == expected
    outcomes = [entry["outcome"] for entry in entries(wire) if entry["command"] in ("INCR", "PING")][-4:]
    assert outcomes == ["ok", "ok", "OOM", "ok"]


ABOUT = [r"op-(\d{1,18})", "[0-9a-f-]{36}"]


def test_a_journal_can_be_about_something(wire: Wire) -> None:
    wire.api.keep_journal(wire.name, about=ABOUT)
    client = wire.client()
    client.lpush("q", '{"id": "op-7"}', '{"id": "op-8"}')
    client.incrby("other", 1)
    assert client.rpop("q") and client.rpop("q") and client.rpop("q") is None
    with client.pipeline() as pipe:
        pipe.hset("unacked", "0" * 36, "op-7")
        pipe.get("other")
        pipe.execute()
    client.hdel("unacked", "0" * 36)
    found = [(e["command"], e["sent"], e["given"]) for e in entries(wire)]
    assert found == [
        ("LPUSH", ["7", "8"], []),
        ("RPOP", [], ["7"]),
        ("RPOP", [], ["8"]),
        ("HSET", ["7", "0" * 36], []),
        ("HDEL", ["0" * 36], []),
    ]
    assert [e["index"] for e in entries(wire)] == sorted(e["index"] for e in entries(wire))


def test_it_keeps_what_was_asked_and_never_answered(wire: Wire) -> None:
    wire.api.keep_journal(wire.name, about=ABOUT)
    wire.rule("after", "reset", command="RPOP")
    with wire.raw() as sock:
        sock.sendall(request("BLPOP", "empty", "0"))
        until(lambda: [each["outstanding"] for each in wire.api.connections()] == [1], "the request")
    wire.client().lpush("q", "op-7")
    with pytest.raises(redis.ConnectionError):
        wire.client().rpop("q")
    until(lambda: len(entries(wire)) == 3, "all of them")
    found = {e["command"]: (e["outcome"], e["given"]) for e in entries(wire)}
    assert found == {"BLPOP": ("no reply", []), "LPUSH": ("ok", []), "RPOP": ("cut", ["7"])}


def test_it_knows_all_that_one_command_takes(wire: Wire) -> None:
    wire.api.keep_journal(wire.name, about=ABOUT)
    client = wire.client()
    client.lpush("q", *[f"op-{n} {n:036d}" for n in range(100)])
    client.rpop("q", 100)
    pushed, popped = entries(wire)
    wanted = {*map(str, range(100)), *(f"{n:036d}" for n in range(100))}
    assert set(pushed["sent"]) == set(popped["given"]) == wanted


def test_it_keeps_nothing_of_what_asked_for_no_reply_and_is_about_nothing(wire: Wire) -> None:
    wire.api.keep_journal(wire.name, about=ABOUT)
    with wire.raw() as sock:
        quiet = request("CLIENT", "REPLY", "OFF") + request("SET", "k", "v") + request("LPUSH", "q", "op-3")
        sock.sendall(quiet + request("CLIENT", "REPLY", "ON") + request("RPOP", "q"))
        until(lambda: len(entries(wire)) == 2, "both")
    assert [(e["command"], e["outcome"]) for e in entries(wire)] == [("LPUSH", "no reply"), ("RPOP", "ok")]


def test_what_it_is_about_is_said_and_bounded(wire: Wire) -> None:
    wire.api.keep_journal(wire.name, about=ABOUT)
    path = f"/proxies/{wire.name}/journal"
    assert wire.api._call(wire.api._api.get, path) == {"enabled": True, "about": ABOUT}
    for wrong in (["op-.*"], "op", [1], [""], ["a"] * 5):
        with pytest.raises(ToxiproxyError, match="about"):
            wire.api._call(wire.api._api.post, path, {"enabled": True, "about": wrong})
    assert wire.api._call(wire.api._api.get, path) == {"enabled": True, "about": ABOUT}
    wire.api.keep_journal(wire.name)
    assert wire.api._call(wire.api._api.get, path) == {"enabled": True}
