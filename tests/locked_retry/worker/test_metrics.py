"""Metrics: what is counted when, and how it is read: as a dict, by remote control, as Prometheus text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from waiting import until
from worker_support import settled, surroundings

import locked_retry
from locked_retry.broker.turns import Answer, Claim, DeadLettered, SettlementKind
from locked_retry.operator.prometheus import Family, Sample, Type, broker_families, render, worker_families
from locked_retry.operator.statistics import Depth, Memory, Overdue, Rows, Size, Statistics
from locked_retry.options import Options
from locked_retry.worker import metrics as telemetry
from locked_retry.worker.metrics import BOUNDS_S, Histogram, snapshot
from locked_retry.worker.session import Session


def _session(*, codes: str = "", took_s: float = 0.02, **answer: Any) -> Session:
    """One that has claimed nine, ended them in all ways, and been answered."""
    session = Session(Options())
    session.next_turn(0.0, 10, ["q"], 1)
    session.answered(Answer(0, None, "", (), tuple(Claim(f"r{n}", f"{n}", 0, 0, 1, b"{}") for n in range(9))), 0.0)
    kinds = (*SettlementKind, SettlementKind.RETRY)
    for number, kind in enumerate(kinds):
        session.end(str(number), kind)
    session.next_turn(1.0, 10, ["q"], 1)
    session.sent_at_s = session.resent_at_s = 1.0
    session.answered(Answer(0, None, codes, (), (), **answer), 1.0 + took_s)
    return session


def test_ends_are_counted_as_redis_took_them() -> None:
    session = _session(
        codes="ooooooosh", buried=(DeadLettered("x", "", b""),), reaped=2, parked=3, dropped=4, promoted=5
    )
    m = session.metrics
    assert m.settled == {**dict.fromkeys(SettlementKind, 1), SettlementKind.CRASH: 0, SettlementKind.RETRY: 2}
    assert (m.stale, m.held_back, m.dead, m.claimed, m.turns) == (1, 1, 2, 9, 2)
    assert (m.reaped, m.parked, m.dropped, m.promoted) == (2, 3, 4, 5)
    assert m.turn_seconds.count == 2 and m.turn_seconds.sum == pytest.approx(0.02)


def test_an_end_that_waits_for_an_answer_is_unsettled() -> None:
    session = Session(Options())
    session.next_turn(0.0, 10, ["q"], 1)
    session.answered(Answer(0, None, "", (), (Claim("a", "8", 0, 0, 1, b"{}"), Claim("b", "9", 0, 0, 1, b"{}"))), 0.0)
    session.end("8", SettlementKind.OK)
    assert (snapshot(session).held, snapshot(session).unsettled) == (1, 1)
    session.next_turn(9.0, 0, ["q"], 1)
    assert not session.outbox
    assert snapshot(session).unsettled == 1
    session.answered(Answer(0, None, "o", (), ()), 9.1)
    assert snapshot(session).unsettled == 0


def test_a_lease_that_is_found_lost_is_counted_once() -> None:
    session = Session(Options(lease_s=9.0))
    session.next_turn(0.0, 10, ["q"], 1)
    session.answered(Answer(0, None, "", (), (Claim("a", "8", 0, 0, 1, b"{}"),)), 0.0)
    for now_s in (4.0, 8.0):
        session.next_turn(now_s, 10, ["q"], 1)
        session.answered(Answer(0, None, "", ("a",), ()), now_s)
    assert session.metrics.lost == 1


def test_a_histogram_is_cumulative() -> None:
    one, other = Histogram(), Histogram()
    for value in (0.001, 0.02, 0.02, 99.0):
        one.add(value)
    other.add(0.3)
    one.merge(other)
    found = dict(one.cumulative())
    assert [found[b] for b in (0.001, 0.01, 0.025, 0.25, 0.5, 5.0)] == [1, 1, 3, 3, 4, 4]
    assert (one.count, one.sum) == (5, pytest.approx(99.341))
    assert list(found) == list(BOUNDS_S) == sorted(BOUNDS_S)


def test_all_sessions_of_the_process_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _session(codes="ooooooo"), _session(codes="ooooooo")
    monkeypatch.setattr(telemetry, "sessions", {first, second})
    found = locked_retry.metrics()
    assert (found["claimed"], found["settled"]["ok"], found["turn_seconds"]["count"]) == (18, 2, 4)
    assert json.loads(json.dumps(found)) == found
    second.metrics.answered_at_s -= 100
    assert locked_retry.metrics()["answer_age_s"] > 99  # the one that waits longest
    monkeypatch.setattr(telemetry, "sessions", set())
    assert locked_retry.metrics()["claimed"] == 0
    assert "locked_retry_claimed_total 0\n" in locked_retry.prometheus_text()


LINE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (-?[0-9.e+-]+)')


def _checked(text: str) -> dict[str, float]:
    """The samples of a scrape, held to the format: HELP, TYPE and the family's samples, together and once."""
    samples: dict[str, float] = {}
    seen: set[str] = set()
    name = kind = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in seen and len(line.split()) > 3
            seen.add(name)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name
            kind = line.split()[3]
            assert name.endswith("_total") == (kind == "counter")
        else:
            match = LINE.fullmatch(line)
            assert match, line
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert match[1] in [name + suffix for suffix in suffixes]
            assert match[1] + (match[2] or "") not in samples
            samples[match[1] + (match[2] or "")] = float(match[3])
    assert text.endswith("\n")
    return samples


