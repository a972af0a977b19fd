"""The session alone, without Redis and sockets: when a turn is due, what it says, how much it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from locked_retry import lease
from locked_retry.broker.turns import Answer, Claim, SettlementKind
from locked_retry.options import Options
from locked_retry.worker.session import BASE_ROOM, Session


def _answer(*fences: str, codes: str = "", lost: tuple[str, ...] = (), due_ms: int | None = None) -> Answer:
    claims = tuple(Claim(f"row{f}", f, 0, 0, 1, b"{}") for f in fences)
    return Answer(0, due_ms, codes, lost, claims)


def _turn(session: Session, now_s: float, room: int = 10) -> Any:
    turn = session.next_turn(now_s, room, ["q"], 1)
    if turn is not None:
        session.sent_at_s = session.resent_at_s = now_s
    return turn


@pytest.fixture
def session() -> Session:
    lease.new_board()
    return Session(Options(lease_s=9.0, flush_s=0.01))


def test_a_finished_task_waits_for_company_but_not_long(session: Session) -> None:
    assert _turn(session, 0.0).want == 10
    session.answered(_answer("1", "2", due_ms=9000), 0.0)
    assert session.end("1", SettlementKind.OK)
    assert _turn(session, 0.1) is None
    assert session.wait_s(0.1) == pytest.approx(0.01)
    turn = _turn(session, 0.111)
    assert [s.row for s in turn.settles] == ["row1"]


def test_an_ended_task_is_renewed_until_it_is_settled(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1", "2", due_ms=9000), 0.0)
    session.end("1", SettlementKind.OK)
    assert session.overdue(1.0) == []
    assert {r.fence for r in session.overdue(4.0)} == {"1", "2"}
    _turn(session, 4.0)
    assert {r.fence for r in session.overdue(4.0)} == {"2"}, "what is sent is Redis's"


def test_a_task_is_settled_once(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1"), 0.0)
    assert session.end("1", SettlementKind.OK)
    assert not session.end("1", SettlementKind.DEAD)
    assert len(session.outbox) == 1


@pytest.mark.parametrize("stored_first", [False, True])
def test_a_task_whose_result_is_still_to_be_stored_is_settled_after_that(session: Session, stored_first: bool) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1", "2"), 0.0)
    session.started("1")
    session.await_result("1")
    if stored_first:
        session.result_stored("1")
        assert "1" in session.held and not session.outbox, "its end is not told yet"
        assert session.held["1"].left, "whoever hears of its end later knows that its body was done"
        session.end("1", SettlementKind.OK)
    else:
        session.decide("1", SettlementKind.DEAD, reason="failed")
        assert session.end("1", SettlementKind.OK)
        assert "1" in session.held and "1" not in session.running and not session.outbox
        assert [renewal.fence for renewal in session.overdue(20.0)] == ["1", "2"], "it is still ours"
        assert session.storing == {"1"}, "and takes nobody's place"
        session.result_stored("1")
    (settle,) = session.outbox
    assert settle.kind is (SettlementKind.OK if stored_first else SettlementKind.DEAD)
    assert "1" not in session.held
    session.result_stored("1")
    assert len(session.outbox) == 1 and not session.storing


def test_a_worker_that_ends_gives_back_what_waits_for_its_result(session: Session) -> None:
    """It was settled, and its result ended with the worker, which said nothing."""
    _turn(session, 0.0)
    session.answered(_answer("1"), 0.0)
    session.started("1")
    session.await_result("1")
    session.end("1", SettlementKind.OK)
    session.give_back_all()
    session.result_stored("1")
    assert [settle.kind for settle in session.outbox] == [SettlementKind.REQUEUE] and not session.held
    assert not session.storing


def test_the_first_decision_stands(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1"), 0.0)
    session.decide("1", SettlementKind.RETRY, 500, "why")
    session.decide("1", SettlementKind.DEAD)
    session.end("1", SettlementKind.OK)
    (settle,) = session.outbox
    assert (settle.kind, settle.delay_ms, settle.reason) == (SettlementKind.RETRY, 500, "why")


def test_all_leases_are_renewed_at_a_third(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1", "2", due_ms=9000), 0.0)
    assert not (_turn(session, 1.1) or _fail()).renewals  # the idle turn
    session.answered(_answer(due_ms=9000), 1.1)
    turn = _turn(session, 3.01)
    assert [r.fence for r in turn.renewals] == ["1", "2"]
    session.answered(_answer(), 3.2)
    assert lease.board.renewed_at_s == 3.01  # when it was sent, not when it was answered


def _fail() -> Any:
    raise AssertionError("no turn")


def test_a_lost_lease_is_struck_off_and_its_settle_still_sent(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1"), 0.0)
    _turn(session, 3.5)
    session.answered(_answer(lost=("row1",)), 3.5)
    assert lease.board.revoked(1)
    assert not lease.Lease(1, float("inf"), 9.0).valid()
    session.end("1", SettlementKind.OK)
    assert _turn(session, 9.0).settles[0].fence == "1"


def test_a_started_task_is_told_once(session: Session) -> None:
    _turn(session, 0.0)
    session.answered(_answer("1", due_ms=9000), 0.0)
    session.started("1")
    assert [r.started for r in _turn(session, 1.1).renewals] == [True]
    session.answered(_answer(due_ms=9000), 1.1)
    assert not _turn(session, 2.2).renewals


def test_holding_grows_while_starved_and_stays_small_for_slow_tasks(session: Session) -> None:
    now_s = 0.0
    for _ in range(6):
        room = session.limit(0)
        turn = _turn(session, now_s, room)
        now_s += 0.1
        for claim in session.answered(_answer(*[f"{now_s:.0f}{n}" for n in range(turn.want)]), now_s):
            session.end(claim.fence, SettlementKind.OK)
    assert session.limit(0) > 500
    assert session.limit(16) == 16
    slow = Session(Options())
    assert slow.limit(0) == BASE_ROOM


@pytest.mark.parametrize(("task_s", "most"), [(0.03, 2 * BASE_ROOM), (0.001, 400)])
def test_a_worker_whose_tasks_run_in_its_loop_holds_little_of_what_is_slow(
    session: Session, task_s: float, most: int
) -> None:
    """It always asks when all is done; it took that for a turn that was too slow, and held ever more (solo pool)."""
    now_s = 0.0
    for _ in range(40):
        while (turn := _turn(session, now_s, session.limit(0) - len(session.held))) is None:
            now_s += 0.005
        now_s += 0.001
        for claim in session.answered(_answer(*[f"{round(1e6 * now_s)}{n}" for n in range(turn.want)]), now_s):
            session.started(claim.fence)
            now_s += task_s
            session.end(claim.fence, SettlementKind.OK)
    assert most / 2 < session.limit(0) <= most


def _turns(session: Session, seconds: list[float], now_s: float, *, finished: bool) -> float:
    """Turns that take so long, of a queue that is never empty; the time after. finished: meanwhile all is, else two."""

    def end(tasks: int) -> None:
        for tag in list(session.held)[:tasks]:
            session.started(tag)
            session.end(tag, SettlementKind.OK)

    for took_s in seconds:
        while (turn := _turn(session, now_s, session.limit(0) - len(session.held))) is None:
            now_s += 0.02
        end(len(session.held) if finished else 0)
        now_s += took_s
        session.answered(_answer(*[f"{round(1e6 * now_s)}{n}" for n in range(turn.want)]), now_s)
        end(0 if finished else 2)
        now_s += 0.2
    return now_s


@pytest.mark.parametrize("finished", [False, True])
def test_a_worker_does_not_hold_more_after_an_outage(session: Session, finished: bool) -> None:
    """It took it for a distance, and held a second's tasks from others who had nothing to do."""
    now_s = _turns(session, [0.001] * 20, 0.0, finished=False)
    before = session.limit(0)
    now_s = _turns(session, [0.9], now_s, finished=finished)
    assert session.limit(0) <= before + 2


