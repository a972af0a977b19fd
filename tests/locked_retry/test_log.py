"""Log lines: one form, names that stay and are in the docs' table; real workers tell what an operator has to know."""

from __future__ import annotations

import logging
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from server_process import Server
from table_support import message
from waiting import until
from worker_support import Tested, surroundings

from locked_retry import log
from locked_retry.broker.turns import Answer, DeadLettered, Settlement, SettlementKind, Turn
from locked_retry.log import LEVELS, Event, say
from locked_retry.worker.answer_log import say_answer

PACKAGE = Path(log.__file__).parent
REFERENCE = PACKAGE.parent / "docs/reference/locked_retry.md"


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_an_event_is_one_line_whatever_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "locked_retry")
    say(Event.REAPED, rows=3)
    say(Event.DEAD_LETTER, row="a-1", reason='ValueError: "x"\n= y')
    say(Event.SWEEP_FAILED, error=ConnectionError("gone"), again_in_s=0.05123)
    say(Event.NOT_A_MESSAGE, row="", error="x" * 5000)
    lines = _said(caplog)
    assert lines[0] == "locked_retry event=reaped rows=3"
    assert lines[1] == 'locked_retry event=dead_letter row=a-1 reason="ValueError: \\"x\\"\\n= y"'
    assert lines[2] == 'locked_retry event=sweep_failed error="ConnectionError: gone" again_in_s=0.05123'
    assert lines[3].startswith('locked_retry event=not_a_message row="" error=xx') and len(lines[3]) < 600
    assert [r.levelno for r in caplog.records] == [30, 30, 10, 40]
    assert caplog.records[0].locked_retry == {"event": "reaped", "rows": 3}  # type: ignore[attr-defined]


def test_a_quiet_event_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "locked_retry")
    say(Event.CONNECTION_FAILED, quiet=True, failures=2)
    assert not caplog.records


def test_an_answer_is_logged_when_it_holds_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "locked_retry")
    kinds = (
        SettlementKind.OK,
        SettlementKind.DEAD,
        SettlementKind.OK,
        SettlementKind.CRASH,
        SettlementKind.CRASH,
        SettlementKind.RETRY,
        SettlementKind.RETRY,
    )
    reasons = ["3 exit" if kind is SettlementKind.CRASH else "why" for kind in kinds]
    settles = [Settlement(f"r{n}", str(n), kind, 0, reasons[n]) for n, kind in enumerate(kinds)]
    turn = Turn("w", 1, ("q",), 1, 0, 0, 0, 0, settles=settles)
    buried = (DeadLettered("r4", "exit", b""),)
    say_answer(turn, Answer(0, None, "oosoxoh", ("r9",), (), reaped=2, dropped=1, buried=buried))
    assert _said(caplog) == [
        "locked_retry event=dead_letter row=r1 reason=why",
        "locked_retry event=settle_refused row=r2 fence=2 kind=ok",
        "locked_retry event=crashed row=r3 reason=exit",
        "locked_retry event=held_back row=r6 reason=why",
        "locked_retry event=dead_letter row=r4 reason=exit",
        "locked_retry event=lease_lost row=r9",
        "locked_retry event=reaped rows=2",
        "locked_retry event=duplicate_dropped rows=1",
    ]
    caplog.clear()
    say_answer(Turn("w", 2, ("q",), 1, 0, 0, 0, 0, settles=settles[:1]), Answer(0, None, "o", (), ()))
    assert not caplog.records


def test_the_reference_has_every_event_with_its_level() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (DEBUG|INFO|WARNING|ERROR) \|", REFERENCE.read_text(), re.MULTILINE))
    assert rows == {event.value: logging.getLevelName(level) for event, level in LEVELS.items()}
    assert set(LEVELS) == set(Event)


def test_nothing_of_the_package_logs_in_another_way() -> None:
    others = [path.name for path in PACKAGE.rglob("*.py") if path.name != "log.py" and "getLogger" in path.read_text()]
    assert not others, f"{others}: use locked_retry.log.say"


def _events(tested: Tested, number: int = 0) -> list[str]:
    return re.findall(r"locked_retry event=(\w+)", tested.log(number))


def test_a_worker_logs_what_it_goes_through(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    """It starts, gives up a task, drops a duplicate, reaps what a dead worker held, and gives back what it holds."""
    with surroundings(shared_server.url, tmp_path) as one:
        first = one.worker(options='{"lease_s": 1.0}')
        one.send("note", "held", 2)
        until(lambda: one.notes("begin", "held"), "the first one holds a task")
        os.killpg(first.pid, signal.SIGKILL)
        second = one.worker(options='{"lease_s": 1.0}')
        until(lambda: "reaped" in _events(one, 1), "it was reaped", 20)
        one.send("ends", "error", task_id="bad")
        redis.set("lr:done:twice", "1", ex=60)
        redis.lpush("celery", message("twice"))
        wanted = {"dead_letter", "duplicate_dropped"}
        until(lambda: wanted <= set(_events(one, 1)), f"told: {one.log(1)}")
        for _ in range(6):
            one.send("note", "more", 1)
        until(lambda: one.log(1).count("Task note[") > 4, "more is held than runs")
        os.kill(second.pid, signal.SIGTERM)
        second.wait(60)
        log = one.log(1)
        assert re.search(r"event=started worker=\w{32} prefix=lr: lease_s=1 held=0", log)
        assert 'event=dead_letter row=bad reason="ValueError: for good"' in log
        assert re.search(r"event=given_back rows=[1-9]", log)
        assert redis.zcard("lr:lease") == 0


def test_a_lost_connection_and_its_return_are_logged(server: Server, tmp_path: Path) -> None:
    with surroundings(server.url, tmp_path) as one:
        one.worker()
        server.kill()
        until(lambda: "connection_failed" in _events(one), "told")
        server.start()
        until(lambda: "connection_restored" in _events(one), "and told that it is over")
        assert re.search(r"event=connection_failed error=.* again_in_s=\S+ failures=1 held=0\n", one.log())
