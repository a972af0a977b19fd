"""Every action at both places, on real Redis: what is executed, what the client meets, and what else goes on."""

import socket
import threading
import time
from typing import Any

import pytest
import redis
from proxy_support import receive, receive_all, silent
from resp_support import Wire, request
from waiting import until

LOST = (redis.ConnectionError, ConnectionResetError)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("action", ["reset", "close", "truncate"])
@pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
def test_a_cut_ends_the_connection_before_or_after_the_command(
    wire: Wire, protocol: int, action: str, at: str, executed: bool
) -> None:
    rule = wire.rule(at, action, command="INCRBY", key="cut", nth=2)  # what redis-py sends for incr
    client = wire.client(protocol)
    assert client.incr("cut") == 1
    with pytest.raises(LOST):
        client.incr("cut")
    assert until(lambda: wire.state(rule).fired, "the firing") == 1
    assert wire.direct.get("cut") == (b"2" if executed else b"1")
    assert client.incr("cut") == (3 if executed else 2), "a new connection goes on"


def test_a_reset_sends_rst_and_a_close_does_not(wire: Wire) -> None:
    wire.rule("after", "reset", command="GET")
    wire.rule("after", "close", command="TTL")
    with wire.raw() as sock:
        sock.sendall(request("GET", "x"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with wire.raw() as sock:
        sock.sendall(request("TTL", "x"))
        assert sock.recv(1) == b""


def test_a_reply_can_be_truncated(wire: Wire) -> None:
    wire.direct.set("long", "0123456789")
    wire.rule("after", "truncate", command="GET")
    with wire.raw() as sock:
        sock.sendall(request("GET", "long"))
        assert receive_all(sock) == b"$10\r\n0123456789\r\n"[:8]


@pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
def test_an_error_is_answered_instead(wire: Wire, at: str, executed: bool) -> None:
    wire.rule(at, "error", command="SET", error="OOM command not allowed", first=1)
    client = wire.client()
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("e", "1")
    assert bool(wire.direct.exists("e")) is executed
    assert client.set("e", "2") is True, "the connection goes on"
    assert client.get("e") == b"2"


@pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
def test_silence_takes_away_one_answer(wire: Wire, at: str, executed: bool) -> None:
    rule = wire.rule(at, "silence", command="SET", key="s")
    with wire.raw() as sock:
        sock.sendall(request("SET", "s", "1"))
        assert silent(sock, 0.1)
        assert wire.state(rule).fired == 1
        assert bool(wire.direct.exists("s")) is executed
        sock.sendall(request("PING"))
        assert receive(sock, 7) == b"+PONG\r\n", "only that one answer is missing"


@pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
def test_mute_silences_what_follows_too(wire: Wire, at: str, executed: bool) -> None:
    rule = wire.rule(at, "silence", command="SET", key="s", mute=True)
    with wire.raw() as sock:
        sock.sendall(request("SET", "s", "1"))
        sock.sendall(request("SET", "t", "1") + request("PING"))
        assert silent(sock, 0.1)
        assert bool(wire.direct.exists("s")) is executed
        assert bool(wire.direct.exists("t")) is executed
        wire.api.remove_rule(wire.name, rule)
        assert receive_all(sock) == b"", "bytes are missing for good: the end of the rule is that of the connection"


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_delay_comes_before_or_after_the_execution(wire: Wire, at: str) -> None:
    rule = wire.rule(at, "delay", delay=150, command="SET", nth=1)
    client = wire.client()
    begin = time.monotonic()
    seen: list[bool] = []

    def look() -> None:
        while time.monotonic() - begin < 0.1:
            seen.append(bool(wire.direct.exists("d")))

    looker = threading.Thread(target=look)
    client.ping()
    begin = time.monotonic()
    looker.start()
    assert client.set("d", "1") is True
    took_s = time.monotonic() - begin
    looker.join()
    assert took_s > 0.145
    assert any(seen) is (at == "after"), "executed at once, or late"
    client.set("d", "2")
    assert wire.state(rule).fired == 1


@pytest.mark.parametrize("at", ["before", "after"])
def test_what_is_held_passes_when_it_is_released(wire: Wire, at: str) -> None:
    rule = wire.rule(at, "hold", command="SET")
    with wire.raw() as sock:
        sock.sendall(request("SET", "h", "1") + request("GET", "h"))
        until(lambda: wire.state(rule).held == 1, "something held")
        assert silent(sock, 0.1)
        assert bool(wire.direct.exists("h")) is (at == "after")
        assert wire.api.release(wire.name, rule) == 1
        assert receive(sock, 12) == b"+OK\r\n$1\r\n1\r\n", "in order"
        sock.sendall(request("SET", "h", "2"))
        until(lambda: wire.state(rule).held == 1, "the next one held")
        wire.api.remove_rule(wire.name, rule)
        assert receive(sock, 5) == b"+OK\r\n", "the end of a rule releases what it holds"


def test_a_delay_is_never_shorter(wire: Wire) -> None:
    """Not even while other traffic wakes the loop all the time, which makes uvloop's timers ring early."""
    wire.rule("before", "delay", delay=5, command="SET")
    client, other = wire.client(), wire.client()
    over = threading.Event()

    def chat() -> None:
        while not over.is_set():
            other.ping()

    chatting = threading.Thread(target=chat)
    chatting.start()
    try:
        for _ in range(40):
            begin = time.monotonic()
            client.set("d", "1")
            assert time.monotonic() - begin >= 0.005
    finally:
        over.set()
        chatting.join()


def test_rules_before_and_after_act_on_one_command(wire: Wire) -> None:
    wire.rule("before", "delay", delay=50, command="SET")
    wire.rule("after", "error", error="BUSY wait", command="SET")
    client = wire.client()
    begin = time.monotonic()
    with pytest.raises(redis.ResponseError, match="BUSY wait"):
        client.set("k", 1)
    assert time.monotonic() - begin >= 0.05
    assert wire.direct.get("k") == b"1"


def test_the_lost_reply_of_a_brpop_loses_its_element(wire: Wire) -> None:
    """The defect that all this is for: kombu pops a task with BRPOP, and the reply is the only copy."""
    wire.rule("after", "reset", command="BRPOP", nth=1)
    client = wire.client()
    failures: list[BaseException] = []

    def pop() -> None:
        try:
            client.brpop("queue", 5)
        except LOST as error:
            failures.append(error)

    thread = threading.Thread(target=pop)
    thread.start()
    until(lambda: "blocked_clients:1" in _info(wire), "the blocked client")
    wire.direct.lpush("queue", "task-1")
    thread.join(5)
    assert len(failures) == 1
    assert wire.direct.llen("queue") == 0, "popped, and nobody has it"
    wire.direct.lpush("queue", "task-2")
    assert client.brpop("queue", 5) == [b"queue", b"task-2"], "the rule was for the first one only"


def _info(wire: Wire) -> str:
    raw: Any = wire.direct.execute_command("INFO", "clients")
    return f"blocked_clients:{raw['blocked_clients']}"


class TestPipeline:
    """1000 commands in one write and a rule on the 500th."""

    def _send(self, wire: Wire) -> socket.socket:
        sock = wire.raw()
        sock.sendall(b"".join(request("INCR", "n") for _ in range(1000)))
        return sock

    def replies(self, numbers: range) -> bytes:
        return b"".join(b":%d\r\n" % number for number in numbers)

    @pytest.mark.parametrize("action", ["reset", "close", "truncate"])
    @pytest.mark.parametrize(("at", "count"), [("before", 499), ("after", 500)])
    def test_a_cut_in_a_pipeline_lets_only_what_came_before_it_pass(
        self, wire: Wire, action: str, at: str, count: int
    ) -> None:
        """Exactly the commands before it are executed and answered; none behind it is executed."""
        wire.rule(at, action, command="INCR", nth=500)
        with self._send(wire) as sock:
            received = bytearray()
            try:
                while data := sock.recv(65536):
                    received += data
            except ConnectionResetError:
                assert action == "reset"
        whole = self.replies(range(1, 500))
        expected = whole + (b":50"[: len(b":500\r\n") // 2] if action == "truncate" and at == "after" else b"")
        assert bytes(received) == expected
        assert wire.direct.get("n") == b"%d" % count

    @pytest.mark.parametrize("at", ["before", "after"])
    @pytest.mark.parametrize("action", ["silence", "error", "delay", "hold"])
    def test_the_others_keep_their_order(self, wire: Wire, at: str, action: str) -> None:
        members: dict[str, Any] = {"delay": {"delay": 30}, "error": {"error": "ERR x"}}.get(action, {})
        rule = wire.rule(at, action, command="INCR", nth=500, **members)
        executed = 999 if at == "before" and action in ("silence", "error") else 1000
        with self._send(wire) as sock:
            if action == "hold":
                until(lambda: wire.state(rule).held, "the hold")
                wire.api.release(wire.name, rule)
            middle = {"silence": b"", "error": b"-ERR x\r\n"}.get(action, b":500\r\n")
            after = range(501, 1001) if executed == 1000 else range(500, 1000)
            expected = self.replies(range(1, 500)) + middle + self.replies(after)
            assert receive(sock, len(expected)) == expected
        assert wire.direct.get("n") == b"%d" % executed


@pytest.mark.parametrize(("at", "action"), [("before", "error"), ("after", "error"), ("after", "silence")])
def test_big_bulks_pass_in_pieces_and_are_hit_whole(wire: Wire, at: str, action: str) -> None:
    """10 MB go through in pieces, both ways, and a rule on them still acts on the whole command."""
    big = bytes(range(256)) * 40_000
    client = wire.client()
    rule = wire.rule("after", "delay", delay=1, command="NOTHING")
    assert client.set("big", big) is True
    assert client.get("big") == big
    wire.api.remove_rule(wire.name, rule)
    wire.rule(at, action, command="SET", nth=1, **({"error": "ERR no"} if action == "error" else {}))
    with wire.raw() as sock:
        sock.sendall(request("SET", "big2", big) + request("GET", "big2") + request("PING"))
        first = b"-ERR no\r\n" if action == "error" else b""
        second = b"$%d\r\n%s\r\n" % (len(big), big) if at == "after" else b"$-1\r\n"
        expected = first + second + b"+PONG\r\n"
        assert receive(sock, len(expected)) == expected


def test_a_big_reply_is_swallowed_whole(wire: Wire) -> None:
    wire.direct.set("big", b"x" * 10_000_000)
    wire.rule("after", "silence", command="GET")
    with wire.raw() as sock:
        sock.sendall(request("GET", "big") + request("PING"))
        assert receive(sock, 7) == b"+PONG\r\n"


def test_a_big_request_is_cut_behind_its_end(wire: Wire) -> None:
    wire.rule("after", "close", command="SET")
    with wire.raw() as sock:
        sock.sendall(request("SET", "big", b"x" * 5_000_000) + request("SET", "next", "1"))
        assert receive_all(sock) == b""
    assert wire.direct.strlen("big") == 5_000_000
    assert not wire.direct.exists("next")


def test_inline_commands_are_matched(wire: Wire) -> None:
    wire.rule("after", "error", error="ERR inline", command="SET", key="a b")
    with wire.raw() as sock:
        sock.sendall(b'\r\nset plain 1\r\nset "a b" 2\r\nPING\n')
        assert receive(sock, 5 + 13 + 7) == b"+OK\r\n-ERR inline\r\n+PONG\r\n"
    assert wire.direct.get("a b") == b"2"


def test_a_client_may_leave_while_its_reply_is_held(wire: Wire) -> None:
    rule = wire.rule("after", "hold", command="SET")
    with wire.raw() as sock:
        sock.sendall(request("SET", "h", "1"))
        until(lambda: wire.state(rule).held == 1, "something held")
    until(lambda: not [c for c in wire.api.connections() if c["proxy"] == wire.name], "the connection closed")
    assert wire.state(rule).held == 0


def test_a_held_request_arrives_though_its_client_has_left(wire: Wire) -> None:
    """The request is on its way, like one that a slow network holds: it arrives, though nobody waits for it."""
    rule = wire.rule("before", "hold", command="SET")
    with wire.raw() as sock:
        sock.sendall(request("SET", "h", "1"))
        until(lambda: wire.state(rule).held == 1, "something held")
    assert not wire.direct.exists("h")
    assert wire.api.release(wire.name, rule) == 1
    until(lambda: wire.direct.exists("h"), "the request executed")
    until(lambda: not [c for c in wire.api.connections() if c["proxy"] == wire.name], "the connection closed")


def test_a_client_may_leave_before_the_reply_that_would_cut_it(wire: Wire) -> None:
    wire.rule("after", "reset", command="BRPOP")
    with wire.raw() as sock:
        sock.sendall(request("BRPOP", "never", "0") + request("SET", "behind", "1"))
        until(lambda: any(c["outstanding"] for c in wire.api.connections()), "the request seen")
    until(lambda: not [c for c in wire.api.connections() if c["proxy"] == wire.name], "the connection closed")
    assert not wire.direct.exists("behind")
