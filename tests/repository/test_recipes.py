"""The recipes of CONTRIBUTING.md, followed in a copy of the tree: which files a person touches, and that it then works.

Tests and documents come on top: a test each, a row of docs/reference/ for a toxic, a fault and a rule.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from repository import ROOT

ROOMS = ("faults", "harness", "suites")
#: What an installation says of itself; it stands in front of the real one.
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: taskchaos\nVersion: 0\n",
    "entry_points.txt": "[taskchaos.shipped]\nsubjects = taskchaos.suites.subjects:SHIPPED\n",
}


@dataclass(frozen=True)
class Recipe:
    """What is written: whole files, and text behind a text of others. Then `check` has to run to its end."""

    name: str
    files: int
    new: Mapping[str, str]
    added: Mapping[str, Sequence[tuple[str, str]]]
    check: str

    def follow(self, tree: Path) -> None:
        """Do what the recipe says in a copy of the rooms."""
        for name, text in self.new.items():
            (tree / name).write_text(text)
        for name, insertions in self.added.items():
            whole = (tree / name).read_text()
            for behind, text in insertions:
                assert whole.count(behind) == 1, f"{name}: {behind!r} is there {whole.count(behind)} times"
                whole = whole.replace(behind, behind + text)
            (tree / name).write_text(whole)


TOXIC = Recipe(
    "a toxic: its file, and its import",
    files=2,
    new={
        "faults/proxy/toxics/twice.py": '''
"""twice: every chunk is delivered twice."""

from taskchaos.faults.proxy.toxics.base import Chunk, Stage, register


@register("twice", "TwiceToxic")
class Twice(Stage):
    def feed(self, chunk: Chunk) -> None:
        self.following.feed(chunk)
        self.following.feed(chunk)
'''
    },
    added={
        "faults/proxy/toxics/__init__.py": [
            ("from taskchaos.faults.proxy.toxics import bandwidth, ", "twice, "),
        ]
    },
    check="""
