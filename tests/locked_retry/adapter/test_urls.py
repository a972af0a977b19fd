"""A broker's URL in every form: each is served by our transport, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from server_process import Server
from waiting import until
from worker_support import Tested, surroundings

import locked_retry
from locked_retry.adapter.transport import SentinelTransport, Transport

OURS = [
    ("redis://localhost:1/0", Transport),
    ("rediss://localhost:1/0", Transport),
    ("redis+socket:///tmp/no.sock", Transport),
    ("redis+socket:///tmp/no.sock?virtual_host=3", Transport),
    ("localhost", Transport),
    ("redis://one:1;redis://two:1", Transport),
    (["redis://one:1", "redis://two:1"], Transport),
    ("sentinel://one:1", SentinelTransport),
    ("sentinel://one:1;sentinel://two:1", SentinelTransport),
    (["sentinel://one:1", "sentinel://two:1"], SentinelTransport),
]
REFUSED = [
    ("amqp://guest:secret@localhost//", "not at amqp://guest:**@localhost//"),
    ("memory://", "not at memory://"),
    ("redis://one:1;amqp://two", "not at amqp://two"),
]
NAMES = ["broker_url", "broker_read_url", "broker_write_url"]


def app_with(name: str, url: Any) -> Celery:
    app = Celery("urls", set_as_current=False)
    if name != "broker_url" and "sentinel" not in str(url):
        app.conf.broker_url = "redis://localhost:1/0"
    app.conf[name] = url
    return app


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("url", "kind"), OURS)
def test_each_form_is_served_by_our_transport(name: str, url: Any, kind: type) -> None:
    """Also after kombu has gone over to the next URL, from which it takes the transport again."""
    app = app_with(name, url)
    locked_retry.install(app)
    locked_retry.install(app)  # a second time changes nothing
    connect = app.connection_for_write if name == "broker_write_url" else app.connection_for_read
    with connect() as connection:
        for _ in range(3):
            assert type(connection.transport) is kind
            assert type(connection.clone().transport) is kind
            connection.maybe_switch_next()


def test_rediss_means_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_with("broker_url", "rediss://localhost:1/0;rediss://localhost:2/0")
    locked_retry.install(app)
    with app.connection_for_read() as connection:
        for _ in range(2):
            assert connection.ssl
            connection.maybe_switch_next()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("url", "said"), REFUSED)
def test_a_url_that_is_not_served_is_refused(name: str, url: Any, said: str) -> None:
    app = app_with(name, url)
    with pytest.raises(ValueError, match="locked_retry") as raised:
        locked_retry.install(app)
    assert said in str(raised.value) and "\n" not in str(raised.value) and "secret" not in str(raised.value)


def test_a_url_in_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before the setting."""
    app = app_with("broker_url", "redis://localhost:1/0")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis+socket:///tmp/no.sock")
    locked_retry.install(app)
    with app.connection_for_read() as connection:
        assert type(connection.transport) is Transport
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://localhost")
    with pytest.raises(ValueError, match="not at amqp://localhost"):
        locked_retry.install(app)


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[Tested]:
    socket = tmp_path / "redis.sock"
    server = Server(tmp_path, options=("--unixsocket", str(socket)))
    with surroundings(f"redis+socket://{socket}", tmp_path) as one:
        one.redis = server.client  # type: ignore[attr-defined]
        yield one
    server.stop()


def test_a_worker_on_a_socket_file_takes_turns(tested: Tested) -> None:
    tested.worker()
    tested.send("flaky", "one", 2)
    until(lambda: tested.notes("end", "one"), lambda: tested.log()[-2000:])
    assert tested.redis.hget("lr:stats", "retry") == b"2"  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["text", "list"])
def test_a_worker_goes_over_to_the_next_server_when_its_own_dies(tmp_path: Path, form: str) -> None:
    """Producers did within 2 s, workers never."""
    servers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        servers.append(Server(tmp_path / name))
    urls = [server.url for server in servers]
    url = ";".join(urls)
    try:
        with surroundings(url, tmp_path) as tested:
            conf = json.dumps({"broker_url": urls if form == "list" else url})
            tested.worker(conf=conf)
            tested.send("note", "first")
            until(lambda: tested.notes("end", "first"), lambda: tested.log()[-2000:])
            servers[0].kill()
            until(lambda: _sent(tested, "second"), "the producer goes over")
            until(lambda: tested.notes("end", "second"), lambda: tested.log()[-3000:], 30)
            assert tested.workers[0].poll() is None
            until(lambda: servers[1].client.hget("lr:stats", "ok") == b"1", "settled there")
    finally:
        for server in servers:
            server.stop()


def _sent(tested: Tested, name: str) -> bool:
    try:
        tested.send("note", name)
    except OSError:
        return False
    except Exception as error:
        if "Error" in type(error).__name__:
            return False
        raise
    return True
