"""Whatever a task raises, and whatever raises afterwards, its message is settled as was decided."""

from __future__ import annotations

import pytest
from celery_support import Fleet, got
from hostile_tasks import ENDS, PROCESS
from table_support import row, stat
from waiting import until
from worker_support import at_rest


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_any_exception_is_a_dead_letter_and_the_worker_lives(fleet: Fleet, pool: str) -> None:
    """`os.fsdecode(b"\\xe9")` in a text, and an exception without one, ended every worker that had it."""
    ends = list(ENDS)
    fleet.worker(pool=pool, more=("-c1",))
    for number, how in enumerate(ends):
        fleet.task("raises").apply_async((how,), task_id=f"raises-{number}")
        fleet.task("add").apply_async((number, 0), task_id=f"beside-{number}")
    assert [got(fleet.app.AsyncResult(f"beside-{number}")) for number in range(len(ends))] == list(range(len(ends)))
    until(lambda: at_rest(fleet.redis), lambda: f"settled\n{fleet.log()[-3000:]}", 30)
    assert fleet.workers[0].poll() is None, fleet.log()[-3000:]
    for number, how in enumerate(ends):
        found = row(fleet.redis, f"raises-{number}")
        assert found["st"] == "x" and found["err"], (how, found)
        tries = len(fleet.notes("raises", how.replace(" ", "_")))
        assert tries == (2 if how in PROCESS else 1), how
        until(lambda n=number: fleet.app.AsyncResult(f"raises-{n}").status == "FAILURE", f"{how}: its result is stored")
    assert fleet.held() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_retry_is_tried_again_whatever_it_is_for(fleet: Fleet, pool: str) -> None:
    fleet.worker(pool=pool)
    ends = [how for how in ENDS if how not in PROCESS and how != "memory"]
    for how in ends:
        assert got(fleet.task("retries_for").delay(how)) == how
    for how in ends:
        assert [line[2] for line in fleet.notes("retries_for", how.replace(" ", "_"))] == ["0", "1", "2"], how
    until(lambda: at_rest(fleet.redis), "settled")
    assert stat(fleet.redis, "dead") == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_hook_that_raises_changes_nothing(fleet: Fleet, pool: str) -> None:
    fleet.worker(pool=pool)
    assert got(fleet.task("raising_hooks").delay("again", 2)) == "again"
    assert [line[2] for line in fleet.notes("try", "again")] == ["0", "1", "2"]
    with pytest.raises(KeyError):
        fleet.task("raising_hooks").apply_async(("fatal", 0, True), task_id="fatal").get(timeout=20)
    until(lambda: at_rest(fleet.redis), "settled")
    assert row(fleet.redis, "fatal")["err"] == "KeyError: 'fatal'"
    hooks = {line[1] for line in fleet.notes("hook")}
    assert hooks == {"on_retry", "on_failure", "on_success", "after_return"}
    assert fleet.log().count("event=hook_failed") >= 4


def test_a_task_that_nobody_works_on_is_named_and_given_back(fleet: Fleet) -> None:
    """Its lease was renewed for ever; two of them made a worker with prefetch 1 deaf."""
    fleet.worker(more=("-c1",))
    gate = fleet.folder / "gate"
    fleet.task("waits").apply_async(("one", str(gate)), task_id="one")
    until(lambda: row(fleet.redis, "one").get("s") == "1", "it runs")
    fleet.app.control.broadcast("forget")
    until(lambda: row(fleet.redis, "one").get("c") == "1", lambda: f"given back\n{fleet.log()[-2000:]}", 30)
    assert fleet.log().count("event=abandoned row=one") == 1
    gate.touch()
    assert got(fleet.app.AsyncResult("one")) == "one"
    until(lambda: at_rest(fleet.redis) and fleet.held() == 0, "settled")


@pytest.mark.parametrize("how", ["text", "set", "object"])
def test_a_result_that_cannot_be_written_fails_its_task_alone(fleet: Fleet, how: str) -> None:
    fleet.worker(more=("-c1",))
    result = fleet.task("returns").apply_async((how,), task_id="odd")
    until(result.ready, lambda: f"ready\n{fleet.log()[-2000:]}", 20)
    assert got(fleet.task("add").delay(1, 2)) == 3
    until(lambda: at_rest(fleet.redis), "settled")
    assert len(fleet.notes("returns")) == 1
    assert result.status in ("SUCCESS", "FAILURE")