def test_a_worker_far_away_holds_more(session: Session) -> None:
    now_s = _turns(session, [0.001] * 20, 0.0, finished=False)
    before = session.limit(0)
    _turns(session, [0.5] * 6, now_s, finished=False)
    assert session.limit(0) > before + 5


def test_leases_end_by_the_holders_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    lease.new_board()
    now_s = 100.0
    monkeypatch.setattr("locked_retry.clock.now_s", lambda: now_s)
    one = lease.Lease(7, 100.0, 3.0)
    assert one.left_s == pytest.approx(2.97)
    now_s = 102.98
    assert not one.valid()
    lease.board.renewed(102.0)
    assert one.valid()


@pytest.mark.parametrize("given", [{"lease": 3}, {"lease_s": 0}, {"max_crashes": -1}])
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown settings|has to be"):
        Options.read({"locked_retry": given})


def test_a_task_that_is_given_back_is_no_longer_held(session: Session) -> None:
    """Threads go on while their worker ends: what another worker may run by now, they must not take for theirs."""
    _turn(session, 0.0)
    session.answered(_answer("1", "2", "3"), 0.0)
    session.started("1")
    session.decide("2", SettlementKind.OK)
    session.give_back_all()
    assert [lease.board.revoked(n) for n in (1, 2, 3)] == [True, False, True]
    assert [(s.row, s.kind) for s in session.outbox] == [
        ("row3", SettlementKind.REQUEUE),
        ("row2", SettlementKind.OK),
        ("row1", SettlementKind.REQUEUE),
    ]
