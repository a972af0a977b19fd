"""rediss://: a worker over TLS, ended by the server itself or by something in front of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from server_process import Server, free_port
from server_support import binaries
from waiting import until
from wire_support import Certificate, Wire
from worker_support import settled, surroundings

Require = Callable[[str, bool, str], None]


@pytest.fixture
def certificate(tmp_path: Path, require: Require) -> Certificate:
    require("openssl", shutil.which("openssl") is not None, "no openssl command to make a certificate with")
    return Certificate(tmp_path)


@pytest.fixture
def in_front(certificate: Certificate, server: Server) -> Iterator[tuple[int, Redis]]:
    wire = Wire(server.port, certificate.server_context())
    yield wire.port, server.client
    wire.stop()


@pytest.fixture
def by_server(certificate: Certificate, tmp_path: Path, require: Require) -> Iterator[tuple[int, Redis]]:
    able = [one for one in binaries() if one.tls]
    require(
        "redis-tls", bool(able), "no Redis here can do TLS: install redis-server or name one in CHAOS_REDIS_SERVERS"
    )
    port = free_port()
    files = ("--tls-cert-file", certificate.cert, "--tls-key-file", certificate.key, "--tls-auth-clients", "no")
    (tmp_path / "redis").mkdir()
    server = Server(tmp_path / "redis", able[0].path, ("--tls-port", str(port), *files))
    yield port, server.client
    server.stop()


@pytest.mark.parametrize("ended", ["in_front", "by_server"])
@pytest.mark.parametrize("where", ["broker_use_ssl", "url"])
def test_a_worker_runs_over_tls(
    ended: str, where: str, certificate: Certificate, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It runs, retries, survives cut connections, and the doorbell rings."""
    port, redis = request.getfixturevalue(ended)
    url, conf = f"rediss://127.0.0.1:{port}/0", f"{{'broker_use_ssl': {{'ssl_ca_certs': {certificate.cert!r}}}}}"
    if where == "url":
        url, conf = f"{url}?ssl_cert_reqs=required&ssl_ca_certs={certificate.cert}", "{}"
    with surroundings(url, tmp_path) as tested:
        tested.app.conf.update(eval(conf))
        tested.worker(conf=conf, options='{"idle_s": 60.0}')
        for number in range(40):
            tested.send("flaky", f"f{number}", number % 2)
        big = "x" * 300_000  # more than a TLS record, and than one read
        tested.send("note", big)
        until(lambda: tested.notes("end"), "it works")
        redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda: len(tested.notes("end")) == 41 and settled(redis), "all ran and settled", 30)
        assert len(tested.notes("try")) == 60
        until(lambda: any("t" in one["flags"] for one in redis.client_list()), "the doorbell is armed")
        tested.send("note", "rung")
        until(lambda: tested.notes("end", "rung"), "the doorbell rang", 20)
        assert tested.app.control.ping(timeout=20.0, limit=1) and tested.workers[0].poll() is None
