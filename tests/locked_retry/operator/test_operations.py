"""docs/operations: what dashboard and alerts ask for is told by a real worker, and the examples hold together."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from repository import ROOT
from server_process import Server
from waiting import until
from worker_support import settled, surroundings

from locked_retry.broker.turns import SettlementKind

OPERATIONS = ROOT / "docs" / "operations"
COMPOSE = OPERATIONS / "compose"
BOARD: dict[str, Any] = json.loads((OPERATIONS / "dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((OPERATIONS / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
QUERIES = {f"panel {p['title']} {t['refId']}": t["expr"] for p in BOARD["panels"] for t in p["targets"]} | {
    f"alert {rule['alert']}": rule["expr"] for rule in RULES
}
METRIC = re.compile(r"\blocked_retry_\w+")


@pytest.fixture(scope="module")
def scraped(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """/metrics of a real worker that has had a success, a retry, a dead letter, a crash and a message that waits."""
    shared_server.client.flushall()
    with surroundings(shared_server.url, tmp_path_factory.mktemp("worker")) as one:
        one.worker(options="{'metrics': '0', 'max_crashes': 2}")
        found = until(lambda: re.search(r"http://\S+/metrics", one.log()), "figures are served")
        one.send("flaky", "a", 1)
        one.send("ends", "error")
        one.send("ends", "exit")
        until(lambda: one.notes("end") and shared_server.client.zcard("lr:dead") == 2, "all ended")

        def told() -> str:
            with urllib.request.urlopen(found[0], timeout=10) as answer:
                text = str(answer.read().decode())
            return text if 'event="dead"} 2' in text else ""

        return str(until(told, "Redis has told of both"))


@pytest.mark.parametrize("where", QUERIES)
def test_every_metric_and_label_in_a_query_is_told_by_a_worker(scraped: str, where: str) -> None:
    names = {line.partition("{")[0].partition(" ")[0] for line in scraped.splitlines() if not line.startswith("#")}
    asked = METRIC.findall(QUERIES[where])
    assert asked and set(asked) <= names
    for metric, labels in re.findall(r"(locked_retry_\w+)\{([^}]*)\}", QUERIES[where]):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            known = set(re.findall(rf'{metric}{{[^}}]*\b{label}="([^"]*)"', scraped))
            assert value in known or value == "dead_trimmed", "nothing trims dead letters here"


@pytest.mark.parametrize("where", QUERIES)
def test_what_every_worker_tells_of_redis_is_never_summed(where: str) -> None:
    query = QUERIES[where]
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}")
    for place in re.finditer(r"locked_retry_broker_", query):
        before = query[: place.start()]
        inner = re.sub(r"(rate|increase)\($", "", before)
        assert re.search(r"\bmax(?: by \([\w, ]+\) ?)?\($", inner), query


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana asks of one: ids and places of its panels, and a source that it can fill in."""
    assert BOARD["title"] and BOARD["uid"] and BOARD["schemaVersion"] >= 36 and "id" not in BOARD
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert METRIC.findall(variables["instance"]["definition"]) == ["locked_retry_turns_total"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids) > 10
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        assert panel["title"] and panel["description"]
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(panel)))
        assert used <= {*variables, "__rate_interval"} and "datasource" in used


def test_the_alerts_are_rules_of_prometheus() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 8
    for rule in RULES:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"]) and rule["labels"]["severity"] in ("warning", "critical")
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m")) and rule["annotations"]["summary"]
        kept = re.findall(r"by \(([\w, ]+)\)", rule["expr"])
        known = set(kept[0].split(", ")) if kept else {"instance"}
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in known, f"{rule['alert']}: {label} is not among the labels of the result"


