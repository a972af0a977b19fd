"""MULTI blocks are atoms; pub/sub, MONITOR, CLIENT REPLY and connections that were open before are paired right."""

import threading
from typing import Any

import pytest
import redis
from proxy_support import connect, receive, receive_all
from resp_support import Wire, request
from waiting import until

LOST = (redis.ConnectionError, ConnectionResetError)
BLOCK = (
    request("MULTI") + request("ZADD", "index", "1", "tag") + request("HSET", "unacked", "tag", "m") + request("EXEC")
)


def transaction(client: "redis.Redis[Any]") -> list[Any]:
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd("index", {"tag": 1})
        pipe.hset("unacked", "tag", "m")
        return list(pipe.execute())


@pytest.mark.parametrize("command", ["MULTI", "ZADD", "HSET", "EXEC"])
class TestBlock:
    """A rule on any command of the block acts on its EXEC."""

    @pytest.mark.parametrize("action", ["reset", "close", "truncate"])
    @pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
    def test_a_cut_leaves_a_block_whole(self, wire: Wire, command: str, action: str, at: str, executed: bool) -> None:
        rule = wire.rule(at, action, command=command, nth=1)
        with pytest.raises(LOST):
            transaction(wire.client())
        assert (wire.direct.exists("index"), wire.direct.exists("unacked")) == (executed, executed)
        assert [firing.command for firing in wire.state(rule).firings] == ["EXEC"]

    @pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
    def test_an_error_leaves_the_connection_usable(self, wire: Wire, command: str, at: str, executed: bool) -> None:
        wire.rule(at, "error", error="OOM no", command=command, nth=1)
        client = wire.client()
        with pytest.raises(redis.ResponseError):
            transaction(client)
        assert bool(wire.direct.exists("unacked")) is executed
        assert client.set("k", 1) is True, "the server is not left inside the block"
        assert transaction(client) == ([0, 0] if executed else [1, 1])

    @pytest.mark.parametrize(("at", "executed"), [("before", False), ("after", True)])
    def test_silence_takes_away_the_answer_of_the_block(
        self, wire: Wire, command: str, at: str, executed: bool
    ) -> None:
        wire.rule(at, "silence", command=command, nth=1)
        with wire.raw() as sock:
            sock.sendall(BLOCK + request("ECHO", "on"))
            expected = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n$2\r\non\r\n"
            assert receive(sock, len(expected)) == expected
        assert bool(wire.direct.exists("unacked")) is executed


def test_a_block_that_is_discarded_takes_its_rule_with_it(wire: Wire) -> None:
    rule = wire.rule("before", "reset", command="HSET", nth=1)
    with wire.raw() as sock:
        sock.sendall(request("MULTI") + request("HSET", "h", "a", "1") + request("DISCARD") + request("PING"))
        expected = b"+OK\r\n+QUEUED\r\n+OK\r\n+PONG\r\n"
        assert receive(sock, len(expected)) == expected
    assert (wire.state(rule).seen, wire.state(rule).fired) == (1, 0)


@pytest.mark.parametrize("protocol", [2, 3])
class TestPubSub:
    def test_messages_are_no_replies(self, wire: Wire, protocol: int) -> None:
        wire.rule("after", "error", error="ERR x", command="PING", nth=2)
        client = wire.client(protocol)
        pubsub = client.pubsub()
        pubsub.subscribe("a", "b")
        pubsub.psubscribe("p*")
        for number in range(3):
            assert (pubsub.get_message(timeout=5) or {})["data"] == number + 1
        for number in range(50):
            wire.direct.publish("a", str(number))
            wire.direct.publish("pp", str(number))
        got = [(pubsub.get_message(timeout=5) or {})["data"] for _ in range(100)]
        assert got == [b"%d" % number for number in range(50) for _ in "ap"]
        pubsub.unsubscribe()
        assert {(pubsub.get_message(timeout=5) or {})["channel"] for _ in "ab"} == {b"a", b"b"}
        pubsub.close()

    def test_a_rule_on_subscribe_acts_on_its_confirmation(self, wire: Wire, protocol: int) -> None:
        wire.rule("after", "reset", command="SUBSCRIBE", key="b")
        pubsub = wire.client(protocol).pubsub()
        pubsub.subscribe("a")
        assert (pubsub.get_message(timeout=5) or {})["type"] == "subscribe"
        pubsub.connection.send_command("SUBSCRIBE", "b")
        with pytest.raises(LOST):
            pubsub.connection.read_response()
        pubsub.close()


def test_pushes_of_resp3_between_replies_are_no_replies(wire: Wire) -> None:
    wire.rule("after", "error", error="ERR third", command="GET", nth=3)
    with wire.raw() as sock:
        sock.sendall(request("HELLO", "3") + request("SUBSCRIBE", "c") + request("GET", "k"))
        received = bytearray()
        while not received.endswith(b"_\r\n"):
            received += sock.recv(65536)
        assert b">3\r\n$9\r\nsubscribe\r\n" in received
        wire.direct.publish("c", "m")
        sock.sendall(request("GET", "k") + request("GET", "k") + request("ECHO", "end"))
        expected = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n_\r\n-ERR third\r\n$3\r\nend\r\n"
        assert receive(sock, len(expected)) == expected


