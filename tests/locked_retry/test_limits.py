"""Every number and name that a user can give: what makes no sense is refused where it is given, by its name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from celery import Celery
from celery_support import Fleet
from redis import Redis
from redis.exceptions import ResponseError
from table_support import KEYS, Settlement, SettlementKind, Worker, message, row
from waiting import until

import locked_retry
from locked_retry import Budget, Decorrelated, Exponential, Fixed, LockedTask, shard
from locked_retry.broker.turns import Renewal, Script, Turn, call, run_turn
from locked_retry.limits import Limits
from locked_retry.options import LIMITS, Options

NONSENSE: tuple[Any, ...] = ("1", None, True, float("nan"), float("inf"), -1, 1e17, [1], {})


@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_every_option_refuses_what_makes_no_sense(name: str) -> None:
    fine = {"exclusive": (True,), "namespace": ("-1", "1"), "queue_weights": ({},), "metrics": ("1", "")}.get(name, ())
    for value in (*NONSENSE, "", b"x", "ü"):
        if value in fine and type(value) in map(type, fine):
            continue
        with pytest.raises(ValueError, match=rf"^{name}"):
            Options(**{name: value})


@pytest.mark.parametrize("name", LIMITS)
def test_the_ends_of_each_range_are_accepted(name: str) -> None:
    limits = LIMITS[name]
    whole = int if limits.whole else float
    for value in (limits.least, limits.most):
        assert getattr(Options(**{name: whole(value)}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"idle_s": -1}, {"lease_s": "30"}, {"namespace": 5}, {"none": 1}, {1: 2}, "x", [1], 7]
)
def test_install_refuses_in_one_line(given: Any) -> None:
    app = Celery("refused", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.broker_transport_options = {"locked_retry": given}
    with pytest.raises(ValueError, match=r"has to be|unknown") as refused:
        locked_retry.install(app)
    assert "\n" not in str(refused.value)


def test_settings_of_none_count_as_no_settings() -> None:
    app = Celery("taken", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.broker_transport_options = {"locked_retry": None}
    locked_retry.install(app, idle_s=2)
    assert Options.read(app.conf.broker_transport_options).idle_s == 2


@pytest.mark.parametrize("name", ["lease_s", "max_crashes"])
@pytest.mark.parametrize("value", ["1", True, float("nan"), -1, 0, 1e17])
def test_a_task_refuses_options_that_make_no_sense(name: str, value: Any) -> None:
    app = Celery("tasks", task_cls=LockedTask, set_as_current=False)
    app.finalize()

    def wrong() -> None:
        """Never registered."""

    with pytest.raises(ValueError, match=f"{name} of .* has to be"):
        app.task(name="wrong", shared=False, lazy=False, **{name: value})(wrong)


@pytest.mark.parametrize(
    ("law", "names"),
    [
        (Exponential, ("base_s", "cap_s", "floor_s")),
        (Decorrelated, ("base_s", "cap_s")),
        (Fixed, ("wait_s",)),
        (Budget, ("tokens", "refill", "wait_s")),
    ],
)
def test_laws_of_waiting_and_budgets_refuse_what_makes_no_sense(law: Any, names: tuple[str, ...]) -> None:
    for name in names:
        for value in NONSENSE:
            with pytest.raises(ValueError, match=f"{name} has to be"):
                law(**{name: value})


def test_a_limit_of_whole_numbers_takes_only_those() -> None:
    for value in (1.0, "1", True):
        with pytest.raises(ValueError, match="whole number from 1 to 3"):
            Limits(1, 3, whole=True).check("n", value)


# --- what gets to the scripts all the same is refused before they write


@pytest.mark.parametrize("value", [-1, 10**17, float("inf"), float("nan"), "x"])
@pytest.mark.parametrize("name", ["idle_ms", "lease_ms", "done_ms", "dead_max_age_ms", "settle", "renewal"])
def test_a_turn_is_refused_whole(redis: Redis, name: str, value: Any) -> None:
    worker = Worker(redis)
    (held,) = worker.claim(message("held"))
    redis.lpush("q", message("queued"))
    given: dict[str, Any] = {"lease_ms": 1000, "done_ms": 1000}
    if name == "settle":
        given["settles"] = (Settlement(held.row, held.fence, SettlementKind.RETRY, delay_ms=value),)
    elif name == "renewal":
        given["renewals"] = (Renewal(held.row, held.fence, value, started=True),)
    else:
        given[name] = value
    turn = Turn(worker="w1", number=9, queue_keys=("q",), queues=1, want=5, want_bytes=10**6, **given)
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    with pytest.raises(ResponseError, match="locked_retry: "):
        run_turn(redis, KEYS, turn)
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before


@pytest.mark.parametrize("keep_ms", ["x", "-5", "0", "1e300", str(10**17)])
def test_a_job_whose_time_to_live_is_nonsense_is_joined(redis: Redis, keep_ms: str) -> None:
    """The turn that ended it was refused in the middle: its join never came, and its keys stayed for good."""
    job = {"what": "w", "pub": 1, "total": 1, "done": 0, "dead": 0, "on": "all", "list": "joins", "keep": keep_ms}
    redis.hset("lr:job:j", mapping={**job, "join": '{"total": \1total\1}', "expires": "0"})
    worker = Worker(redis)
    (shard_one,) = worker.claim(message("j/1", lr_job="j/1"))
    assert worker.end(shard_one, SettlementKind.OK) == "o"
    known = keep_ms in ("1e300", str(10**17))
    assert redis.llen("joins") == known and (redis.ttl("lr:job:j") > 0) == known


def test_a_job_with_a_bad_time_to_live_is_not_begun(redis: Redis) -> None:
    words = ["j", "what", "all", "never", "", 0]
    names = [*KEYS.indexes(), "joins"]
    with pytest.raises(ResponseError, match="malformed job"):
        call(redis, Script.load("job"), [len(names), *names, KEYS.prefix, *words])
    assert not redis.exists("lr:job:j")


# --- with workers


def test_a_retry_that_would_wait_for_ever_is_a_failure(fleet: Fleet) -> None:
    """As in plain Celery. It was taken for a crash of the worker, and its body ran three times."""
    fleet.worker()
    for number, countdown in enumerate((float("inf"), 1e300, float("nan"))):
        fleet.task("flaky").apply_async((f"r{number}", 1), {"countdown": countdown}, task_id=f"r{number}")
        until(lambda n=number: row(fleet.redis, f"r{n}").get("st") == "x", lambda: fleet.log()[-3000:], 10)  # type: ignore[misc]
        assert "cannot wait" in row(fleet.redis, f"r{number}")["err"]
        assert len(fleet.notes("try", f"r{number}")) == 1


def test_a_job_refuses_a_bad_time_to_live(fleet: Fleet) -> None:
    for keep_s in (1e17, float("nan"), 0):
        with pytest.raises(ValueError, match="keep_s has to be"):
            shard(fleet.task("note"), "ab", size=1, job_id="j", keep_s=keep_s, app=fleet.app)