@pytest.fixture
def shop(redis: Redis, shared_server: Server, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts commands of the example's application; each logs into a file of its number."""
    shutil.copy(COMPOSE / "shop.py", tmp_path)
    env = {**os.environ, "CELERY_BROKER_URL": shared_server.url, "LOCKED_RETRY_METRICS": "0"}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"log{len(started)}").open("wb") as log:
            command = [sys.executable, "-m", *words] if words[0] == "celery" else [sys.executable, *words]
            started.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_examples_application_works(
    shop: Callable[..., subprocess.Popen[bytes]], redis: Redis, tmp_path: Path
) -> None:
    """Its image's command, with fewer processes, and its producer."""
    (command,) = re.findall(r"^CMD (\[.*\])$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)
    assert json.loads(command)[:4] == ["celery", "-A", "shop", "worker"]
    shop(*json.loads(command)[:-1], "2")
    producer = shop("shop.py")
    until(lambda: int(redis.hget("lr:stats", "ok") or 0) >= 2, "orders are shipped", 40)
    producer.kill()
    until(lambda: settled(redis), "all are")
    assert "event=metrics_served" in (tmp_path / "log0").read_text()


def test_the_compose_example_holds_together() -> None:
    whole = yaml.safe_load((COMPOSE / "compose.yml").read_text())
    services = whole["services"]
    assert services.keys() == {"redis", "worker", "app", "prometheus"}
    root = (COMPOSE / services["worker"]["build"]["context"]).resolve()
    assert root == ROOT and (root / services["worker"]["build"]["dockerfile"]).is_file()
    for path in re.findall(r"^COPY (\S+) ", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE):
        assert (ROOT / path).exists()
    environment = services["worker"]["environment"]
    port = int(environment["LOCKED_RETRY_METRICS"].rpartition(":")[2])
    prometheus = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["dns_sd_configs"][0]["port"] == port and job["dns_sd_configs"][0]["names"] == ["worker"]
    assert f":{port}/healthz" in services["worker"]["healthcheck"]["test"][-1]
    assert not [name for name in ("redis", "worker", "app") if services[name].get("ports")], "nothing is published"
    mounted = [volume.split(":") for volume in services["prometheus"]["volumes"]]
    assert all((COMPOSE / source).is_file() for source, *_ in mounted)
    assert prometheus["rule_files"] == ["alerts.yml"]
    given = services["redis"]["command"]
    assert given[given.index("--maxmemory-policy") + 1] == "noeviction" and "--appendonly" in given
    lease_s, soft_s = _times_of_the_shop()
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > lease_s + soft_s


def test_docker_compose_takes_the_example(require: Callable[[str, bool, str], None]) -> None:
    """`docker compose config` needs no engine."""
    known = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True)
    there = bool(known) and known.returncode == 0
    require("docker", there, "docker compose is not here")
    words = ["docker", "compose", "-f", str(COMPOSE / "compose.yml"), "config", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"].keys() == {"redis", "worker", "app", "prometheus"}


def _times_of_the_shop() -> tuple[float, float]:
    """lease_s and worker_soft_shutdown_timeout of the example's application."""
    code = (
        "import shop; from locked_retry.options import Options; conf = shop.app.conf; "
        "print(Options.read(conf.broker_transport_options).lease_s, conf.worker_soft_shutdown_timeout)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=COMPOSE, capture_output=True, text=True, check=True)
    lease_s, soft_s = map(float, done.stdout.split())
    return lease_s, soft_s


def test_the_manifests_of_kubernetes_hold_together() -> None:
    documents = list(yaml.safe_load_all((OPERATIONS / "kubernetes" / "worker.yml").read_text()))
    deployment, budget = documents
    assert [(d["apiVersion"], d["kind"]) for d in documents] == [
        ("apps/v1", "Deployment"),
        ("policy/v1", "PodDisruptionBudget"),
    ]
    spec, template = deployment["spec"], deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == budget["spec"]["selector"]["matchLabels"] == labels
    pod = template["spec"]
    lease_s, soft_s = _times_of_the_shop()
    assert pod["terminationGracePeriodSeconds"] > lease_s + soft_s
    (container,) = pod["containers"]
    env = {one["name"]: one for one in container["env"]}
    assert "secretKeyRef" in env["CELERY_BROKER_URL"]["valueFrom"], "the URL has a password"
    port = int(env["LOCKED_RETRY_METRICS"]["value"].rpartition(":")[2])
    assert container["ports"] == [{"name": "metrics", "containerPort": port}]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    live = container["livenessProbe"]
    assert live["timeoutSeconds"] < live["periodSeconds"] and live["failureThreshold"] > 1
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and container["resources"]["limits"]["memory"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["command"][:4] == ["celery", "-A", "shop", "worker"]


def test_the_kinds_in_queries_are_those_that_there_are() -> None:
    asked = {kind for query in QUERIES.values() for kind in re.findall(r'kind="(\w+)"', query)}
    assert asked and asked <= {kind.value for kind in SettlementKind}
