"""A poison message: there until a worker takes it, which is its evidence; what is left of it goes when it is healed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from course import Course
from waiting import until

from taskchaos.faults.base import QUEUE
from taskchaos.faults.message import POISONS, PoisonMessage
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.state import FaultState
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose workers are not started: nobody takes what is on the queue."""
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with LocalStack(tmp_path_factory.mktemp("stack"), "stock_best", workload, StackOptions()) as running:
        yield running


def _made(stack: LocalStack, how: str) -> PoisonMessage:
    fault = PlannedFault("poison_message", QUEUE, parameters={"how": how}).make({}, {}, {}, stack.queues)
    assert isinstance(fault, PoisonMessage)
    return fault


@pytest.mark.parametrize("how", list(POISONS))
def test_a_poison_message_has_bitten_when_it_is_taken(stack: LocalStack, how: str) -> None:
    redis, fault = stack.redis.client, _made(stack, how)
    redis.lpush("celery", "another")
    assert fault.prove() is None and not fault.in_force, "no evidence before it is injected"
    fault.inject()
    assert fault.prove() is None and fault.in_force and not fault.healed(), "it waits"
    assert redis.brpop("celery", 1)[1] == b"another"
    taken = redis.brpop("celery", 1)
    evidence = fault.prove()
    assert taken and evidence and how in evidence.seen
    for _ in range(2):
        fault.heal()
        assert fault.healed() and redis.llen("celery") == 0


def test_healing_removes_the_message_wherever_it_is_and_nothing_else(stack: LocalStack) -> None:
    redis, fault = stack.redis.client, _made(stack, "eta")
    redis.lpush("celery", "another")
    fault.inject()
    (message,) = (m for m in redis.lrange("celery", 0, -1) if m != b"another")
    redis.hset("unacked", mapping={"its": json.dumps([json.loads(message), "", "celery"]), "other": "[]"})
    redis.zadd("unacked_index", {"its": 1, "other": 2})
    redis.lpush("celery", json.dumps(json.loads(message), indent=1))  # as kombu gives back what was not acknowledged
    fault.heal()
    assert fault.healed()
    assert redis.lrange("celery", 0, -1) == [b"another"]
    assert (redis.hkeys("unacked"), redis.zrange("unacked_index", 0, -1)) == ([b"other"], [b"other"])
    redis.delete("celery", "unacked", "unacked_index")


def test_a_poison_message_that_nobody_takes_is_unproven_and_removed(stack: LocalStack) -> None:
    changes: list[Change] = []
    schedule = Schedule.of(PlannedFault("poison_message", QUEUE, 0.0, 0.3, {"how": "no_json"}))
    nemesis = Nemesis(schedule, {}, {}, changes.append, lambda index, undo: None, {}, stack.queues)
    course = Course(changes, nemesis)
    course.begin()
    until(lambda: stack.redis.client.llen("celery") == 1, "it is on the queue")
    assert nemesis.join(10.0)
    assert course.states() == [FaultState.INJECTED, FaultState.UNPROVEN, FaultState.HEALED]
    assert "nobody took it" in course.said(FaultState.UNPROVEN)
    assert stack.redis.client.llen("celery") == 0
