"""Every fault of Redis and of clocks, broken in every way of its own: none passes as proven, held and healed.

All run at the same time, each on a Redis of its own. What becomes of exceptions is the same for every fault: see
test_sabotage.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sabotage import CASES, Broken, Case
from using_redis import using

from taskchaos.faults.base import Ability, On
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.preload.page import compiler, library
from taskchaos.faults.redis_process import ServerDown
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.harness.stack.redis_server import RedisServer, find_binary

pytestmark = pytest.mark.usefixtures("linux")

#: Those whose process ends or stands still are in test_sabotage.py; of a broken failover, test_failover.py knows.
ELSEWHERE = ("redis_kill", "redis_restart", "redis_empty", "redis_pause", "redis_power_loss")
KINDS = [
    kind
    for kind in faults_on(On.SERVER, On.CLOCK)
    if kind not in ELSEWHERE and Ability.REPLICA not in FAULTS[kind].needs
]
#: What ends another's process breaks more than its own kind.
RUNNING = [kind for kind in KINDS if not issubclass(FAULTS[kind], ServerDown)]
NO_LONGER_S = 30.0


@contextmanager
def one_for_each(kinds: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    """Servers by the kinds of faults that are done to them."""
    preload = library() if compiler() else None
    with ExitStack() as opened:
        made = {}
        for kind in kinds:
            folder = tmp_path_factory.mktemp(kind)
            server = RedisServer(find_binary(None), folder / "redis", folder / "redis.log", preload=preload)
            opened.callback(server.stop)
            made[kind] = server
        yield made


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    with one_for_each(KINDS, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    """To be done to these is a mistake. None is the right one of another kind, which would take it for its set-up."""
    with one_for_each(RUNNING, tmp_path_factory) as made:
        yield made


def ended(broken: Broken) -> None:
    """It ends by itself before the last look."""

    def holds() -> bool:
        heal()
        assert broken.fault.verify_healed()
        return bool(really())

    heal, really = broken.fault.heal, broken.patch("holds", lambda: holds())


ENDED = Case("ended", ended, 0.3, frozenset({FaultState.VANISHED}), frozenset({FaultState.HELD}))


@pytest.mark.parametrize("name", ["nothing", "elsewhere", "ended", "for_ever", "inject-FaultError-after"])
def test_broken_faults_never_pass(
    servers: dict[str, RedisServer],
    require: Callable[[str, bool, str], None],
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    require("preload", compiler() is not None, "there is no C compiler")
    case = ENDED if name == ENDED.name else CASES[name]
    kinds, wrong = KINDS, servers
    if name == "elsewhere":
        kinds, wrong = RUNNING, request.getfixturevalue("others")
    changes: list[Change] = []
    faults = [PlannedFault(kind, kind, 0.0, case.hold_s) for kind in kinds]
    nemesis = Nemesis(
        Schedule.of(*faults), {}, {}, changes.append, lambda index, undo: None, dict(servers), clocks=dict(servers)
    )
    broken = []
    for planned, fault in nemesis._plan:
        broken.append(Broken(fault, wrong[planned.kind]))
        case.sabotage(broken[-1])
    with ExitStack() as used:
        for kind in kinds:
            used.enter_context(using("127.0.0.1", servers[kind].port))
        nemesis.start(time.monotonic())
        assert nemesis.join(NO_LONGER_S), "it hangs"
        for index, (planned, _) in enumerate(nemesis._plan):
            states = {change.state for change in changes if change.index == index}
            passes = {FaultState.PROVEN, FaultState.HEALED} <= states and FaultState.VANISHED not in states
            assert not passes or FaultState.HEAL_FAILED in states, (planned.kind, states)
            assert case.has <= states and not case.lacks & states, (planned.kind, states)
        nemesis.heal_all()
        for one in broken:
            one.mend()
            vars(one.fault).pop("heal_deadline_s", None)
        assert nemesis.heal_all(), nemesis.unhealed
    for kind, server in servers.items():
        assert not server.whole(), kind
