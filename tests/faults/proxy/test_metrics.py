"""/metrics: the two counters as Toxiproxy prints them, and the flags that serve them."""

import asyncio
import itertools
import re
import time

import pytest
from proxy_support import Http, TcpServer, connect, receive, running_server
from waiting import until

from taskchaos.faults.proxy.lag import TICK_S, LoopLag
from taskchaos.faults.proxy.metrics import go_number
from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyClient

PROMHTTP = (
    "# HELP promhttp_metric_handler_errors_total Total number of internal errors encountered by the promhttp metric "
    "handler.\n# TYPE promhttp_metric_handler_errors_total counter\n"
    'promhttp_metric_handler_errors_total{cause="encoding"} 0\n'
    'promhttp_metric_handler_errors_total{cause="gathering"} 0\n'
)


def counters(proxy: ProxyState, received: tuple[int, int], sent: tuple[int, int]) -> str:
    """Downstream, then upstream."""
    lines = []
    for name, values in (("received", received), ("sent", sent)):
        lines.append(f"# HELP toxiproxy_proxy_{name}_bytes_total \n# TYPE toxiproxy_proxy_{name}_bytes_total counter\n")
        for direction, value in zip(("downstream", "upstream"), values, strict=True):
            lines.append(
                f'toxiproxy_proxy_{name}_bytes_total{{direction="{direction}",listener="127.0.0.1:{proxy.port}",'
                f'proxy="{proxy.name}",upstream="{proxy.upstream}"}} {value}\n'
            )
    return "".join(lines)


@pytest.mark.parametrize("flag", ["-proxy-metrics", "--proxy-metrics=true"])
def test_bytes_are_counted_as_they_pass(flag: str, echo_server: TcpServer) -> None:
    with running_server(flag) as server:
        http, client = Http(server.host, server.port), ToxiproxyClient(server.host, server.port)
        answer = http("GET", "/metrics")
        assert (answer.status, answer.text) == (200, PROMHTTP)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        proxy = client.create("r1", echo_server.address)
        with connect(proxy.port) as sock:
            sock.sendall(b"fast!")
            receive(sock, 5)
            assert http("POST", "/metrics").text == PROMHTTP + counters(proxy, (5, 5), (5, 5))
            client.add_toxic("r1", "limit_data", stream=Stream.DOWNSTREAM, attributes={"bytes": 3})
            sock.sendall(b"slow!")
            assert receive(sock, 3) == b"slo"
            assert sock.recv(1) == b""
        expected = PROMHTTP + counters(proxy, (10, 10), (8, 10))
        until(lambda: http("GET", "/metrics").text == expected, "the sums")
        client.delete("r1")
        assert http("GET", "/metrics").text == expected


def test_runtime_metrics_are_served() -> None:
    with running_server("-runtime-metrics") as server:
        text = Http(server.host, server.port)("GET", "/metrics").text
        assert re.search(r"^process_start_time_seconds 1\.\d+e\+09$", text, re.MULTILINE)
        assert re.search(r'^python_info\{implementation="\w+",version="[\d.]+\S*"\} 1$', text, re.MULTILINE)
        names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
        assert names == sorted(names)
        assert "taskchaos_loop_lag_max_seconds" in names


def test_the_lag_is_what_the_process_itself_did() -> None:
    async def busy(seconds: float) -> float:
        lag = LoopLag(asyncio.get_running_loop())
        try:
            end_s = time.thread_time() + seconds
            while time.thread_time() < end_s:
                pass
            await asyncio.sleep(2 * TICK_S)
            return lag.longest_s
        finally:
            lag.stop()

    assert asyncio.run(busy(0.08)) >= 0.08 - 2 * TICK_S


@pytest.mark.parametrize("arguments", [(), ("-proxy-metrics=false",)])
def test_nothing_is_served_without_a_flag(arguments: tuple[str, ...]) -> None:
    with running_server(*arguments) as server:
        assert Http(server.host, server.port)("GET", "/metrics").text == "404 page not found\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
def test_any_method_is_answered(method: str) -> None:
    with running_server("-proxy-metrics") as server:
        answer = Http(server.host, server.port)(method, "/metrics")
        assert (answer.status, answer.text) == (200, "" if method == "HEAD" else PROMHTTP)


def test_numbers_as_go_prints_them() -> None:
    given = (0, 1, 999_999, 1_000_000, 1_234_567, 10_765_942_794, 0.25, 1.5e-7)
    shown = ("0", "1", "999999", "1e+06", "1.234567e+06", "1.0765942794e+10", "0.25", "1.5e-07")
    assert list(map(go_number, given)) == list(shown)
    for earlier, later in itertools.pairwise(map(go_number, range(999_990, 1_000_010))):
        assert float(earlier) + 1 == float(later)
