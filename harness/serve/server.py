"""The HTTP server of the store: GET only, on a loopback address, for whoever is on this machine.

    /                                    the runs
    /runs/NAME/                          the report of a run; of one that goes on, how far it is
    /runs/NAME/state.json                the same for programs
    /runs/NAME/cases/ID/...              files of a run, as the report links them
    /compare?before=NAME&after=NAME      two runs

A page of somewhere else in the same browser is kept out: a request has to name a loopback host, so that no other name
that was made to lead here is answered, and nothing that is served may be framed or read by another origin.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from taskchaos.harness.errors import TaskchaosError, UsageError
from taskchaos.harness.judge.compare import compare
from taskchaos.harness.run import ongoing, stored
from taskchaos.harness.run.history import case_histories, history
from taskchaos.harness.serve import pages
from taskchaos.harness.serve.live import LiveRuns

REPORT_HTML = "report.html"
#: Of a file more is not served at once: a ledger or a log is looked at in another way.
MOST_BYTES = 64 << 20
#: Flaky is told of so many last runs.
LAST = 20
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class NotServedError(TaskchaosError):
    """What is asked for is not there, or not served."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent."""

    body: bytes
    kind: str = "text/html"
    status: HTTPStatus = HTTPStatus.OK
    location: str = ""


class RunServer(ThreadingHTTPServer):
    """Serves the runs in a folder. Each request has a thread, which ends with the server."""

    daemon_threads = True

    def __init__(self, runs: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        """Raises UsageError for an address that is not loopback's, or is taken."""
        check_host(host)
        self.runs, self.live = runs, LiveRuns()
        self.address_family = AF_INET6 if ":" in host else AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot serve at {host}:{port}: {why}; give another --port, or none") from error

    @property
    def address(self) -> str:
        """For a browser."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone, or sends what is no HTTP, is no news."""

    def start(self) -> threading.Thread:
        """Serve in a thread until `shutdown`."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="serve", daemon=True)
        thread.start()
        return thread

    def answer(self, target: str) -> Answer:
        """What a GET of this target gets. Raises NotServedError, TaskchaosError."""
        try:
            asked = urlsplit(target)
        except ValueError:
            raise NotServedError("there is no such page") from None
        words = [os.fsdecode(unquote_to_bytes(word)) for word in asked.path.split("/")[1:]]
        match words:
            case [""]:
                rows = history(self.runs)
                flaky = [case for case in case_histories(rows, LAST, "") if case.flaky]
                return _html(pages.runs_page(rows, flaky, str(self.runs)))
            case ["compare"]:
                return self._compare(
                    parse_qs(asked.query, encoding=sys.getfilesystemencoding(), errors="surrogateescape")
                )
            case ["runs", name]:
                self._run(name)
                return Answer(b"", status=HTTPStatus.MOVED_PERMANENTLY, location=f"{asked.path}/")
            case ["runs", name, ""]:
                return self._report(self._run(name), name)
            case ["runs", name, "state.json"]:
                folder = self._run(name)
                state = {"going_on": ongoing.going_on(folder)} | self.live.of(folder).state()
                return Answer(json.dumps(state).encode(), "application/json")
            case ["runs", name, *inside]:
                return self._file(self._run(name), inside)
            case _:
                raise NotServedError("there is no such page")

    def _run(self, name: str) -> Path:
        """A run's folder, by the name that it is listed by."""
        folder = self.runs / name
        with contextlib.suppress(OSError, ValueError):  # such as a name that is too long
            if name and not name.startswith(".") and "/" not in name and folder.is_dir() and not folder.is_symlink():
                return folder
        raise NotServedError(f"there is no run {name}")

    def _report(self, folder: Path, name: str) -> Answer:
        if ongoing.going_on(folder):
            return _html(pages.live_page(name))
        if not (folder / REPORT_HTML).is_file():
            raise NotServedError(f"{name} has no report: `taskchaos judge {folder}` writes one, if it is a run")
        return self._file(folder, [REPORT_HTML])

    def _file(self, folder: Path, inside: list[str]) -> Answer:
        """A file below a run's folder, and of nowhere else. Raises NotServedError."""
        try:
            path = folder.joinpath(*inside).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise NotServedError("there is no such file")
            if path.stat().st_size > MOST_BYTES:
                raise NotServedError(f"{path} is too large to be shown here")
            page = inside == [REPORT_HTML]  # nothing else of a run is run in the browser
            return Answer(path.read_bytes(), "text/html" if page else "text/plain")
        except (OSError, ValueError) as error:
            raise NotServedError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from error

    def _compare(self, query: dict[str, list[str]]) -> Answer:
        names = [query.get(side, [""])[0] for side in ("before", "after")]
        if not all(names):
            raise NotServedError("choose two runs: the one before, and the one after")
        one, two = (stored.load(self._run(name)) for name in names)
        return _html(pages.compare_page(compare(one, two), *names))


def _html(text: str) -> Answer:
    return Answer(text.encode("utf-8", "replace"))


def check_host(host: str) -> None:
    """Raise UsageError unless this is a loopback address: whoever reaches the server sees every run."""
    try:
        good = ipaddress.ip_address(host).is_loopback
    except ValueError:
        good = host == "localhost"
    if not good:
        raise UsageError(f"--host {host}: only loopback is served (127.0.0.1, ::1); for others copy the report")


def is_local(host: str) -> bool:
    """Whether a Host header names loopback."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: RunServer
    protocol_version = "HTTP/1.0"  # one request each: what else a client sends on it is never taken for another
    server_version, sys_version = "taskchaos", ""
    timeout = 30  # of a client that says nothing

    def do_GET(self) -> None:
        self._send(self._answer(self.server.answer))

    def do_HEAD(self) -> None:
        self._send(self._answer(self.server.answer), body=False)

    def _answer(self, answer: Callable[[str], Answer]) -> Answer:
        if not is_local(self.headers.get("Host", "")):
            return Answer(b"This store is for this machine only.\n", "text/plain", HTTPStatus.MISDIRECTED_REQUEST)
        try:
            return answer(self.path)
        except NotServedError as error:
            return _problem(HTTPStatus.NOT_FOUND, "Not here", str(error))
        except (TaskchaosError, OSError) as error:
            return _problem(HTTPStatus.CONFLICT, "This cannot be shown", str(error))
        except Exception as error:
            text = f"a defect of taskchaos: {type(error).__name__}: {error}; please report it"
            return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This cannot be shown", text)

    def _send(self, answer: Answer, *, body: bool = True) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if answer.location:
            self.send_header("Location", answer.location)
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who serves for themselves needs no log of it."""


def _problem(status: HTTPStatus, title: str, text: str) -> Answer:
    return Answer(pages.problem_page(title, text).encode("utf-8", "replace"), status=status)
