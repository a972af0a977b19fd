"""Celery's canvas: every step once, whatever its tasks go through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery_support import Fleet, fleet_on, got
from table_support import stat
from waiting import until


@pytest.fixture(scope="module", params=["prefork", "threads"])
def fleet(request: Any, shared_server: Any, tmp_path_factory: Any) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path_factory.mktemp("canvas")) as one:
        one.pool = request.param
        one.worker(pool=one.pool, options='{"lease_s": 5.0}')
        yield one


def test_chains_and_groups_give_their_results(fleet: Fleet) -> None:
    assert got(chain(fleet.s("add", 1, 2), fleet.s("add", 3), fleet.s("add", 4), app=fleet.app)()) == 10
    assert got(group(fleet.s("add", n, n) for n in range(5))()) == [0, 2, 4, 6, 8]
    nested = chain(group(fleet.s("add", 1, 1), fleet.s("add", 2, 2)), fleet.s("collect", "nested"), app=fleet.app)
    assert got(nested()) == [2, 4]
    deep = group(chain(fleet.s("add", 1, 1), group(fleet.s("add", 1), fleet.s("add", 2))), fleet.s("add", 5, 5))
    assert got(deep()) == [[3, 4], 10]


def test_retried_tasks_inside_a_chain_go_on(fleet: Fleet) -> None:
    how = {"countdown": 0.01}
    steps = (fleet.si("flaky", "c1", 2, **how), fleet.si("flaky", "c2", 1, **how), fleet.si("note", "c3"))
    assert got(chain(*steps, app=fleet.app)()) == "c3"
    assert [len(fleet.notes("try", n)) for n in ("c1", "c2")] == [3, 2] and len(fleet.notes("begin", "c3")) == 1


def test_a_chain_that_cannot_be_sent_on_is_a_dead_letter(fleet: Fleet) -> None:
    """Before 5.7 Celery took any error there for a success of the step before: the rest of the chain was lost."""
    dead = stat(fleet.redis, "dead")
    chain(fleet.si("note", "sends"), fleet.si("unsendable", "sent"), app=fleet.app)()
    until(lambda: stat(fleet.redis, "dead") == dead + 1, "a dead letter")
    fleet.settle()
    assert len(fleet.notes("begin", "sends")) == 1 and not fleet.notes("unsendable", "sent")


def test_a_chords_body_runs_once(fleet: Fleet, tmp_path: Path) -> None:
    header = [fleet.s("flaky", "h1", 2, countdown=0.01), fleet.s("flaky", "h2", 1), fleet.s("note", "h3")]
    if fleet.pool == "prefork":
        header.append(fleet.s("killed_once", "h4", str(tmp_path / "once")))
    names = [f"h{n + 1}" for n in range(len(header))]
    result = chord(header, fleet.s("collect", "chord"), app=fleet.app)()
    assert got(result) == names
    fleet.settle()
    assert fleet.notes("collect", "chord") == [["collect", "chord", *names]]
    assert len(fleet.notes("try", "h1")) == 3
    assert len(fleet.notes("try", "h4")) == (2 if fleet.pool == "prefork" else 0)


@pytest.mark.parametrize("end", ["is done", "fails", "is killed once", "is killed"])
def test_a_chord_ends_although_who_was_to_send_its_body_has_not(fleet: Fleet, end: str, tmp_path: Path) -> None:
    """Killed after its claim to send it, which since 5.7 stands for seconds, or the reply that grants it lost."""
    if "killed" in end and fleet.pool != "prefork":
        pytest.skip("it would take the worker along")
    gate, name = tmp_path / "gate", f"claimed-{end.replace(' ', '-')}"
    body = fleet.s("collect", name).on_error(fleet.s("errback"))
    result = chord([fleet.s("note", "c1"), fleet.s("gated", "c2", str(gate), end)], body, app=fleet.app)()
    claim = fleet.app.backend.get_key_for_group(result.parent.id, ".c")
    fleet.app.backend.client.set(claim, "of a process that was killed", px=1500)
    gate.touch()
    until(result.ready, "an end of the chord", 20)
    fleet.settle()
    if end in ("is done", "is killed once"):
        assert fleet.notes("collect", name) == [["collect", name, "c1", "c2"]]
    else:
        until(lambda: fleet.notes("errback", result.id), "the errback ran")
        assert isinstance(result.result, ChordError) and len(fleet.notes("errback", result.id)) == 1
        assert not fleet.notes("collect", name)


def test_a_chord_of_retried_chains_runs_its_retried_body_once(fleet: Fleet) -> None:
    header = [chain(fleet.s("flaky", f"p{n}", 1, countdown=0), fleet.si("add", n, n)) for n in range(3)]
    body = chain(fleet.s("collect", "chains"), fleet.si("flaky", "after", 1, countdown=0))
    assert got(chord(header, body, app=fleet.app)()) == "after"
    fleet.settle()
    assert fleet.notes("collect", "chains") == [["collect", "chains", "0", "2", "4"]]
    assert len(fleet.notes("try", "after")) == 2


def test_a_replaced_task_gives_the_result_of_its_replacement(fleet: Fleet) -> None:
    assert got(fleet.task("replaced").delay("rep")) == "rep"
    assert [n[2:] for n in fleet.notes("try", "rep")] == [[], ["0"], ["1"]]
    assert got(fleet.task("replaced").delay("repc", "chain")) == "repc2"
    header = [fleet.s("replaced", "rh1"), fleet.s("replaced", "rh2", "chain")]
    assert got(chord(header, fleet.s("collect", "reps"), app=fleet.app)()) == ["rh1", "rh22"]
    fleet.settle()
    assert len(fleet.notes("collect", "reps")) == 1


@pytest.mark.parametrize("end", ["hopeless", "killer"])
def test_a_chord_fails_once_when_a_header_fails_for_good(fleet: Fleet, end: str) -> None:
    """Also when crashes are what was used up: it must not wait for ever."""
    if end == "killer" and fleet.pool == "threads":
        pytest.skip("it would take the worker along")
    body = fleet.s("collect", f"never-{end}").on_error(fleet.s("errback"))
    result = chord([fleet.s("add", 1, 1), fleet.s(end, f"bad-{end}")], body, app=fleet.app)()
    until(lambda: result.state == "FAILURE", "the body failed", 20)
    assert isinstance(result.result, ChordError), result.result
    assert ("never" if end == "hopeless" else "WorkerLostError") in str(result.result)
    until(lambda: fleet.notes("errback", result.id), "the errback ran")
    fleet.settle()
    assert len(fleet.notes("errback", result.id)) == 1
    assert not fleet.notes("collect", f"never-{end}")
