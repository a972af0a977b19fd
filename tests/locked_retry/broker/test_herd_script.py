"""herd.lua with sessions as their workers: who listens, who sleeps, who is called, and whose turn finds what is due."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
from redis import Redis
from table_support import KEYS, message, stat
from waiting import until

from locked_retry.broker.herd import Herd, Place, Role, name_of
from locked_retry.broker.turns import Answer, Claim, SettlementKind, run_turn
from locked_retry.options import Options
from locked_retry.worker.session import Session

HERD = name_of(["q"], 1.0)
WATCH, BELL, ASLEEP, LOOK = KEYS.watch(HERD), KEYS.bell(HERD), f"lr:asleep:{HERD}", "lr:look"


@dataclass
class Member:
    """A session whose turns are taken by hand."""

    redis: Redis
    room: int = 4
    queues: tuple[str, ...] = ("q",)
    idle_s: float = 1.0
    session: Session = field(init=False)
    answer: Answer = field(init=False)

    def __post_init__(self) -> None:
        self.session = Session(Options(idle_s=self.idle_s))

    @property
    def herd(self) -> Herd:
        return self.session.herd

    def turn(self) -> Role:
        """A turn, and what it is after it."""
        session = self.session
        session.ring()
        session.rest_no_longer_than(0.0, 0.0)
        turn = session.next_turn(0.0, self.room, self.queues, len(self.queues))
        assert turn is not None
        self.answer = run_turn(self.redis, KEYS, turn)
        self.claims = session.answered(self.answer, 0.0)
        return self.herd.role

    def sleep(self) -> Role:
        """A turn, after which it is on the bell if it sleeps."""
        role = self.turn()
        self.herd.blocked = role is Role.ASLEEP
        return role

    def wake(self) -> str:
        """Take the call that is there."""
        call = self.redis.lpop(BELL)
        assert isinstance(call, bytes), "nobody has been called"
        self.herd.blocked = False
        self.herd.called(HERD)
        return call.decode()

    def end(self, claim: Claim, kind: SettlementKind = SettlementKind.OK, delay_ms: int = 0) -> None:
        self.session.end_now(claim.fence, kind, delay_ms)


def _herd(redis: Redis, count: int = 3) -> tuple[Member, ...]:
    """The first one is the watch, the others sleep."""
    members = tuple(Member(redis) for _ in range(count))
    assert [m.sleep() for m in members] == [Role.WATCH] + [Role.ASLEEP] * (count - 1)
    return members


def _calls(redis: Redis) -> list[bytes]:
    return redis.lrange(BELL, 0, -1)  # type: ignore[return-value]


def _push(redis: Redis, *names: str) -> None:
    for name in names:
        redis.lpush("q", message(name))


def test_one_worker_watches_and_the_others_sleep(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    assert redis.get(WATCH) == first.session.worker.encode()
    assert (first.turn(), second.turn()) == (Role.WATCH, Role.ASLEEP)
    assert not _calls(redis)


def test_a_herd_is_told_by_its_queues_in_any_order(redis: Redis) -> None:
    assert Member(redis, queues=("a", "b")).turn() is Role.WATCH
    assert Member(redis, queues=("b", "a")).turn() is Role.ASLEEP
    assert Member(redis, queues=("b",)).turn() is Role.WATCH


def test_a_watch_that_claims_calls_the_next_one_without_a_turn(redis: Redis) -> None:
    first, second, third = _herd(redis)
    _push(redis, "a")
    assert first.sleep() is Role.ASLEEP
    assert second.wake() == "listen"
    assert third.turn() is Role.ASLEEP, "somebody was called, so nobody else has to be"
    _push(redis, "b")
    assert second.sleep() is Role.ASLEEP and second.claims
    assert third.wake() == "listen"
    assert third.turn() is Role.WATCH, "its turn without a message makes it known"
    assert redis.get(WATCH) == third.session.worker.encode()


def test_a_watch_that_is_alone_stays_the_watch(redis: Redis) -> None:
    only = Member(redis)
    only.turn()
    for name in "abc":
        _push(redis, name)
        assert only.turn() is Role.WATCH and only.claims
    assert not redis.exists(BELL) and stat(redis, "handed_on") == 0


def test_a_full_worker_calls_two_while_messages_are_left_and_else_one(redis: Redis) -> None:
    first, second, third = _herd(redis)
    _push(redis, *[f"m{n}" for n in range(8)])
    assert first.turn() is Role.NONE and len(first.claims) == 4
    assert _calls(redis) == [b"look", b"look"]
    assert (second.wake(), third.wake()) == ("look", "look")
    assert second.turn() is Role.NONE and len(second.claims) == 4
    assert _calls(redis) == [b"listen"]
    assert third.turn() is Role.WATCH


def test_a_full_worker_passes_a_call_on(redis: Redis) -> None:
    first, second, third = _herd(redis)
    _push(redis, "a")
    first.sleep()
    second.room = 0
    second.wake()
    assert second.session.next_turn(0.0, 0, ("q",), 1).place.left == HERD, "without waiting for anything"
    second.session.pending = None
    assert second.turn() is Role.NONE
    third.wake()
    assert third.turn() is Role.WATCH


def test_a_call_that_nobody_takes_is_taken_by_the_next_turn(redis: Redis) -> None:
    first = Member(redis, room=1)
    first.turn()
    _push(redis, "a")
    assert first.turn() is Role.NONE and _calls(redis) == [b"listen"]
    first.end(*first.claims)
    assert first.turn() is Role.WATCH
    assert not redis.exists(BELL)


def test_calls_do_not_pile_up(redis: Redis) -> None:
    _herd(redis)
    for _ in range(5):
        one = Member(redis)
        redis.delete(WATCH)
        one.herd.blocked = True
        assert one.turn() is Role.ASLEEP
        assert len(_calls(redis)) == 1


def test_a_sleeper_whose_turn_finds_no_watch_calls_one(redis: Redis) -> None:
    """It cannot listen itself: its connection blocks."""
    _, second, third = _herd(redis)
    redis.delete(WATCH)
    assert second.turn() is Role.ASLEEP
    assert third.wake() == "listen"
    assert second.turn() is Role.ASLEEP and not _calls(redis), "once"
    assert third.turn() is Role.WATCH


def test_a_watch_that_leaves_calls_another(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    first.queues = ("other",)
    assert first.turn() is Role.WATCH, "of its new queues"
    second.wake()
    assert second.turn() is Role.WATCH
    first.herd.name, first.herd.role = HERD, Role.WATCH  # it has stood still, and does not know
    assert first.turn() is not Role.NONE
    assert not _calls(redis), "there is a watch"


def test_a_sleeper_that_leaves_may_have_been_called(redis: Redis) -> None:
    """Its connection is closed, perhaps with the call on its way. One that only has no room stays and passes it on."""
    first, second, third = _herd(redis)
    _push(redis, "a")
    first.sleep()
    assert redis.lpop(BELL) == b"listen", "sent to a connection that had just been closed"
    assert not second.herd.moved("", consumes=True)
    assert second.herd.moved("", consumes=False)
    second.queues = ()
    second.herd.blocked = False
    assert second.turn() is Role.NONE
    third.wake()
    assert third.turn() is Role.WATCH
    first.queues = ()
    first.turn()
    assert not _calls(redis), "there is a watch"


def test_a_watch_that_stood_still_is_told_that_it_has_lost_its_place(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    redis.delete(WATCH)
    second.herd.blocked = False
    assert second.turn() is Role.WATCH
    assert first.turn() is Role.ASLEEP
    assert redis.get(WATCH) == second.session.worker.encode()


def test_a_repeated_turn_has_the_same_answer_and_calls_nobody_else(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    _push(redis, "a")
    first.session.ring()
    turn = first.session.next_turn(0.0, 4, ("q",), 1)
    assert turn is not None
    assert run_turn(redis, KEYS, turn).role is Role.ASLEEP
    second.wake()
    again = run_turn(redis, KEYS, turn)
    assert (again.role, len(again.claims), _calls(redis)) == (Role.ASLEEP, 1, [])


def test_a_call_that_comes_while_a_turn_is_on_its_way_is_not_forgotten(redis: Redis) -> None:
    herd = Herd(1.0, HERD, Role.ASLEEP, blocked=True)
    place = herd.says(HERD, True)
    herd.called(HERD)
    herd.told(place, Role.ASLEEP, 3)
    assert herd.role is Role.WATCH
    herd.told(herd.says(HERD, True), Role.ASLEEP, 3)
    assert herd.role is Role.ASLEEP


def test_a_worker_that_cannot_listen_belongs_to_no_herd(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    first.herd.deaf = True
    assert first.herd.moved(first.herd.joins(("q",), 4), True)
    assert first.turn() is Role.NONE
    second.wake()
    assert second.turn() is Role.WATCH


def test_every_key_expires(redis: Redis) -> None:
    first, *_ = _herd(redis)
    assert 2000 <= redis.pttl(WATCH) <= 2500
    assert redis.pttl(ASLEEP) > 60_000
    _push(redis, "a")
    first.turn()
    assert redis.get(WATCH) == b"-"
    assert 0 < redis.pttl(WATCH) <= 500
    assert redis.pttl(BELL) > 10_000
    first.end(first.claims[0], SettlementKind.RETRY, 500)
    first.turn()
    assert 500 < redis.pttl(LOOK) <= 1500


@pytest.mark.parametrize("key", [WATCH, BELL, ASLEEP, LOOK])
@pytest.mark.parametrize("value", ["string", "list", "hash"])
def test_overwritten_keys_do_not_stop_a_herd(redis: Redis, key: str, value: str) -> None:
    members = _herd(redis)
    redis.delete(key)
    redis.set(key, "x") if value == "string" else (
        redis.lpush(key, "x") if value == "list" else redis.hset(key, "x", "y")
    )
    for number in range(6):
        _push(redis, f"m{number}")
        for member in members:
            member.herd.blocked = False
            member.turn()
            for claim in member.claims:
                member.end(
                    claim, SettlementKind.RETRY, 900
                )  # soon enough to be looked after, and not due before the end
    assert stat(redis, "claimed") == 6
    redis.delete(WATCH)
    assert [m.turn() for m in members] == [Role.WATCH, Role.ASLEEP, Role.ASLEEP]


def test_one_worker_is_told_when_something_is_due(redis: Redis) -> None:
    first, second, third = _herd(redis)
    _push(redis, "a")
    first.turn()
    first.end(first.claims[0], SettlementKind.RETRY, 400)
    first.turn()
    assert 300 < (first.answer.due_ms or 0) <= 400, "who has planned it sees to it"
    second.turn()
    assert second.answer.due_ms is None
    first.turn()
    assert 300 < (first.answer.due_ms or 0) <= 400, "and does not forget"
    _push(redis, "b")
    third.turn()
    third.end(third.claims[0], SettlementKind.RETRY, 50)
    third.turn()
    assert 0 < (third.answer.due_ms or 0) <= 50, "what is due before that is another's"
    until(lambda: third.turn() is not None and third.claims, "promoted and claimed in one turn")
    assert [c.row for c in third.claims] == ["b"]


def test_the_watch_finds_in_time_what_is_due_later(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    _push(redis, "a")
    second.turn()
    second.end(second.claims[0], SettlementKind.RETRY, 1300)
    second.turn()
    assert second.answer.due_ms is None
    until(lambda: first.turn() is not None and first.answer.due_ms is not None, "the watch finds it in time")


def test_a_due_row_that_its_worker_missed_is_found_by_the_next_turn(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    _push(redis, "a")
    first.turn()
    first.end(first.claims[0], SettlementKind.RETRY, 20)
    first.turn()
    assert first.answer.due_ms is not None
    until(lambda: second.turn() is not None and second.claims, "it was due, and nobody had looked")
    assert redis.lrange("q", 0, -1) == []


def test_a_promise_ends_with_its_time(redis: Redis) -> None:
    first, second, _ = _herd(redis)
    _push(redis, "a")
    first.turn()
    first.end(first.claims[0], SettlementKind.RETRY, 400)
    first.turn()
    redis.set(LOOK, "1000 somebody")
    second.turn()
    assert second.answer.due_ms is not None


def test_a_turn_without_a_worker_takes_no_place_in_the_herd(redis: Redis) -> None:
    from table_support import Worker

    worker = Worker(redis)
    worker.claim(message("a"))
    answer = worker.turn(want=1)
    assert answer.role is Role.NONE and answer.due_ms is not None
    assert not redis.exists(WATCH, BELL, ASLEEP, LOOK)
    assert Place().flags == ""


# --- whose word is believed


@pytest.mark.parametrize(("value", "ttl_ms"), [("x", None), ("x", 10**9), ("-", None), ("-", 3_600_000)])
def test_a_watch_that_would_not_expire_does_not_count(redis: Redis, value: str, ttl_ms: int | None) -> None:
    """Somebody wrote it, or the clock was set back: a herd slept through its messages until the key was deleted."""
    redis.set(WATCH, value, px=ttl_ms)
    assert Member(redis).turn() is Role.WATCH
    assert 0 < redis.pttl(WATCH) <= 2500  # type: ignore[operator]


def test_sleepers_that_sleep_for_too_long_do_not_count(redis: Redis) -> None:
    redis.zadd(f"lr:asleep:{HERD}", {"nobody": 10**15})
    first = Member(redis)
    assert first.turn() is Role.WATCH
    redis.lpush("q", message("a"))
    assert first.turn() is Role.WATCH and len(first.claims) == 1


def test_workers_that_look_more_rarely_are_another_herd(redis: Redis) -> None:
    assert Member(redis).turn() is Member(redis, idle_s=30.0).turn() is Role.WATCH


def test_a_worker_that_runs_tasks_in_its_loop_does_not_listen(redis: Redis) -> None:
    """With nobody asleep it kept the watch, and whoever came later slept beside the messages."""
    first = Member(redis)
    first.herd.in_loop = True
    redis.lpush("q", message("long"))
    assert first.turn() is Role.NONE and len(first.claims) == 1
    assert Member(redis).turn() is Role.WATCH
    assert first.turn() is Role.ASLEEP, "when it has ended"


def test_a_promise_ends_with_its_worker_and_another_looks(redis: Redis) -> None:
    first, second = Member(redis, idle_s=30.0), Member(redis, idle_s=30.0)
    assert first.turn() is Role.WATCH and second.sleep() is Role.ASLEEP
    redis.hset("lr:t:due", mapping={"st": "d", "msg": message("due"), "q": "q"})
    redis.zadd("lr:delay", {"due": int(time.time() * 1000) + 5000})
    first.turn()
    assert first.session.looks and not second.session.looks
    first.herd.ends, first.room = True, 0
    first.queues = ()
    first.turn()
    assert not redis.exists("lr:look") and not first.session.looks
    bell = f"lr:bell:{name_of(['q'], 30.0)}"
    assert redis.lrange(bell, 0, -1) == [b"look", b"look"]
    redis.delete(bell)
    second.herd.called(name_of(["q"], 30.0))
    second.turn()
    assert second.session.looks
