"""A plugin of pytest that runs Celery's own integration tests on locked_retry, without a change to their files.

Celery's fixtures call `TestApp` and `start_worker` by name, so that what is put in their place is what they use.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import suite_settings
from celery.app.control import Inspect
from celery.contrib.testing import app as testing_app
from celery.contrib.testing import worker as testing_worker
from celery.contrib.testing.manager import Manager
from celery.result import _set_task_join_will_block
from celery.utils.nodenames import anon_nodename

import locked_retry
from locked_retry import LockedTask

#: Celery's own limit is 300 s. None of the tests that are run here takes as long, and a hang has to be told from it.
LONGEST_TEST_S = 240
OPTIONS = "-lINFO --without-gossip --without-mingle --without-heartbeat"
#: One, as Celery's fixtures have it, so that tests find the next task waiting. gevent's loop stands still while all
#: greenlets are busy, with remote control.
CONCURRENCY = {"gevent": 10}

#: A test has failed when any of its phases or sub-tests has.
RANKS = ("xfailed", "skipped", "passed", "failed")
_outcomes: dict[str, str] = {}

_test_app: Callable[..., Any] = testing_app.TestApp
_start_worker: Callable[..., Any] = testing_worker.start_worker
_inspect_init: Callable[..., None] = Inspect.__init__


def _installed_app(*args: Any, **kwargs: Any) -> Any:
    app = _test_app(*args, **{"task_cls": LockedTask, **kwargs})
    locked_retry.install(app)
    return app


@contextlib.contextmanager
def _worker(app: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """The worker of all tests: in a process of its own, unless it is to be embedded."""
    if suite_settings.POOL == "embedded":
        with _start_worker(app, *args, **kwargs) as worker:
            yield worker
        return
    app.finalize()
    app.set_current()
    app.set_default()
    pool, path = suite_settings.POOL, Path(suite_settings.WORKER_LOG)
    # --pool, as Celery looks for gevent before it parses anything, and does not see it in -Pgevent.
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "suite_worker",
        "worker",
        f"--pool={pool}",
        f"-c{CONCURRENCY.get(pool, 1)}",
        f"-n{anon_nodename()}",
    ]
    command += OPTIONS.split()
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        end_s = time.monotonic() + 30
        while "ready." not in path.read_text():
            assert process.poll() is None and time.monotonic() < end_s, path.read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the worker did not end within 20 s of SIGTERM: {path.read_text()[-2000:]}")


def _of_one_worker(self: Inspect, *args: Any, **kwargs: Any) -> None:
    """`inspect` waits a second for more replies; there is one worker."""
    _inspect_init(self, *args, **kwargs)
    self.limit = self.limit or 1


def _wait_until_idle(self: Manager) -> None:
    """Celery's asks once, and for a second; as that is not waited for here, it is asked until it stays so.

    What a test leaves running would be in the way of the next one.
    """
    inspect = self.app.control.inspect(timeout=5.0)
    quiet, end_s = 0, time.monotonic() + 60
    while quiet < 2 and time.monotonic() < end_s:
        busy = self.app.control.purge() or any(
            (ask() or {"nobody": ["answered"]}).popitem()[1] for ask in (inspect.active, inspect.reserved)
        )
        quiet = 0 if busy else quiet + 1
        time.sleep(0.02)


def pytest_configure(config: pytest.Config) -> None:
    """Put ours in the place of Celery's. Its tests are not repeated here: what fails now and then is to be seen."""
    for mark in ("flaky", "timeout", "celery"):
        config.addinivalue_line("markers", mark)
    if suite_settings.OURS:
        testing_app.TestApp = _installed_app
    testing_worker.start_worker = _worker
    Inspect.__init__ = _of_one_worker
    Manager.wait_until_idle = _wait_until_idle


def _name(item: pytest.Item | pytest.TestReport) -> str:
    return item.nodeid.removeprefix("t/integration/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this run's share of them."""
    beginnings = tuple(f"{name}{sign}" for name in suite_settings.WITHOUT for sign in ("::", "["))
    names = {item: _name(item) for item in items}
    kept = [i for i in items if names[i] not in suite_settings.WITHOUT and not names[i].startswith(beginnings)]
    if suite_settings.SHARE:
        number, _, of = suite_settings.SHARE.partition("/")
        kept = kept[int(number) :: int(of)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that hangs fails."""

    def late(*_: Any) -> None:
        raise AssertionError(f"{item.nodeid} did not end within {LONGEST_TEST_S} s")

    _set_task_join_will_block(False)  # a solo worker that test_worker.py builds, and does not run, leaves it set
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST_TEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what became of each test. One that is expected to fail says so in Celery's own files."""
    name = _name(report)
    outcome = "xfailed" if hasattr(report, "wasxfail") and report.outcome == "skipped" else report.outcome
    if report.when == "call" or outcome != "passed":
        _outcomes[name] = max(outcome, _outcomes.get(name, outcome), key=RANKS.index)


def pytest_sessionfinish() -> None:
    """Hand them over."""
    Path(suite_settings.OUTCOMES).write_text(json.dumps(_outcomes))