import json, socket, subprocess, sys
from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient
command = [sys.executable, "-m", "taskchaos.faults.proxy", "--host", "127.0.0.1", "--port", "0"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    client = ToxiproxyClient(**json.loads(server.stdout.readline()))
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(10)
        proxy = client.create("one", f"127.0.0.1:{upstream.getsockname()[1]}")
        client.add_toxic("one", "twice", stream=Stream.UPSTREAM, attributes={})
        with socket.create_connection((proxy.host, proxy.port), 10) as sock:
            sock.sendall(b"chunk")
            peer = upstream.accept()[0]
            peer.settimeout(10)
            got = b""
            while len(got) < 10:
                got += peer.recv(10)
            assert got == b"chunkchunk", got
finally:
    server.kill()
    server.wait()
""",
)

FAULT = Recipe(
    "a fault: its file, and its name in FAULTS",
    files=2,
    new={
        "faults/slow_replies.py": '''
"""A link fault: replies come late, requests do not."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from taskchaos.faults.base import Ping, PingResult
from taskchaos.faults.bounds import Whole
from taskchaos.faults.network import LinkFault
from taskchaos.faults.toxiproxy import ProxyState, Stream


@dataclass
class SlowReplies(LinkFault):
    kind: ClassVar[str] = "slow_replies"
    summary: ClassVar[str] = "one way: replies come late"
    delay_ms: Annotated[int, Whole(5, 10_000)] = 50

    def _apply(self) -> None:
        self._toxic("latency", Stream.DOWNSTREAM, latency=self.delay_ms)

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        late = ping.result is PingResult.PONG and ping.took_s * 1000 >= self.delay_ms
        return f"PING took {ping.took_s * 1000:.0f} ms" if late else ""

    def _denies(self, ping: Ping, state: ProxyState) -> bool:
        return ping.result is PingResult.PONG and ping.took_s * 1000 < self.delay_ms - 2
'''
    },
    added={
        "faults/schedule.py": [
            (
                "from dataclasses import dataclass, field\n",
                "from taskchaos.faults.slow_replies import SlowReplies\n",
            ),
            ("        Together,\n", "        SlowReplies,\n"),
        ]
    },
    check="""
import tempfile
from pathlib import Path
from talking import talking
from waiting import until
from taskchaos.faults.base import On
from taskchaos.faults.schedule import PlannedFault, faults_on
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.catalogue import fault_rows
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload
assert "slow_replies" in faults_on(On.LINK)
assert [row["local"] for row in fault_rows() if row["fault"] == "slow_replies"] == [True]
workload = Workload(model=LoadModel.PREFILL, prefill=1)
with LocalStack(Path(tempfile.mkdtemp()), "stock_best", workload, StackOptions()) as stack:
    fault = PlannedFault("slow_replies", "producer-1", parameters={"delay_ms": 30}).make(stack.links, stack.workers)
    with talking(stack.links["producer-1"]):
        assert fault.prove() is None
        fault.inject()
        until(fault.prove)
        assert fault.holds()
        fault.heal()
        assert fault.verify_healed()
""",
)

SUBJECT = Recipe(
    "a subject that ships: its file, and its line in SHIPPED",
    files=2,
    new={
        "suites/subjects/hopeful.py": '''
"""A control that tells its tasks to run once, and hopes."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import CelerySubject, TaskBody


class Hopeful(CelerySubject):
    """No retries at all."""

    name = "hopeful"
    expectations = {"transient_error": Expectation(must=frozenset({Rule.LOST}))}

    def register(self, app: Celery, body: TaskBody) -> Any:
        def task(payload: Mapping[str, Any]) -> Any:
            return body(payload)

        return app.task(name="taskchaos.task", acks_late=True)(task)
'''
    },
    added={
        "suites/subjects/__init__.py": [
            ("SHIPPED = {\n", '    "hopeful": "taskchaos.suites.subjects.hopeful:Hopeful",\n'),
        ]
    },
    check="""
from taskchaos.harness.case.subject_loading import dry_run, resolve
from taskchaos.harness.catalogue import subject_rows
from taskchaos.harness.run.folder import RunOptions
assert subject_rows()[0]["is"] == "No retries at all."
assert RunOptions(out="").subjects[0] == "hopeful"
assert dry_run(resolve("hopeful")) == ()
""",
)

RULE = Recipe(
    "a rule: its name, its function, and its line in the checker",
    files=3,
    new={
        "harness/checker/punctual.py": '''
"""The rule punctual: no task has to wait for its effect for an hour."""

from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult


def punctual(evidence: CaseEvidence) -> RuleResult:
    if not evidence.history.effects.op:
        return RuleResult(Rule.PUNCTUAL, Outcome.UNKNOWN, "waited an hour = 0", None, "nothing took effect")
    return RuleResult(Rule.PUNCTUAL, Outcome.PASS, "waited an hour = 0", 0, "nobody waited")
'''
    },
    added={
        "harness/record/verdict.py": [('    WORKERS = "workers"\n', '    PUNCTUAL = "punctual"\n')],
        "harness/checker/__init__.py": [
            (
                "from taskchaos.harness.checker.faults import doubtful, label\n",
                "from taskchaos.harness.checker.punctual import punctual\n",
            ),
            ("    Rule.WORKERS: preconditions.workers,\n", "    Rule.PUNCTUAL: punctual,\n"),
        ],
    },
    check="""
from checker_histories import ALL, HistoryBuilder
from taskchaos.harness.checker import check
from taskchaos.harness.record.verdict import Outcome, Rule
(found,) = (rule for rule in check(HistoryBuilder().done(0).build(), ALL).rules if rule.rule is Rule.PUNCTUAL)
assert found.outcome is Outcome.PASS, found
(found,) = (rule for rule in check(HistoryBuilder().build(), ALL).rules if rule.rule is Rule.PUNCTUAL)
assert found.outcome is Outcome.UNKNOWN, found
""",
)

SECTION = Recipe(
    "a section of the report: what it shows, and its place on the page",
    files=2,
    new={},
    added={
        "harness/report/html.py": [
            (
                "        lacks=overall.incomplete_phrase(result),\n",
                "        slowest=max((case.wall_s for case in result.cases), default=0.0),\n",
            )
        ],
        "harness/report/page.html.j2": [
            (
                '</section>\n{% endif %}\n<section aria-labelledby="run">\n',
                '<h2>Slowest case</h2><p>{{ slowest | seconds }}</p></section>\n<section aria-labelledby="run">\n',
            )
        ],
    },
    check="""
import tempfile
from pathlib import Path
import report_samples
from taskchaos.harness.report import write_all
folder = report_samples.run_folder(Path(tempfile.mkdtemp()) / "run")
write_all(folder)
assert "<h2>Slowest case</h2>" in (folder / "report.html").read_text()
""",
)

RECIPES = (TOXIC, FAULT, SUBJECT, RULE, SECTION)


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name.partition(":")[0])
def test_a_recipe_works_in_as_many_files_as_it_says(recipe: Recipe, tmp_path: Path) -> None:
    assert len(recipe.new) + len(recipe.added) == recipe.files
    tree = tmp_path / "taskchaos"
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "taskchaos-0.dist-info").mkdir()
    for name, text in METADATA.items():
        (tmp_path / "taskchaos-0.dist-info" / name).write_text(text)
    recipe.follow(tree)
    supports = (ROOT / "tests" / "support", ROOT / "tests" / "harness" / "support")
    path = os.pathsep.join(str(folder) for folder in (tmp_path, *supports))
    done = subprocess.run(
        [sys.executable, "-c", recipe.check],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
