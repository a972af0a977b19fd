"""A worker's figures over HTTP: real workers of every pool, and what may go wrong, which must not matter to them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from repository import ROOT
from server_process import Server, free_port
from waiting import until
from worker_support import Tested, settled, surroundings

from locked_retry import clock
from locked_retry.limits import listen_address
from locked_retry.operator import metrics_page
from locked_retry.operator.metrics_page import MOST_REQUESTS, BrokerFigures, LoopWatch, MetricsServer
from locked_retry.operator.prometheus import Family, Sample, Type

ANY_PORT = "{'metrics': '0'}"


@pytest.fixture
def tested(redis: Redis, shared_server: Server, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(shared_server.url, tmp_path) as one:
        yield one


def _url(tested: Tested, number: int = 0) -> str:
    """Where a worker says that its figures are, without the path."""
    found = until(
        lambda: re.search(r"event=metrics_served url=\"?(http://\S+?)/metrics", tested.log(number)),
        "figures are served",
    )
    return str(found[1])


def _get(url: str, timeout_s: float = 10.0) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _value(text: str, sample: str) -> float:
    (found,) = re.findall(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(found)


def _is_closed(url: str) -> bool:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_of_every_pool_serves_its_figures_until_it_ends(tested: Tested, redis: Redis, pool: str) -> None:
    worker = tested.worker(pool=pool, options=ANY_PORT)
    url = _url(tested)
    assert url.startswith("http://127.0.0.1:"), "loopback, as nobody has named a host"
    for number in range(3):
        tested.send("note", f"n{number}")
    until(lambda: len(tested.notes("end")) == 3 and settled(redis), "all ran")
    ended = 'locked_retry_settled_total{kind="ok"}'
    until(lambda: _value(_get(f"{url}/metrics/worker")[1], ended) == 3, "they are counted")
    until(lambda: "locked_retry_broker_up 1" in _get(f"{url}/metrics")[1], "Redis has told")
    status, text = _get(f"{url}/metrics")
    assert status == 200
    assert _value(text, 'locked_retry_broker_queue_messages{queue="celery",priority="0"}') == 0
    assert _value(text, 'locked_retry_broker_rows{state="running"}') == 0
    assert "broker" not in _get(f"{url}/metrics/worker")[1]
    assert _get(f"{url}/healthz") == (200, "ok\n")
    assert _get(f"{url}/nothing") == (404, "there is /metrics, /metrics/worker and /healthz\n")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0 and _is_closed(url)
    assert "Traceback" not in tested.log()


def test_nothing_is_served_unless_it_is_asked_for(tested: Tested) -> None:
    tested.worker()
    tested.send("note", "x")
    until(lambda: tested.notes("end"), "it works")
    assert "metrics_" not in tested.log()


def test_the_environment_goes_before_the_option(tested: Tested, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("LOCKED_RETRY_METRICS", f"127.0.0.1:{port}")
    tested.worker(options=ANY_PORT)
    assert _url(tested) == f"http://127.0.0.1:{port}"
    monkeypatch.setenv("LOCKED_RETRY_METRICS", "")
    tested.worker(options=ANY_PORT)
    tested.send("note", "x")
    until(lambda: tested.notes("end"), "it works")
    assert "metrics_" not in tested.log(1)


@pytest.mark.parametrize("wanted", ["taken", "nonsense", "256.1.1.1:0"])
def test_a_port_that_cannot_be_had_is_one_log_line_and_the_worker_works(
    tested: Tested, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("LOCKED_RETRY_METRICS", wanted.replace("taken", f"127.0.0.1:{other.getsockname()[1]}"))
        worker = tested.worker()
        tested.send("note", "x")
        until(lambda: tested.notes("end"), "it works")
        assert tested.log().count("event=metrics_failed") == 1 and "Traceback" not in tested.log()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_it_goes_on_when_celery_builds_its_consumer_again(tested: Tested) -> None:
    tested.worker(options=ANY_PORT)
    url = _url(tested)
    tested.app.control.broadcast("rebuild")
    until(lambda: tested.log().count("event=started") >= 2, "the consumer was built again")
    tested.send("note", "x")
    until(lambda: tested.notes("end"), "it works")
    assert _get(f"{url}/metrics")[0] == 200 and tested.log().count("event=metrics_served") == 1


def _listening(port: int) -> str:
    """The inode of the socket that listens there, in the words of /proc/PID/fd."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [row[9] for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port]
    return f"socket:[{inode}]"


