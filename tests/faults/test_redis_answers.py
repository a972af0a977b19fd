"""Faults of what Redis answers, on a real stack: no evidence before, evidence of traffic during, none after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis as redis_py
from using_redis import using
from waiting import until

from taskchaos.faults.base import HARNESS, Fault, FaultError, PingResult
from taskchaos.faults.schedule import PlannedFault
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.stack import direct_client
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")

#: By kind: what a client is told while it is in force.
TOLD: dict[str, str] = {
    "redis_read_only": "read only replica",
    "redis_loading": "loading",
    "redis_busy": "BUSY|Busy",
    "redis_out_of_memory": "maxmemory",
    "redis_evicting": "",
    "redis_client_pause": "Timeout",
    "redis_client_kill": "",
    "redis_clients_full": "max number of clients|closed",
    "redis_output_limit": "",
    "redis_script_flush": "",
    "redis_acl": "permission",
}
PARAMETERS: dict[str, dict[str, int | str]] = {"redis_loading": {"most_s": 3}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """One stack for the module; every test leaves it as it was, which the last fixture step checks."""
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with LocalStack(tmp_path_factory.mktemp("stack"), "stock_best", workload, StackOptions()) as running:
        yield running
        until(lambda: not running.redis.whole(), running.redis.whole)


def _using(stack: LocalStack) -> AbstractContextManager[list[str]]:
    link = stack.links["producer-1"]
    return using(link.host, link.port)


def _made(stack: LocalStack, kind: str, **parameters: int | str) -> Fault:
    return PlannedFault(kind, "redis", parameters=parameters).make(stack.links, stack.workers, stack.servers)


@pytest.mark.parametrize("kind", TOLD)
def test_it_bites_those_who_use_it_and_heals(stack: LocalStack, kind: str) -> None:
    fault = _made(stack, kind, **PARAMETERS.get(kind, {}))
    assert fault.undo().action
    with _using(stack) as told:
        assert fault.prove() is None, "no evidence before it is injected"
        fault.inject()
        try:
            evidence = until(fault.prove, fault.missing)
            assert "redis" in evidence.seen and fault.in_force
            if kind != "redis_loading":  # it is killed first
                assert evidence.forgot_since_ns == (0 if kind == "redis_evicting" else None)
            assert fault.holds() and not fault.healed()
            if TOLD[kind]:
                until(lambda: any(part in line for line in told for part in TOLD[kind].split("|")), lambda: str(told))
        finally:
            fault.heal()
        assert fault.verify_healed(), stack.redis.whole()
        assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    fault.heal()
    assert fault.verify_healed()


def test_a_server_that_cannot_be_told_to_load_faster_is_started_again(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.2 refuses CONFIG SET while it is loading."""
    ask = stack.redis.ask

    def refuse(*words: str | int) -> Any:
        if words[:2] == ("CONFIG", "SET"):
            raise FaultError("redis: Only CONFIG GET is allowed during loading")
        return ask(*words)

    fault = _made(stack, "redis_loading", most_s=30)
    with _using(stack):
        fault.inject()
        until(fault.prove, fault.missing)
        monkeypatch.setattr(stack.redis, "ask", refuse)
        fault.heal()
        assert fault.verify_healed(), stack.redis.whole()
    assert not fault.holds()


def test_a_pause_of_all_clients_can_be_seen_and_ended(stack: LocalStack) -> None:
    fault = _made(stack, "redis_client_pause", mode="all")
    with _using(stack) as told:
        fault.inject()
        try:
            assert "PAUSE ALL" in until(fault.prove, fault.missing).seen
            assert fault.holds() and not fault.healed()
            assert stack.links["producer-1"].ping(0.1).result is PingResult.SILENCE
            until(lambda: any("Timeout" in line for line in told), lambda: str(told))
        finally:
            fault.heal()
        assert fault.verify_healed()
    fault.heal()
    assert fault.verify_healed()


def test_volatile_keys_that_are_evicted_are_no_excuse(stack: LocalStack) -> None:
    """What was set to expire may go, and nothing else: whoever keeps the truth there is to blame."""
    client = stack.redis.client
    client.set("volatile", bytes(200_000), ex=600)
    client.set("lasting", bytes(200_000))
    fault = _made(stack, "redis_evicting", policy="volatile-lru", short_kb=300)
    with _using(stack):
        fault.inject()
        evidence = until(fault.prove, fault.missing)
        fault.heal()
    assert evidence.forgot_since_ns is None
    assert fault.verify_healed()
    assert client.exists("lasting") and not client.exists("volatile")
    client.delete("lasting")


def test_nothing_that_nobody_meets_is_proven(stack: LocalStack) -> None:
    """It is there, and the evidence says what is missing."""
    with redis_py.Redis(port=stack.redis.port) as idle:
        idle.ping()
        for kind in set(TOLD) - {"redis_loading", "redis_client_kill", "redis_evicting", "redis_clients_full"}:
            fault = _made(stack, kind)
            fault.inject()
            try:
                assert fault.prove() is None and "nobody met it" in fault.missing(), kind
            finally:
                fault.heal()
            assert fault.verify_healed(), kind


def test_what_cannot_be_done_is_said(stack: LocalStack) -> None:
    with redis_py.Redis(port=stack.redis.port) as idle:
        idle.ping()
        fault = _made(stack, "redis_acl", without="-@nonsense")
        with pytest.raises(FaultError, match=r"redis: .*ACL SETUSER"):
            fault.inject()
    fault.heal()
    assert fault.verify_healed()


def test_the_harness_knows_its_own_connections() -> None:
    assert direct_client.NAME == HARNESS
