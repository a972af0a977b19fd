"""A queue that is paused: nothing is taken from it by anybody, until it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

from celery_support import Fleet, fleet_on, got
from click.testing import CliRunner, Result
from herd_support import pack_on
from redis import Redis
from server_process import Server
from table_support import KEYS, SettlementKind, Worker, message, state
from waiting import until

from locked_retry.operator.application import connect
from locked_retry.operator.commands import plugin
from locked_retry.operator.prometheus import broker_families, render
from locked_retry.operator.queues import pause, resume
from locked_retry.operator.statistics import collect


def run(fleet: Fleet, *words: str) -> Result:
    return CliRunner().invoke(plugin, list(words), obj=fleet.app)


# --- the script


def test_only_the_paused_list_is_left_alone(redis: Redis) -> None:
    """Each priority is a list of its own; a worker that asks is told which of its lists are paused."""
    names = ("a", "b", "a\x06\x163", "b\x06\x163")
    redis.hset(KEYS.paused, mapping={"a": "1 a", "a\x06\x163": "1 a", "elsewhere": "1 elsewhere"})
    for name in names:
        redis.lpush(name, message(name.replace("\x06\x16", "-")))
    answer = Worker(redis, queues=names).turn(want=10)
    assert [claim.row for claim in answer.claims] == ["b", "b-3"]
    assert answer.paused == ("a", "a\x06\x163")
    redis.delete(KEYS.paused)
    answer = Worker(redis, "w2", queues=names).turn(want=10)
    assert [claim.row for claim in answer.claims] == ["a", "a-3"] and answer.paused == ()


def test_returned_messages_wait_in_a_paused_queue(redis: Redis) -> None:
    """Retries that are due, and what a worker that has died left."""
    worker = Worker(redis, lease_ms=1)
    retried, lost = worker.claim(message("retried"), message("lost"))
    redis.hset(KEYS.paused, "q", "1 q")
    worker.end(retried, SettlementKind.RETRY)
    until(lambda: Worker(redis, "w2").turn(want=5).claims == () and redis.llen("q") == 2, "both are in the queue")
    assert state(redis, "retried") == state(redis, lost.row) == "q"


# --- with workers


def test_a_paused_queue_keeps_its_messages_until_it_is_resumed(fleet: Fleet) -> None:
    """What runs goes on, other queues do; it outlives the worker; resumed, all of it runs without a new message."""
    fleet.worker(more=("-Q", "celery,mails"))
    running = fleet.task("note").apply_async(("running", 1.5), queue="mails")
    until(lambda: fleet.notes("begin", "running"), "it runs")
    assert run(fleet, "queue", "pause", "mails").output == "1 paused\n"
    assert got(running) == "running"
    held = [fleet.task("note").apply_async((f"m{n}",), queue="mails", priority=3 * n) for n in range(3)]
    assert got(fleet.task("note").apply_async(("other",))) == "other"
    until(lambda: "event=queue_paused queue=mails" in fleet.log(), "the worker says so")
    fleet.workers[0].terminate()
    fleet.workers[0].wait(30)
    fleet.worker(more=("-Q", "celery,mails"))
    assert got(fleet.task("note").apply_async(("another",))) == "another"
    assert not [note for note in fleet.notes("begin") if note[1].startswith("m")]
    lines = run(fleet, "queue", "list").output.splitlines()
    assert [line.split()[:3] for line in lines] == [["celery", "0"], ["mails", "3", "paused"]]
    assert run(fleet, "queue", "resume", "mails").output == "1 resumed\n"
    assert sorted(got(result) for result in held) == ["m0", "m1", "m2"]
    until(lambda: "event=queue_resumed queue=mails" in fleet.log(1), "the worker says so")
    assert not fleet.redis.exists(KEYS.paused)


def test_a_paused_queue_that_is_full_costs_no_turns(server: Server, tmp_path: Path) -> None:
    """The doorbell would ring at once, again and again, as its lists are there."""
    with pack_on(server, tmp_path) as pack:
        pack.start(3)
        pack.run("first")
        with connect(pack.app) as broker:
            assert pause(broker, ["celery"]) == ["celery"]
            for number in range(5):
                pack.send("note", f"held{number}")
            until(lambda: any("event=queue_paused" in pack.log(n) for n in range(3)), "it was noticed")
            before, began_s = pack.turns(), server.client.time()[0]
            until(lambda: server.client.time()[0] - began_s >= 5, "some idle times")
            assert pack.turns_since(before) <= 3 * 6
            assert resume(broker, ["celery"]) == ["celery"]
        until(lambda: len(pack.notes("end")) == 6, "all run")


# --- the command line


def test_the_commands_tell_what_they_did(fleet: Fleet) -> None:
    fleet.task("note").apply_async(("n",), queue="mails", priority=6)
    done = run(fleet, "queue", "pause", "mials")
    assert done.exit_code == 1 and "nobody has declared mials; `queue list` names queues" in done.output
    assert run(fleet, "queue", "pause", "--undeclared", "soon", "mails").output == "2 paused\n"
    first = [json.loads(line) for line in run(fleet, "queue", "list", "--json").output.splitlines()]
    assert [(one["queue"], one["messages"]) for one in first] == [("mails", 1), ("soon", 0)]
    assert run(fleet, "queue", "pause", "mails", "--json").output == '{"paused": ["mails"]}\n', "a repeat is no error"
    assert [json.loads(line) for line in run(fleet, "queue", "list", "--json").output.splitlines()] == first
    assert "queue mails              0  paused\n" in run(fleet, "stats").output
    with connect(fleet.app) as broker:
        assert 'locked_retry_broker_queue_paused{queue="mails"} 1\n' in render(broker_families(collect(broker)))
    done = run(fleet, "queue", "resume", "mails", "other")
    assert done.exit_code == 1 and done.output.startswith("1 resumed\n") and "not paused: other" in done.output
    assert run(fleet, "queue", "resume", "--all").output == "1 resumed\n"
    for words in (["resume"], ["resume", "a", "--all"], ["pause"]):
        assert run(fleet, "queue", *words).exit_code == 2


def test_each_application_pauses_its_own_queues(shared_server: Server, redis: Redis, tmp_path: Path) -> None:
    """Two applications that share a server pause queues of the same name, each its own."""
    options = {"global_keyprefix": "shop:"}
    with fleet_on(shared_server, tmp_path, broker_transport_options=options) as fleet, connect(fleet.app) as broker:
        for name in ("a b", "ü\n*", "celery"):
            assert pause(broker, [name]) == [name] and pause(broker, [name]) == []
        assert redis.hexists("shop:lr:paused", "shop:celery") and not redis.exists("lr:paused")
        fleet.worker(conf=repr({"broker_transport_options": options}))
        held = fleet.task("note").apply_async(("held",))
        until(lambda: "event=queue_paused queue=celery" in fleet.log(), "the worker knows")
        assert resume(broker, ["celery", "ü\n*"]) == ["celery", "ü\n*"]
        assert got(held) == "held"
