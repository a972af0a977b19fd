"""A worker's figures over HTTP, for whoever asks for it: `/metrics` for Prometheus and `/healthz` for probes.

A server in a thread of the main process, from when the worker is ready until it ends. It must never matter to the
worker: what fails here is one log line, requests are few at a time, and Redis is asked by a thread that nobody waits
for longer than `ANSWER_S`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6, SHUT_RDWR, socket
from typing import Any

from celery import Celery

from locked_retry import clock
from locked_retry.limits import listen_address
from locked_retry.log import Event, say
from locked_retry.operator.application import connect
from locked_retry.operator.prometheus import CONTENT_TYPE, Family, broker_families, broker_up, render, worker_families
from locked_retry.operator.statistics import collect
from locked_retry.options import Options
from locked_retry.worker.metrics import sessions, snapshot

#: Goes before the option `metrics`.
VARIABLE = "LOCKED_RETRY_METRICS"
#: An answer is good for this long: who asks more often gets the same.
FRESH_S = 1.0
#: What Redis was asked is good for so many times what the asking took: at most a twentieth of a connection's time.
FRESH_PER_COST = 20
#: How long a request waits for Redis before it is answered without what Redis holds.
ANSWER_S = 2.0
#: How long Redis has for each answer, where the application sets nothing.
REPLY_S = 10.0
#: Requests at a time; more are closed without an answer.
MOST_REQUESTS = 8
#: A client that neither sends nor reads for this long is closed, and any after this long: places are few.
CLIENT_S, REQUEST_S = 3.0, 5.0
#: Without a turn, answered or failed, for this long the loop of the worker stands still.
STILL_S = 120.0


class WorkerFigures:
    """What this worker has done and holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[Family] = []
        self._good_until_s = 0.0

    def families(self) -> list[Family]:
        """At most `FRESH_S` old."""
        with self._lock:
            while clock.now_s() >= self._good_until_s:
                try:
                    self._known = list(worker_families(snapshot()))
                except RuntimeError:  # Celery has just built its consumer again: there was another session meanwhile
                    continue
                self._good_until_s = clock.now_s() + FRESH_S
            return self._known


class BrokerFigures:
    """What Redis holds for all workers, asked when somebody wants it and what is known is old."""

    def __init__(self, app: Celery, ask: Callable[[Celery], list[Family]] | None = None) -> None:
        self._app = app
        self._ask = ask or _of_the_broker
        self._lock = threading.Lock()
        self._known: list[Family] = [broker_up(False)]
        self._good_until_s = 0.0
        self._asking: threading.Event | None = None

    def families(self) -> list[Family]:
        """What is known, at most some seconds old; only that `locked_retry_broker_up` is 0 where Redis is silent."""
        with self._lock:
            if clock.now_s() < self._good_until_s:
                return self._known
            answered = self._asking
            if answered is None:
                self._asking = answered = threading.Event()
                threading.Thread(target=self._renew, args=(answered,), name="locked_retry-figures", daemon=True).start()
        in_time = answered.wait(ANSWER_S)
        with self._lock:
            return self._known if in_time else [broker_up(False)]

    def silent(self) -> bool:
        """Whether Redis does not answer now."""
        return self.families() == [broker_up(False)]

    def _renew(self, answered: threading.Event) -> None:
        began_s = clock.now_s()
        try:
            found = [broker_up(True), *self._ask(self._app)]
        except Exception:  # whatever stands between here and Redis; the worker's own log has it
            found = [broker_up(False)]
        took_s = clock.now_s() - began_s
        with self._lock:
            self._known, self._asking = found, None
            self._good_until_s = clock.now_s() + max(FRESH_S, FRESH_PER_COST * took_s)
        answered.set()


def _of_the_broker(app: Celery) -> list[Family]:
    with connect(app, reply_s=REPLY_S) as broker:
        return list(broker_families(collect(broker)))


