"""Faults of Redis's disk and of clocks, on a real stack: no evidence before, evidence during, none after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import redis as redis_py
from talking import talking
from waiting import until

from taskchaos.faults.base import Fault, FaultError
from taskchaos.faults.preload.page import Word, compiler
from taskchaos.faults.schedule import PlannedFault
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")
PREFILLED = Workload(model=LoadModel.PREFILL, prefill=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack as most cases have it."""
    with LocalStack(tmp_path_factory.mktemp("plain"), "stock_best", PREFILLED, StackOptions()) as running:
        yield running
        assert not running.redis.whole()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack | None]:
    """One whose processes have the library, with workers; None where it cannot be compiled."""
    if compiler() is None:
        yield None
        return
    options = StackOptions(preload=True, workers=1)
    with LocalStack(tmp_path_factory.mktemp("loaded"), "stock_best", PREFILLED, options) as running:
        running.start_workers()
        yield running
        assert not running.redis.whole()


@pytest.fixture
def stack(loaded: LocalStack | None, require: Callable[[str, bool, str], None]) -> LocalStack:
    require("preload", loaded is not None, "there is no C compiler")
    assert loaded is not None
    return loaded


def test_a_busy_redis_begins_no_new_file_by_itself(plain: LocalStack) -> None:
    """From 64 MB on it would, and what may not grow would have room again: a full disk that empties by itself."""
    assert plain.redis.client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "0"}


def _made(stack: LocalStack, kind: str, target: str = "redis", **parameters: int | str) -> Fault:
    planned = PlannedFault(kind, target, parameters=parameters)
    return planned.make(stack.links, stack.workers, stack.servers, clocks=stack.clocks)


def _bites_and_heals(stack: LocalStack, fault: Fault, meanwhile: Callable[[], object] = lambda: None) -> str:
    """What it showed while somebody used Redis. `meanwhile` is asked while it is in force."""
    assert fault.undo().action
    with talking(stack.links["producer-1"]):
        assert fault.prove() is None, "no evidence before it is injected"
        fault.inject()
        try:
            evidence = until(fault.prove, fault.missing)
            assert fault.holds() and not fault.healed()
            meanwhile()
        finally:
            fault.heal()
        assert fault.verify_healed(), stack.redis.whole()
        assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    fault.heal()
    assert fault.verify_healed()
    return evidence.seen


def test_a_full_disk_refuses_writes(plain: LocalStack) -> None:
    assert "MISCONF" in _bites_and_heals(plain, _made(plain, "disk_full"))


def test_keys_that_have_expired_stay_where_nobody_ends_them(plain: LocalStack) -> None:
    plain.redis.client.set("leased", 1, px=600_000)
    assert "1 keys of others" in _bites_and_heals(plain, _made(plain, "redis_expiry_off"))
    plain.redis.client.delete("leased")


def test_a_failed_sync_is_healed_by_a_new_file_only(stack: LocalStack) -> None:
    """One is enough: that syncs are good again does not help, because nothing is written that could be synced."""
    fault = _made(stack, "redis_sync_error", error="EIO")

    def good_again() -> None:
        stack.redis.page()[Word.SYNC_ERRNO] = 0
        assert "MISCONF" in stack.redis.refuses_writes()

    seen = _bites_and_heals(stack, fault, good_again)
    assert "failed (EIO)" in seen and "MISCONF" in seen
    assert stack.redis.client.info("persistence")["aof_last_write_status"] == "ok"


def test_a_later_sync_may_be_the_first_that_fails(stack: LocalStack) -> None:
    fault = _made(stack, "redis_sync_error", error="ENOSPC", good=2)
    assert "ENOSPC" in _bites_and_heals(stack, fault)


def test_a_slow_disk(stack: LocalStack) -> None:
    assert "300 ms longer" in _bites_and_heals(stack, _made(stack, "redis_disk_slow", delay_ms=300))


@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_the_clock_of_redis(stack: LocalStack, offset_s: int) -> None:
    def wrong_by(seconds: int) -> bool:
        """Redis looks at its clock when its loop comes round, and tells what it saw."""
        return abs(int(stack.redis.client.time()[0]) - time.time() - seconds) < 60

    seen = _bites_and_heals(
        stack,
        _made(stack, "clock", offset_ms=1000 * offset_s),
        lambda: until(lambda: wrong_by(offset_s), "the wrong time"),
    )
    assert f"{offset_s:+d} s" in seen
    until(lambda: wrong_by(0), "the right time")


def test_the_clock_of_a_worker_and_of_nobody_else(stack: LocalStack) -> None:
    before_s = time.monotonic()
    assert "worker-1 read a clock" in _bites_and_heals(stack, _made(stack, "clock", "worker-1"))
    assert abs(int(stack.redis.client.time()[0]) - time.time()) < 60
    assert time.monotonic() - before_s < 60


def test_what_cannot_be_done_is_said(plain: LocalStack) -> None:
    with pytest.raises(FaultError, match="was not started with the library"), redis_py.Redis(port=plain.redis.port):
        _made(plain, "redis_disk_slow").inject()
    with pytest.raises(FaultError, match="clock: no target 'redis'; there are none on this stack"):
        _made(plain, "clock")