def test_commands_under_client_reply_off_and_skip_have_no_reply(wire: Wire) -> None:
    wire.rule("after", "error", error="ERR x", command="GET")
    quiet = request("CLIENT", "REPLY", "OFF") + request("GET", "a") + request("CLIENT", "REPLY", "ON")
    skip = request("CLIENT", "REPLY", "SKIP") + request("GET", "a")
    with wire.raw() as sock:
        sock.sendall(quiet + skip + request("PING") + request("GET", "a") + request("PING"))
        expected = b"+OK\r\n+PONG\r\n-ERR x\r\n+PONG\r\n"
        assert receive(sock, len(expected)) == expected


def test_what_monitor_shows_is_no_reply(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    with wire.raw() as sock:
        sock.sendall(request("MONITOR"))
        assert receive(sock, 5) == b"+OK\r\n"
        wire.direct.set("seen-by-monitor", 1)
        line = b""
        while b"seen-by-monitor" not in line:
            line = sock.recv(4096)
    assert [entry["command"] for entry in wire.api.journal(wire.name)] == ["MONITOR"]


class TestOpenBefore:
    """Connections that were open, and unread, when the rule came."""

    @pytest.mark.parametrize("protocol", [2, 3])
    def test_an_idle_connection_is_followed_at_once(self, wire: Wire, protocol: int) -> None:
        client = wire.client(protocol)
        client.set("k", 1)
        rule = wire.rule("after", "error", error="ERR x", command="GET", nth=2)
        assert client.get("k") == b"1"
        with pytest.raises(redis.ResponseError):
            client.get("k")
        wire.api.remove_rule(wire.name, rule)
        assert client.get("k") == b"1"
        assert self._states(wire) == ["unread"]

    def test_a_blocked_connection_is_followed_after_its_reply(self, wire: Wire) -> None:
        """The reply to what was outstanding passes unpaired; the next one is paired again."""
        client = wire.client()
        connection = client.connection
        assert connection is not None
        connection.send_command("BRPOP", "q", 5)
        until(lambda: wire.direct.info("clients")["blocked_clients"] == 1, "the blocked client")
        rule = wire.rule("after", "reset", command="BRPOP", nth=1)
        until(lambda: self._states(wire) == ["followed"], "the quiet moment")
        wire.direct.lpush("q", "1")
        assert connection.read_response() == [b"q", b"1"]
        wire.direct.lpush("q", "2")
        with pytest.raises(LOST):
            client.brpop("q", 5)
        assert wire.state(rule).fired == 1

    def test_a_busy_connection_is_followed_without_losing_anything(self, wire: Wire) -> None:
        """Hammered by a client that never pauses: nothing is lost or mixed up, and the rule does fire."""
        client = wire.client()
        stop = threading.Event()
        wrong: list[object] = []
        errors: list[str] = []

        def hammer() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    if client.echo(f"{number}") != b"%d" % number:
                        wrong.append(number)
                except redis.ResponseError as error:
                    errors.append(str(error))

        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            for _ in range(5):
                rule = wire.rule("after", "error", error="BUSY x", command="ECHO", nth=10)
                until(lambda name=rule: wire.state(name).fired == 1, "the firing")
                wire.api.remove_rule(wire.name, rule)
        finally:
            stop.set()
            thread.join()
        assert (wrong, len(errors)) == ([], 5)

    def test_a_connection_in_the_middle_of_a_request_is_followed_after_it(self, wire: Wire) -> None:
        frame = request("SET", "k", "*3\r\n" * 1000)
        with wire.raw() as sock:
            sock.sendall(frame[:200])
            rule = wire.rule("after", "error", error="ERR x", command="GET", nth=1)
            until(lambda: self._states(wire) == ["followed"], "the quiet moment")
            sock.sendall(frame[200:])
            assert receive(sock, 5) == b"+OK\r\n"
            sock.sendall(request("GET", "k"))
            expected = b"-ERR x\r\n"
            assert receive(sock, len(expected)) == expected
        assert wire.direct.get("k") == b"*3\r\n" * 1000
        assert wire.state(rule).fired == 1

    def _states(self, wire: Wire) -> list[str]:
        return [each["state"] for each in wire.api.connections() if each["proxy"] == wire.name]


@pytest.mark.parametrize(
    "garbage", [b"*1\r\n+x\r\n", b"*-x\r\n", b"*1\r\n$x\r\n", b"*9999999999999\r\n", b"x" * 100_000]
)
def test_garbage_from_the_client_passes_unread(wire: Wire, garbage: bytes) -> None:
    wire.rule("after", "reset", command="GET")
    with wire.raw() as sock, connect(wire.direct.connection_pool.connection_kwargs["port"]) as direct:
        for each in (sock, direct):
            each.sendall(request("PING") + garbage)
        assert receive(sock, 7) == receive(direct, 7) == b"+PONG\r\n"
        assert sock.recv(6) == direct.recv(6), "the server's own refusal"
    opaque = [event for event in wire.api.events() if event["event"] == "opaque" and event["proxy"] == wire.name]
    assert len(opaque) == 1


def test_a_half_frame_is_passed_at_the_end(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    with wire.raw() as sock:
        sock.sendall(request("SET", "a", "1") + request("SET", "b", "2")[:-4])
        assert receive(sock, 5) == b"+OK\r\n"
    until(lambda: not [c for c in wire.api.connections() if c["proxy"] == wire.name], "the connection closed")
    assert [(entry["command"], entry["outcome"]) for entry in wire.api.journal(wire.name)] == [("SET", "ok")]


def test_a_quit_is_answered(wire: Wire) -> None:
    wire.api.keep_journal(wire.name)
    with wire.raw() as sock:
        sock.sendall(request("QUIT"))
        assert receive_all(sock) == b"+OK\r\n"