class LoopWatch:
    """Whether the worker's loop goes on: it takes turns, or tries to, whether Redis answers or not."""

    def __init__(self, still_s: float, seen: Callable[[], tuple[int, ...] | None] | None = None) -> None:
        self._still_s = still_s
        self._seen = seen or _attempts
        self._last = self._seen()
        self._changed_s = clock.now_s()

    def excuse(self) -> None:
        """From now on it counts anew: while Redis is away, Celery waits for it, and takes no turns."""
        self._changed_s = clock.now_s()

    def still_for_s(self) -> float:
        """For how long nothing was tried; 0 as long as that says nothing yet."""
        now_s, seen = clock.now_s(), self._seen()
        if seen is None or seen != self._last:
            self._last, self._changed_s = seen, now_s
        still_s = now_s - self._changed_s
        return still_s if still_s > self._still_s else 0.0


def _attempts() -> tuple[int, ...] | None:
    if any(session.herd.in_loop for session in tuple(sessions)):
        return None  # of the solo pool: it takes no turn while a task runs, however long that is
    m = snapshot().metrics
    return m.turns, m.replays, m.failures


class MetricsServer(ThreadingHTTPServer):
    """Answers for one worker. Raises OSError when the address is taken."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, host: str, port: int, app: Celery, watch: LoopWatch) -> None:
        self.address_family = AF_INET6 if ":" in host else self.address_family
        self.worker, self.broker = WorkerFigures(), BrokerFigures(app)
        self.watch = watch
        self._places = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__((host, port), MetricsHandler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name, which may take as long as it likes."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, if there is room."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request, however slowly it comes, but not for longer than `REQUEST_S`."""
        end = threading.Timer(REQUEST_S, _hang_up, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or sends what is no HTTP, is its own trouble."""


def _hang_up(connection: socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(SHUT_RDWR)


class MetricsHandler(BaseHTTPRequestHandler):
    """One request."""

    server: MetricsServer
    timeout = CLIENT_S
    server_version = "locked_retry"
    sys_version = ""

    def do_GET(self) -> None:
        """`/metrics`: this worker and what Redis holds. `/metrics/worker`: without asking Redis. `/healthz`."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, render([*self.server.worker.families(), *self.server.broker.families()]))
        elif path == "/metrics/worker":
            self._answer(200, render(self.server.worker.families()))
        elif path == "/healthz":
            still_s = self.server.watch.still_for_s()
            if still_s and self.server.broker.silent():
                self.server.watch.excuse()
                still_s = 0.0
            self._answer(503 if still_s else 200, f"no turn for {still_s:.0f} s\n" if still_s else "ok\n")
        else:
            self._answer(404, "there is /metrics, /metrics/worker and /healthz\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE if status == 200 else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""


_running: MetricsServer | None = None
_owner_pid = 0


def serve(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_ready`, whose sender is the consumer. Celery sends it again when it has rebuilt that."""
    global _running, _owner_pid
    if _running is not None and _owner_pid == os.getpid():
        return
    app: Celery = sender.app
    options = Options.read(app.conf.broker_transport_options or {})
    wanted = os.environ.get(VARIABLE, options.metrics)
    if not wanted:
        return
    watch = LoopWatch(max(STILL_S, 3 * options.idle_s, options.lease_s))
    try:
        host, port = listen_address(wanted)
        server = MetricsServer(host, port, app, watch)
    except (OSError, ValueError) as error:
        say(Event.METRICS_FAILED, address=wanted, error=error)
        return
    _running, _owner_pid = server, os.getpid()
    threading.Thread(target=server.serve_forever, args=(0.1,), name="locked_retry-metrics", daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    say(Event.METRICS_SERVED, url=f"http://{shown}:{server.server_port}/metrics")


def close(**_: object) -> None:
    """A receiver of `worker_shutdown`."""
    global _running
    server, _running = _running, None
    if server is not None and _owner_pid == os.getpid():
        server.shutdown()
        server.server_close()


def close_inherited(**_: object) -> None:
    """A receiver of `worker_process_init`: a pool process does not keep its worker's port when the worker is gone."""
    global _running
    server, _running = _running, None
    if server is not None:
        inherited: socket = server.socket
        with contextlib.suppress(OSError):
            inherited.close()
