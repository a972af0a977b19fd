"""Cases side by side, or one alone, across processes; a waiting loner is not starved."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from taskchaos.harness.conduct.slots import slot

DEADLINE_S = 10.0


def _enter(folder: Path, alone: bool, entered: threading.Event, leave: threading.Event) -> threading.Thread:
    def hold() -> None:
        with slot(folder, alone=alone):
            entered.set()
            leave.wait(DEADLINE_S)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    return thread


def test_cases_run_side_by_side_but_none_beside_one_that_is_alone(tmp_path: Path) -> None:
    inside = [threading.Event() for _ in range(4)]
    leave = [threading.Event() for _ in range(4)]
    first = _enter(tmp_path, False, inside[0], leave[0])
    second = _enter(tmp_path, False, inside[1], leave[1])
    assert inside[0].wait(DEADLINE_S) and inside[1].wait(DEADLINE_S)

    loner = _enter(tmp_path, True, inside[2], leave[2])
    assert not inside[2].wait(0.1)
    newcomer = _enter(tmp_path, False, inside[3], leave[3])
    assert not inside[3].wait(0.1), "a newcomer queues behind the loner"

    leave[0].set()
    leave[1].set()
    assert inside[2].wait(DEADLINE_S)
    assert not inside[3].is_set()
    leave[2].set()
    assert inside[3].wait(DEADLINE_S)
    leave[3].set()
    for thread in (first, second, loner, newcomer):
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_case_can_prepare_beside_others_and_be_alone_for_a_part(tmp_path: Path) -> None:
    reached, go_on = [threading.Event() for _ in range(3)], [threading.Event() for _ in range(3)]

    def prepare_and_measure() -> None:
        with slot(tmp_path, alone=False) as place:
            reached[0].set()
            go_on[0].wait(DEADLINE_S)
            with place.alone():
                reached[1].set()
                go_on[1].wait(DEADLINE_S)
            reached[2].set()
            go_on[2].wait(DEADLINE_S)
            assert place.waited_s >= 0.1, "the neighbour was waited for"

    both = threading.Thread(target=prepare_and_measure, daemon=True)
    both.start()
    entered, leave = threading.Event(), threading.Event()
    neighbour = _enter(tmp_path, False, entered, leave)
    assert reached[0].wait(DEADLINE_S) and entered.wait(DEADLINE_S), "side by side"
    go_on[0].set()
    assert not reached[1].wait(0.2), "it waits until the neighbour has gone"
    leave.set()
    assert reached[1].wait(DEADLINE_S)

    another_in, another_out = threading.Event(), threading.Event()
    another = _enter(tmp_path, True, another_in, another_out)
    assert not another_in.wait(0.1), "nobody is beside it"
    go_on[1].set()
    assert another_in.wait(DEADLINE_S), "what is left of the case keeps nobody from being alone"
    assert reached[2].wait(DEADLINE_S)
    for event in (another_out, go_on[2]):
        event.set()
    for thread in (both, neighbour, another):
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_killed_process_gives_its_place_back(tmp_path: Path) -> None:
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with slot(tmp_path, alone=True):
            os.write(ready_write, b"1")
            threading.Event().wait()
    os.read(ready_read, 1)
    entered, leave = threading.Event(), threading.Event()
    thread = _enter(tmp_path, False, entered, leave)
    assert not entered.wait(0.1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert entered.wait(DEADLINE_S)
    leave.set()
    thread.join(DEADLINE_S)