def test_a_worker_is_told_as_prometheus_text() -> None:
    found = _checked(render(worker_families(snapshot(_session(codes="ooooooosh")))))
    assert found['locked_retry_settled_total{kind="retry"}'] == 2
    assert found["locked_retry_stale_settles_total"] == 1
    assert found['locked_retry_turn_seconds_bucket{le="0.01"}'] == 1
    assert found['locked_retry_turn_seconds_bucket{le="+Inf"}'] == found["locked_retry_turn_seconds_count"] == 2
    assert found["locked_retry_turn_seconds_sum"] == pytest.approx(0.02)


def test_the_broker_is_told_as_prometheus_text() -> None:
    depths = (Depth('o"r\\d\ners', 0, 4),)
    memory = Memory(10, 0, "noeviction", {"lease": 7}, Size(1, 2.5), Size(0, 0.0))
    seen = Statistics({"ok": 3}, Rows(1, 2, 3, 4), depths, Overdue(0.0, 1.5), memory)
    text = render(broker_families(seen))
    found = _checked(text)
    assert found['locked_retry_broker_queue_messages{queue="o\\"r\\\\d\\ners",priority="0"}'] == 4
    assert found['locked_retry_broker_rows{state="parked"}'] == 3
    assert found['locked_retry_broker_overdue_seconds{index="delay"}'] == 1.5
    assert found['locked_retry_broker_events_total{event="ok"}'] == 3
    assert "memory" not in render(broker_families(replace(seen, memory=None)))
    assert render([Family("empty", Type.GAUGE, "Nothing.", ())]) == ""
    odd = Family("x", Type.GAUGE, "a\nb", (Sample(1e15),))
    assert render([odd]) == "# HELP x a\\nb\n# TYPE x gauge\nx 1000000000000000\n"


def test_a_worker_tells_by_remote_control(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    with surroundings(shared_server.url, tmp_path) as one:
        one.worker()
        one.send("flaky", "a", 2)
        one.send("ends", "error")
        for number in range(3):
            one.send("locked", 1, 0.2, f"t{number}")
        until(lambda: len(one.notes("end")) == 4 and settled(redis), "all ran")
        (seen,) = one.app.control.inspect(timeout=20.0, limit=1)._request("locked_retry").values()
        # A message that was published without its lock goes round once: "requeue".
        ended = {"ok": 4, "retry": 2, "dead": 1, "requeue": 3}
        assert seen["settled"] == {**{kind.value: 0 for kind in SettlementKind}, **ended}
        assert (seen["dead"], seen["stale"], seen["failures"], seen["held"]) == (1, 0, 0, 0)
        assert seen["parked"] >= 1 and seen["promoted"] == 2
        assert seen["turn_seconds"]["count"] == seen["turns"] > 0 and seen["answer_age_s"] < 60
        outcome = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "tested_app", "inspect", "locked_retry", "--json", "--timeout=3"],
            cwd=tmp_path,
            env={**os.environ, "TESTED_URL": one.url, "TESTED_JOURNAL": str(one.journal)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert outcome.returncode == 0, outcome.stderr
        assert json.loads(outcome.stdout)["w0@test"]["claimed"] >= seen["claimed"]
