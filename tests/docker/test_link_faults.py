"""Faults of links on the compose stack, behind either proxy: proven by the traffic of the role, and held to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker_support import left, missing
from waiting import until

from taskchaos.faults.base import Link, On
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.faults.traffic import Sight
from taskchaos.faults.watch import Watch
from taskchaos.harness.case.stack_options import ProxyKind, StackKind, StackOptions
from taskchaos.harness.stack.containers import images
from taskchaos.harness.stack.containers.stack import ComposeStack
from taskchaos.harness.workload import LoadModel, Workload

#: What an idle worker meets within a few seconds: Redis says little to it.
SOON: dict[str, dict[str, int | str]] = {"limit_data": {"limit_bytes": 3}}


@pytest.fixture(params=list(ProxyKind))
def stack(
    request: pytest.FixtureRequest, tmp_path: Path, require: Callable[[str, bool, str], None]
) -> Iterator[ComposeStack]:
    """A stack whose workers run, and wait for tasks."""
    lacking = missing()
    require("docker", not lacking, lacking)
    options = StackOptions(place=StackKind.COMPOSE, proxy=request.param)
    images.prepare(options)
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with ComposeStack(tmp_path / "case", "stock_best", workload, options) as one:
        one.start_workers()
        yield one
        assert one.whole() == ""
    assert left(one.project) == []


def _ran(stack: ComposeStack, *faults: PlannedFault) -> list[list[Change]]:
    """What each fault of a schedule came to."""
    changes: list[Change] = []
    nemesis = Nemesis(Schedule.of(*faults), stack.links, stack.workers, changes.append, lambda index, undo: None)
    nemesis.start(time.monotonic())
    assert nemesis.join(30) and nemesis.heal_all(), nemesis.unhealed
    return [[change for change in changes if change.index == index] for index in range(len(faults))]


def _states(changes: list[Change]) -> list[FaultState]:
    return [change.state for change in changes]


def _waiting(stack: ComposeStack) -> int:
    """How many workers wait for work."""
    return sum(client["cmd"] == "brpop" for client in stack.inspector.client_list())


def test_faults_are_proven_by_the_traffic_of_their_role(stack: ComposeStack) -> None:
    """Idle workers ask Redis for work all the time; a producer that has nothing to send does not."""
    for kind in faults_on(On.LINK):
        until(lambda: _waiting(stack) == 2, "both are back after the last one")
        worker, results, producer = _ran(
            stack,
            PlannedFault(kind, "worker-1", 0.0, 2.5, SOON.get(kind, {})),
            PlannedFault(kind, "worker-1-results", 0.0, 0.9),
            PlannedFault(kind, "producer-1", 0.0, 0.9),
        )
        held = [FaultState.HELD, FaultState.HEALED]
        assert _states(worker) == [FaultState.INJECTED, FaultState.PROVEN, *held], (kind, worker[1].evidence)
        assert " of worker-1" in worker[1].evidence.seen
        assert _states(results) == [FaultState.INJECTED, FaultState.UNUSED, *held], (kind, results)
        assert _states(producer)[2:] == held, (kind, producer)


def test_traffic_is_seen_where_the_role_runs(stack: ComposeStack) -> None:
    """Of a worker in its container, of a producer here; while the container is paused, nobody in it can be asked."""

    def sight(link: Link) -> Sight:
        return Watch(link, {}).met().sight

    real = stack._options.proxy is ProxyKind.TOXIPROXY
    expected = Sight.ROLE if real else Sight.ALL
    assert sight(stack.links["worker-1"]) is expected and sight(stack.links["producer-1"]) is expected
    met = Watch(stack.links["worker-1"], {}).met()
    assert met.connections >= 1 and met.cut == 0
    stack.workers["worker-1"].pause()
    assert sight(stack.links["worker-1"]) is (Sight.NOTHING if real else Sight.ALL)
    stack.workers["worker-1"].resume()
    assert sight(stack.links["worker-1"]) is expected
