"""Celery's own integration tests on locked_retry: those that are quick and depend on no race, on every pool.

All of them: `tox -e celery-integration`. What comes out otherwise than on Celery's own transport has its reason in
differences.toml; a test that is named there and passes fails here.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import celery
import pytest
from celery_suite_support import GIVEN, PINNED, POOLS, SAMPLE, Call, Outcome, Unobtainable, obtain, run
from server_process import Server

#: More is no accident.
MOST_AGAIN = 3


def test_celerys_own_integration_tests_pass(
    require: Callable[[str, bool, str], None], source: Path | Unobtainable, tmp_path: Path
) -> None:
    """All pools at once, each with its share of the tests: they wait for most of their time."""
    if isinstance(source, Unobtainable):
        require("celery-suite", False, str(source))
    pools = [pool for pool in POOLS if pool != "gevent" or importlib.util.find_spec("gevent") is not None]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(pools)) as threads:
        outcomes = []
        for number, pool in enumerate(pools):
            (tmp_path / pool).mkdir()
            server = Server(tmp_path / pool)
            stack.callback(server.stop)
            every = len(pools) * (2 if pool == "gevent" else 1)  # whose workers are slow to answer remote control
            call = Call("locked_retry", pool, SAMPLE, 300, f"{number}/{every}")
            outcomes.append((server, threads.submit(run, source, server, call)))
        ended = [(server, outcome.result()) for server, outcome in outcomes]
        print(*(outcome for _, outcome in ended), sep="\n")
        wrong = [again(source, server, outcome) for server, outcome in ended if outcome.faults()]
    wrong = [outcome for outcome in wrong if outcome.faults()]
    assert not wrong, "\n".join(line for one in wrong for line in (str(one), *one.faults(), one.output))


def again(source: Path, server: Server, first: Outcome) -> Outcome:
    """What failed is run once more, alone: Celery's tests allow a second for much, and this machine is busy.

    What is wrong with locked_retry is wrong twice. What was run again is printed.
    """
    failed = tuple(test for test in first.tests if f"{test} failed" in first.faults())
    if not failed or len(failed) > MOST_AGAIN or len(failed) < len(first.faults()):
        return first
    server.client.flushall()
    second = run(source, server, Call("locked_retry", first.call.pool, failed, 200))
    print("again:", second, *failed, *second.faults(), sep="\n  ")
    return second


DIFFERS = "test_inspect.py::test_Inspect::test_active"
FINE = "test_tasks.py::test_tasks::test_fail"


@pytest.mark.parametrize(
    ("tests", "complete", "says"),
    [
        ({DIFFERS: "failed", FINE: "passed"}, True, ""),
        ({DIFFERS: "failed", FINE: "failed"}, True, f"{FINE} failed"),
        ({DIFFERS: "passed"}, True, f"{DIFFERS} passed, but"),
        ({FINE: "passed"}, False, "the run did not come to its end"),
        ({}, True, "the run did not come to its end"),
    ],
)
def test_a_fault_of_a_run_is_named(tests: dict[str, str], complete: bool, says: str) -> None:
    outcome = Outcome(Call("locked_retry", "prefork", ("test_tasks.py",), 1.0, "0/5"), tests, "", 1.0, complete)
    assert "".join(outcome.faults()).startswith(says) and bool(outcome.faults()) == bool(says)


def test_a_difference_whose_test_is_gone_is_noticed() -> None:
    outcome = Outcome(Call("locked_retry", "prefork", ("test_inspect.py",), 1.0), {FINE: "passed"}, "", 1.0, True)
    assert f"{DIFFERS} did not run" in outcome.faults()


def test_another_file_is_not_taken_for_celerys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if celery.__version__.split(".")[:2] != PINNED.split(".")[:2]:
        pytest.skip(f"Celery {celery.__version__} has other tests")
    (tmp_path / "celery.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv(GIVEN, str(tmp_path / "celery.tar.gz"))
    with pytest.raises(Unobtainable, match="is not the source distribution"):
        obtain(tmp_path)
