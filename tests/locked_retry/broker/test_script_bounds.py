"""How much one script call does when there is very much of something: in commands; in time see bench/bounded.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from table_support import KEYS, SettlementKind, Worker, message, row, settle, stat, state

from locked_retry.broker.audit import SLICE, Audit
from locked_retry.broker.turns import Answer, Claim
from locked_retry.operator.dead_letters import Tools
from locked_retry.options import Options
from locked_retry.worker.session import MOST_SETTLES, MOST_SETTLES_FROM_AFAR, Session

MANY = 3000
WANT = 8
#: Pops beside what is wanted, and rows promoted or reaped, in one turn.
MOST_POPS, MOST_ROWS = WANT + 60, 100
#: All commands of a turn; a round number above what one with nothing but its limits takes.
MOST_COMMANDS = 1500


def spent(redis: Redis, call: Callable[[], Any]) -> Counter[str]:
    """How often each command was called meanwhile, by scripts too."""
    redis.config_resetstat()
    call()
    stats: dict[str, Any] = redis.info("commandstats")  # type: ignore[assignment]
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


def fill(redis: Redis, write: Callable[[Any, int], object], count: int = MANY) -> None:
    pipe = redis.pipeline(transaction=False)
    for number in range(count):
        write(pipe, number)
    pipe.execute()


def rows(redis: Redis, index: str, score: float = 1, **fields: Any) -> None:
    """Rows of messages that were held before, in one of the indexes."""

    def write(pipe: Any, number: int) -> None:
        name = f"m{number}"
        held = {"q": "q", "tag": name, "f": 5, "w": "gone", "tn": 7, "msg": message(name, tag=name)}
        pipe.hset(KEYS.row(name), mapping={**held, **fields})
        if index:
            pipe.zadd(index, {name: score})

    fill(redis, write)


def work_off(worker: Worker, left: Callable[[], Any]) -> int:
    """Turns until nothing is left, each within the bounds; how many they were."""
    for number in range(10 * MANY):
        if not left():
            return number
        used = spent(worker.redis, lambda: worker.turn(want=WANT))
        assert used.total() <= MOST_COMMANDS and used["lindex"] <= MOST_POPS, used
    raise AssertionError("it does not come to an end")


def test_messages_behind_one_lock_take_bounded_calls(redis: Redis) -> None:
    worker = Worker(redis)
    (holder,) = worker.claim(message("holder", lr_lock="k"))
    fill(redis, lambda pipe, number: pipe.lpush("q", message(f"m{number}", lr_lock="k")))
    assert work_off(worker, lambda: redis.llen("q")) <= 1 + MANY // (MOST_POPS - WANT)
    assert redis.llen(KEYS.wait("k")) == MANY
    for number in range(3):
        used = spent(redis, lambda: worker.end(holder, SettlementKind.OK))  # noqa: B023
        assert used["lpop"] == 1 and used.total() < 50
        (holder,) = worker.turn(want=WANT).claims
        assert holder.row == f"m{number}", "first come, first served"


def test_a_wait_list_of_missing_rows_is_cleaned_in_bounded_steps(redis: Redis) -> None:
    worker = Worker(redis)
    redis.rpush(KEYS.wait("k"), *[f"gone{number}" for number in range(MANY)])
    for number in range(MANY):
        if not redis.exists(KEYS.wait("k")):
            break
        (claim,) = worker.claim(message(f"m{number}", lr_lock="k"))
        used = spent(redis, lambda: worker.end(claim, SettlementKind.OK))  # noqa: B023
        assert used["lpop"] <= 200
    assert number == MANY // 200


def test_duplicates_are_dropped_in_bounded_turns(redis: Redis) -> None:
    redis.set(KEYS.done("a"), "5")
    fill(redis, lambda pipe, number: pipe.lpush("q", message("a")))
    assert work_off(Worker(redis), lambda: redis.llen("q")) <= 1 + MANY // (MOST_POPS - WANT)
    assert stat(redis, "dropped") == MANY


def test_large_duplicates_are_dropped_within_the_bytes_of_a_turn(redis: Redis) -> None:
    """A megabyte takes 5 ms to read: what is dropped or parked counts as well."""
    redis.set(KEYS.done("a"), "5")
    fill(redis, lambda pipe, number: pipe.lpush("q", message("a", pad="x" * 400_000)), 9)
    worker = Worker(redis)  # which wants a megabyte at most
    used = spent(redis, lambda: worker.turn(want=WANT))
    assert used["lindex"] == 3
    answer = worker.again()
    assert redis.llen("q") == 6 and not answer.claims


def test_a_turn_that_stopped_at_a_limit_is_followed_at_once(redis: Redis) -> None:
    redis.set(KEYS.done("a"), "5")
    fill(redis, lambda pipe, number: pipe.lpush("q", message("a", pad="x" * 400_000)), 9)
    worker = Worker(redis)
    assert [worker.turn(want=WANT).more for _ in range(4)] == [True, True, True, False]
    one = Session(Options())
    one.next_turn(0.0, WANT, ["q"], 1)
    one.answered(Answer(0, None, "", (), (), dropped=3, more=True), 0.0)
    assert one.hungry
    one.next_turn(9.0, WANT, ["q"], 1)
    one.answered(Answer(0, None, "", (), (), dropped=3), 9.0)
    assert not one.hungry


@pytest.mark.parametrize(("index", "st"), [("lr:delay", "d"), ("lr:lease", "r")])
def test_rows_that_are_all_due_are_queued_in_bounded_turns(redis: Redis, index: str, st: str) -> None:
    rows(redis, index, st=st)
    worker = Worker(redis)
    turns = work_off(worker, lambda: redis.zcount(index, 0, 1))
    assert turns <= 1 + MANY // MOST_ROWS
    claimed = turns * WANT
    assert redis.llen("q") == MANY - claimed, "each of them is queued, or held"


def test_a_session_settles_only_so_many_at_a_time() -> None:
    one = Session(Options())
    one.next_turn(0.0, 10, ["q"], 1)
    claims = tuple(Claim(f"r{n}", f"{n}", 0, 0, 1, b"{}") for n in range(MOST_SETTLES + 7))
    one.answered(Answer(0, None, "", (), claims), 0.0)
    for claim in claims:
        one.end(claim.fence, SettlementKind.OK)
    first = one.next_turn(1.0, 10, ["q"], 1)
    assert first is not None and len(first.settles) == MOST_SETTLES
    one.answered(Answer(0, None, "o" * MOST_SETTLES, (), ()), 1.0)
    rest = one.next_turn(1.0, 10, ["q"], 1)
    assert rest is not None and [settle.row for settle in rest.settles] == [f"r{MOST_SETTLES + n}" for n in range(7)]


@pytest.mark.parametrize(("away_s", "settles"), [(0.01, MOST_SETTLES), (0.1, MOST_SETTLES_FROM_AFAR)])
def test_a_session_that_is_far_away_settles_more(away_s: float, settles: int) -> None:
    """It takes few turns a second; what they carry is all that it can settle."""
    one = Session(Options())
    claims = tuple(Claim(f"r{n}", f"{n}", 0, 0, 1, b"{}") for n in range(1500))
    for begun_s, claimed in ((1.0, ()), (10.0, claims)):  # one slow turn may be anything
        assert one.next_turn(begun_s, 2000, ["q"], 1) is not None
        one.resent_at_s = begun_s
        one.answered(Answer(0, None, "", (), claimed), begun_s + away_s)
    for claim in claims:
        one.end(claim.fence, SettlementKind.OK)
    turn = one.next_turn(11.0, 10, ["q"], 1)
    assert turn is not None and len(turn.settles) == settles
    while len(turn.settles) == settles:  # first it goes without claims
        assert one.refused("refused for good", 11.0)
        turn = one.next_turn(12.0, 10, ["q"], 1)
        assert turn is not None
    assert len(turn.settles) == settles // 2, "of what is refused less is sent, from anywhere"


def test_a_completion_record_stays_short(redis: Redis) -> None:
    """Whatever foreign producers call their submissions, and however often they use a task id again."""
    worker = Worker(redis)
    for number in range(40):
        (claim,) = worker.claim(message("a", lr_new=f"{number:02}" + "x" * 10_000))
        worker.end(claim, SettlementKind.OK)
    assert redis.strlen(KEYS.done("a")) < 16 * 80


# --- the tools


def test_the_audit_reads_each_list_once(redis: Redis) -> None:
    """And asks the script about what is not there alone."""
    rows(redis, "", st="q")
    fill(redis, lambda pipe, number: number % 1000 and pipe.lpush("q", row(redis, f"m{number}")["msg"]))
    tools = Tools(redis)
    used = spent(redis, tools.audit)
    assert used["lrange"] <= 2 + MANY // SLICE and used["lpos"] == 2 * 3
    assert {finding.row for finding in tools.audit()} == {"m0", "m1000", "m2000"}


def test_the_audit_finds_parked_rows_without_searching(redis: Redis) -> None:
    worker = Worker(redis)
    worker.claim(message("holder", lr_lock="k"))
    fill(redis, lambda pipe, number: pipe.lpush("q", message(f"m{number}", lr_lock="k")))
    work_off(worker, lambda: redis.llen("q"))
    used = spent(redis, lambda: Tools(redis).audit())
    assert used["lpos"] == 0
    assert Tools(redis).audit() == []
    redis.lrem(KEYS.wait("k"), 1, "m7")
    (finding,) = Tools(redis).audit(repair=True)
    assert (finding.row, finding.problem, state(redis, "m7")) == ("m7", "parked nowhere", "q")


@pytest.mark.parametrize("moved", ["claimed", "came back", "came back among many"])
def test_a_row_that_moves_during_the_audit_is_no_finding(redis: Redis, moved: str) -> None:
    """It left its list before that was read; and was put back at the end that had been read."""
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    worker.end(claim, SettlementKind.REQUEUE)
    tools = Tools(redis)
    raw = redis.rpop("q")

    class Moving(Audit):
        def _strike(self, name: bytes, values: Any) -> None:
            super()._strike(name, values)
            redis.rpush("q", raw)  # type: ignore[arg-type]
            if moved != "came back":
                (again,) = worker.turn(want=1).claims
            if moved == "came back among many":
                redis.lpush("q", *[message(f"before{number}") for number in range(200)])
                worker.end(again, SettlementKind.REQUEUE)
                redis.rpush("q", *[message(f"after{number}") for number in range(200)])

    asked = Moving(redis, KEYS, lambda words: tools.call("audit", "1", *words)).run()
    assert asked == []
    assert (raw in redis.lrange("q", 0, -1)) == (moved != "claimed")  # type: ignore[operator]


def test_a_lock_that_nobody_will_free_is_a_finding(redis: Redis) -> None:
    """Somebody has deleted the row of the one that held it."""
    worker = Worker(redis)
    worker.claim(message("holder", lr_lock="k"), message("a", lr_lock="k"), message("b", lr_lock="k"))
    tools = Tools(redis)
    assert tools.audit() == []
    redis.delete(KEYS.row("holder"))
    redis.zrem("lr:lease", "holder")
    stuck = {(finding.row, finding.problem) for finding in tools.audit()}
    assert stuck == {(name, "parked, and nobody holds its lock") for name in "ab"}
    assert len(tools.audit(repair=True)) == 1, "the first one will wake the second"
    assert tools.audit() == [] and [state(redis, name) for name in "ab"] == ["q", "p"]
    (a,) = worker.turn(want=WANT).claims
    worker.end(a, SettlementKind.OK)
    assert [claim.row for claim in worker.turn(want=WANT).claims] == ["b"]


def test_a_message_that_is_buried_when_it_is_claimed_wakes_the_next(redis: Redis) -> None:
    worker = Worker(redis, max_crashes=1)
    (holder,) = worker.claim(message("holder", lr_lock="k"))
    redis.lpush("q", message("a", lr_lock="k"), message("b", lr_lock="k"))
    worker.turn(want=WANT)
    redis.hset(KEYS.row("a"), "c", 1)  # by a worker that does not serve its queue
    worker.end(holder, SettlementKind.OK)
    answer = worker.turn(want=WANT)
    assert ([one.row for one in answer.buried], [claim.row for claim in answer.claims]) == (["a"], ["b"])


def test_a_row_that_is_woken_between_claims_costs_none_of_them(redis: Redis) -> None:
    """What is claimed leaves its list all at once, and who is woken comes to the same end of it."""
    worker = Worker(redis, max_crashes=1)
    (holder,) = worker.claim(message("holder", lr_lock="k"))
    redis.lpush("q", message("dies", lr_lock="k"), message("woken", lr_lock="k"), message("last"), message("left"))
    last, left = worker.turn(want=2).claims
    assert (state(redis, "woken"), last.row, left.row) == ("p", "last", "left")
    redis.hset(KEYS.row("dies"), "c", 1)
    worker.turn(
        settles=tuple(settle(one, kind) for one, kind in ((holder, SettlementKind.OK), (last, SettlementKind.REQUEUE)))
    )
    redis.rpush("q", message("first"))
    answer = worker.turn(want=4)
    assert [one.row for one in answer.buried] == ["dies"]
    assert [claim.row for claim in answer.claims] == ["first", "last", "woken"]
    assert redis.llen("q") == 0


def test_all_dead_letters_are_listed_some_at_a_time(redis: Redis) -> None:
    """Though many died at the same moment."""
    rows(redis, "lr:dead", score=5, st="x")
    redis.zadd("lr:dead", {f"m{number}": number for number in range(0, MANY, 3)})
    for newest_first in (True, False):
        found = [letter.row for letter in Tools(redis).dead(newest_first)]
        assert len(found) == MANY and set(found) == {f"m{number}" for number in range(MANY)}
        scores = [redis.zscore("lr:dead", name) for name in found]
        assert scores == sorted(scores, reverse=newest_first)  # type: ignore[type-var]
