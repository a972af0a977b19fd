"""Which queue a turn looks into first: kombu's `queue_order_strategy`, and weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery_support import fleet_on
from engine_support import Engined, Loop
from redis import Redis
from server_process import Server
from table_support import KEYS, Worker, message
from waiting import until

import locked_retry
from locked_retry.adapter.queue_order import QueueOrder
from locked_retry.broker.turns import run_turn
from locked_retry.options import Options

QUEUES = ("b", "c", "a")


# --- the order


def turn(order: QueueOrder, queues: Sequence[str]) -> tuple[str, ...]:
    """The order of a turn that is taken, after looks that came to none."""
    for _ in range(2):
        order.next(queues)
    found = order.next(queues)
    order.took(found)
    return found


@pytest.mark.parametrize(
    ("strategy", "fair", "orders"),
    [
        ("round_robin", True, ["bca", "cab", "abc", "bca"]),
        ("priority", False, ["bca", "bca"]),
        ("sorted", False, ["abc", "abc"]),
        ("kombu.utils.scheduling:sorted_cycle", False, ["abc"]),
    ],
)
def test_each_strategy_of_kombu_orders_as_in_kombu(strategy: str, fair: bool, orders: list[str]) -> None:
    order = QueueOrder(strategy)
    assert order.fair is fair
    assert ["".join(turn(order, QUEUES)) for _ in orders] == orders


def test_queues_may_come_and_go() -> None:
    order = QueueOrder()
    assert turn(order, ()) == ()
    assert turn(order, ("a", "b")) == ("a", "b")
    assert set(turn(order, QUEUES)) == {"a", "b", "c"}
    assert turn(order, ("a",)) == ("a",)


def test_a_queue_is_first_as_often_as_its_weight_says() -> None:
    """Four standard deviations of 6000 draws. A queue without a weight has 1, and nobody is left out."""
    order = QueueOrder(weights={"b": 6.0, "c": 3})
    assert not order.fair
    drawn = [turn(order, QUEUES) for _ in range(6000)]
    assert all(sorted(one) == ["a", "b", "c"] for one in drawn)
    first = Counter(one[0] for one in drawn)
    for queue, share in {"b": 0.6, "c": 0.3, "a": 0.1}.items():
        assert abs(first[queue] / 6000 - share) < 4 * (share * (1 - share) / 6000) ** 0.5, first


# --- what makes no sense is refused before a worker begins


@pytest.mark.parametrize(
    "weights", [{"a": 0}, {"a": -1}, {"a": "2"}, {"a": None}, {"a": True}, {"a": float("inf")}, {1: 1}, "a", ["a"]]
)
def test_a_weight_that_makes_no_sense_is_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="queue_weights"):
        Options(queue_weights=weights)


@pytest.mark.parametrize(
    ("strategy", "weights", "said"),
    [
        ("priority", {"a": 2}, "exclude each other"),
        ("nonsense", {}, "'nonsense' is not round_robin, priority, sorted"),
        ("no.such:cycle", {}, "'no.such:cycle' is not"),
        (7, {}, "7 is not"),
    ],
)
def test_install_refuses_in_one_line(strategy: Any, weights: dict[str, float], said: str) -> None:
    app = Celery("refused", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.broker_transport_options = {"queue_order_strategy": strategy}
    with pytest.raises(ValueError, match=said) as refused:
        locked_retry.install(app, queue_weights=weights)
    assert "\n" not in str(refused.value)


# --- what the script claims


def _filled(redis: Redis) -> Worker:
    for queue in ("a", "b"):
        redis.lpush(queue, *(message(f"{queue}{number}") for number in range(300)))
    return Worker(redis, queues=("a", "b"))


@pytest.mark.parametrize(("fair", "claimed"), [(False, {1: 250}), (True, {1: 125, 2: 125})])
def test_a_queue_is_emptied_first_or_each_gets_its_share(redis: Redis, fair: bool, claimed: dict[int, int]) -> None:
    worker = _filled(redis)
    worker.turn()
    assert worker.last is not None
    claims = run_turn(redis, KEYS, replace(worker.last, number=2, want=250, fair=fair)).claims
    found = Counter(claim.key_number for claim in claims)
    assert all(abs(found[number] - most) <= 25 for number, most in claimed.items()), found


def test_the_rest_comes_from_the_next_one(redis: Redis) -> None:
    """Also when the first holds nothing but repeats, of which a turn takes only so many."""
    redis.lpush("a", *(message("same") for _ in range(30)))
    redis.lpush("b", *(message(f"b{number}") for number in range(10)))
    worker = Worker(redis, queues=("a", "b"))
    worker.turn()
    assert worker.last is not None
    claims = run_turn(redis, KEYS, replace(worker.last, number=2, want=5, fair=False)).claims
    assert [claim.row for claim in claims] == ["same", "b0", "b1", "b2", "b3"]


def test_the_loop_looks_more_often_than_it_takes_turns(redis: Redis, shared_server: Server) -> None:
    """Only a turn is a step of the order: else two queues and two looks a turn make one of them first for ever."""
    loop = Loop(shared_server.port)
    one = Engined(loop, "a", "b")
    steps: list[Sequence[str]] = []
    one.engine.order.took = steps.append  # type: ignore[method-assign]
    for number in range(5):
        redis.lpush("a", message(f"m{number}"))
        loop.until(lambda number=number: len(one.got) > number, "it has come")  # type: ignore[misc]
    loop.until(lambda: one.session.pending is None and not redis.zcard("lr:lease"), "it is settled")
    assert len(steps) == one.session._number
    loop.stop()


# --- real workers


@pytest.mark.parametrize("strategy", ["priority", "sorted"])
def test_a_worker_empties_the_first_queue_first(shared_server: Server, tmp_path: Path, strategy: str) -> None:
    """`-Q zz,aa`: as they stand there, or by their names. Round robin takes from both."""
    with fleet_on(shared_server, tmp_path) as fleet:
        _send(fleet)
        conf = {"worker_prefetch_multiplier": 1, "broker_transport_options": {"queue_order_strategy": strategy}}
        fleet.worker(conf=repr(conf), more=("-Q", "zz,aa", "-c1"))
        order = _ran(fleet)
        first = "zz" if strategy == "priority" else "aa"
        assert order[:15].count(first) == 15, order


def test_a_worker_keeps_the_weights(shared_server: Server, tmp_path: Path) -> None:
    """Of the first 40 that ran while both queues had messages, most are of the heavier one, and not all."""
    with fleet_on(shared_server, tmp_path) as fleet:
        _send(fleet, 60)
        conf = '{"worker_prefetch_multiplier": 1}'
        fleet.worker(conf=conf, options='{"queue_weights": {"zz": 4}}', more=("-Q", "aa,zz", "-c1"))
        order = _ran(fleet, 60)[:40]
        assert 20 < order.count("zz") < 40, order


def _send(fleet: Any, count: int = 15) -> None:
    for number in range(count):
        for queue in ("zz", "aa"):
            fleet.task("note").apply_async((f"{queue}{number}",), queue=queue, ignore_result=True)


def _ran(fleet: Any, count: int = 15) -> list[str]:
    until(lambda: len(fleet.notes("end")) == 2 * count, lambda: f"all run\n{fleet.log()[-2000:]}", 30)
    return [note[1][:2] for note in fleet.notes("begin")]