def _open_in_children(pid: int) -> dict[int, set[str]]:
    """What each child of a process has open."""
    found: dict[int, set[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found[int(folder.name)] = {os.readlink(fd) for fd in (folder / "fd").iterdir()}
    return found


def test_pool_processes_do_not_keep_the_port(tested: Tested) -> None:
    """Those that were forked when it was open."""
    worker = tested.worker(options=ANY_PORT, more=("--max-tasks-per-child=1",))
    listening = _listening(int(_url(tested).rpartition(":")[2]))
    first = _open_in_children(worker.pid).keys()
    for name in range(4):
        tested.send("note", name)
    until(lambda: len(tested.notes("end")) == 4 and not first & _open_in_children(worker.pid).keys(), "all are new")

    def closed() -> bool:
        children = _open_in_children(worker.pid)
        return len(children) >= 2 and not any(listening in files for files in children.values())

    until(closed, "they have closed it")


def test_the_next_worker_has_the_port_at_once(tested: Tested) -> None:
    """Also after a SIGKILL of the worker alone, whose pool processes end a moment later."""
    port = free_port()
    options = f"{{'metrics': '{port}'}}"
    for number, how in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
        worker = tested.worker(options=options, more=("--max-tasks-per-child=1",))
        assert _url(tested, number) == f"http://127.0.0.1:{port}"
        before = len(tested.notes("end"))
        for name in range(4):  # each in a pool process that was forked when the port was open
            tested.send("note", name)
        until(lambda before=before: len(tested.notes("end")) == before + 4, "they ran")
        worker.send_signal(how)
        worker.wait(30)


def test_no_password_is_told_and_a_silent_redis_holds_nobody_up(server: Server, tmp_path: Path) -> None:
    server.client.config_set("requirepass", "hush-hush")
    server.client.execute_command("AUTH", "hush-hush")
    url_of_redis = server.url.replace("redis://", "redis://:hush-hush@")
    with surroundings(url_of_redis, tmp_path) as tested:
        tested.worker(options=ANY_PORT)
        url = _url(tested)
        until(lambda: "locked_retry_broker_up 1" in _get(f"{url}/metrics")[1], "Redis has told")
        seen = [_get(f"{url}{path}")[1] for path in ("/metrics", "/metrics/worker", "/healthz", "/x")]
        server.process.send_signal(signal.SIGSTOP)
        try:
            text = until(
                lambda: (text := _get(f"{url}/metrics")[1]) and "locked_retry_broker_up 0" in text and text,
                "Redis is known to be silent",
            )
            assert "locked_retry_claimed_total" in text and "locked_retry_broker_rows" not in text
            assert _get(f"{url}/healthz") == (200, "ok\n"), "a restart would not help"
        finally:
            server.process.send_signal(signal.SIGCONT)
        until(lambda: "locked_retry_broker_up 1" in _get(f"{url}/metrics")[1], "and that it is back", 60)
        assert not [one for one in (*seen, text, tested.log()) if "hush" in one]


def test_the_restricted_user_of_the_reference_is_told_all_but_the_memory(server: Server, tmp_path: Path) -> None:
    found = re.search(r"ACL SETUSER \S+ on >\S+ (.*)", (ROOT / "docs/reference/locked_retry.md").read_text("utf-8"))
    assert found
    server.client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", *found[1].split())
    with surroundings(server.url.replace("://", "://shop:secret@"), tmp_path) as tested:
        tested.worker(options=ANY_PORT)
        url = _url(tested)
        text = until(
            lambda: (text := _get(f"{url}/metrics")[1]) and "locked_retry_broker_up 1" in text and text, "it is told"
        )
        assert 'locked_retry_broker_queue_messages{queue="celery",priority="0"} 0' in text
        assert "locked_retry_broker_overdue_seconds" in text and "memory" not in text and "secret" not in text


def test_clients_that_say_nothing_hold_nobody_up(tested: Tested) -> None:
    """Neither the worker nor, once they have had their time, others who ask."""
    worker = tested.worker(options=ANY_PORT)
    url = _url(tested)
    port = int(url.rsplit(":", 1)[1])
    idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(2 * MOST_REQUESTS)]
    tested.send("note", "x")
    until(lambda: tested.notes("end"), "the worker works")

    def answers() -> bool:
        try:
            return _get(f"{url}/healthz")[0] == 200
        except OSError:
            return False  # no place is free

    until(answers, "who says nothing is closed")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    for one in idle:
        one.close()


def _asked(answer: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[BrokerFigures, list[float]]:
    """Figures at a clock of the test's own: `now[0]` is the time."""
    now = [100.0]
    monkeypatch.setattr(clock, "now_s", lambda: now[0])
    return BrokerFigures(Celery("x", set_as_current=False), answer), now


def test_who_asks_often_gets_the_same_and_redis_is_asked_for_a_twentieth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def ask(_: Celery) -> list[Family]:
        asked.append(now[0])
        now[0] += 0.2  # what it takes
        return [Family("seen", Type.GAUGE, "How often.", (Sample(len(asked)),))]

    figures, now = _asked(ask, monkeypatch)
    first = figures.families()
    assert [one.name for one in first] == ["locked_retry_broker_up", "seen"]
    now[0] = 104.1
    assert figures.families() is first, "0.2 s are good for 4 s"
    now[0] = 104.3
    assert figures.families() is not first and asked == [100.0, 104.3]


def test_many_who_ask_at_once_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), []

    def ask(_: Celery) -> list[Family]:
        asked.append(1)
        go.wait(20)
        raise OSError("no route")

    monkeypatch.setattr(metrics_page, "ANSWER_S", 20.0)
    figures = BrokerFigures(Celery("x", set_as_current=False), ask)
    found: list[list[Family]] = []
    callers = [threading.Thread(target=lambda: found.append(figures.families())) for _ in range(5)]
    for caller in callers:
        caller.start()
    until(lambda: asked, "one asks")
    go.set()
    for caller in callers:
        caller.join(20)
    assert len(asked) == 1 and [one[0].samples[0].value for one in found] == [False] * 5


def test_a_loop_that_tries_nothing_is_told_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [0.0]
    seen: list[tuple[int, ...] | None] = [(1, 0, 0)]
    monkeypatch.setattr(clock, "now_s", lambda: now[0])
    watch = LoopWatch(120.0, lambda: seen[0])
    now[0] = 119.0
    assert watch.still_for_s() == 0
    seen[0] = (1, 0, 1)  # no answer, but it tries
    assert watch.still_for_s() == 0
    now[0] = 240.0
    assert watch.still_for_s() == 121
    seen[0] = (2, 0, 1)
    assert watch.still_for_s() == 0
    now[0], seen[0] = 900.0, None  # a loop that tasks run in
    assert watch.still_for_s() == 0


@pytest.mark.parametrize("answers", [True, False])
def test_a_loop_that_stands_still_because_redis_is_away_is_well(answers: bool) -> None:
    """While it is away Celery waits for it, for longer and longer, and takes no turns: a restart would help nobody."""

    def ask(_: Celery) -> list[Family]:
        if not answers:
            raise ConnectionError("away")
        return []

    now_s, watch = clock.now_s(), LoopWatch(120.0, lambda: (1, 0, 0))
    watch._changed_s = now_s - 200.0
    server = MetricsServer("127.0.0.1", 0, Celery("x", set_as_current=False), watch)
    server.broker = BrokerFigures(Celery("x", set_as_current=False), ask)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        status, text = _get(f"http://127.0.0.1:{server.server_port}/healthz")
        assert (status, text.startswith("no turn for 20")) == ((503, True) if answers else (200, False))
        assert answers or watch.still_for_s() == 0, "and when Redis is back, it has its time again"
    finally:
        server.shutdown()
        server.server_close()


def test_clients_that_say_little_by_little_hold_nobody_up(tested: Tested) -> None:
    """A byte now and then keeps no place for longer than a request may take."""
    worker = tested.worker(options=ANY_PORT)
    url = _url(tested)
    port, stop = int(url.rsplit(":", 1)[1]), threading.Event()
    slow = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(MOST_REQUESTS)]

    def drip() -> None:
        while not stop.wait(0.3):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.send(b"G")

    threading.Thread(target=drip, daemon=True).start()

    def answers() -> bool:
        try:
            return _get(f"{url}/healthz")[0] == 200
        except OSError:
            return False

    try:
        until(answers, "their time is over")
    finally:
        stop.set()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    for one in slow:
        one.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9808", ("127.0.0.1", 9808)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:9808", ("0.0.0.0", 9808)),
        ("[::]:9808", ("::", 9808)),
        ("metrics.local:1", ("metrics.local", 1)),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["", ":", ":9808", "host", "host:", "65536", "-1", "1.5", "host:http", 9808, None])
def test_any_other_is_refused_by_its_name(text: object) -> None:
    with pytest.raises(ValueError, match=r"^metrics has to be a port, or host:port") as error:
        listen_address(text)
    assert json.dumps(str(error.value))
