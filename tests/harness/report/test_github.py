"""What GitHub Actions reads from a log, by the rules of its runner (src/Runner.Common/ActionCommand.cs)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from taskchaos.harness.errors import complain
from taskchaos.harness.record.events import Event, Problem
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.report import github
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.suite_paths import suites_folder
from taskchaos.harness.verbosity import Verbosity

KNOWN = {"error", "warning", "notice", "group", "endgroup", "add-mask", "stop-commands", "set-env", "debug"}
LOSES = samples.cases()[2]


@dataclass(frozen=True)
class Command:
    """What the runner makes of a line."""

    name: str
    properties: dict[str, str]
    text: str


def command_of(line: str) -> Command | None:
    """A line as the runner reads it; None for one that is only shown."""
    text = line.lstrip()
    if text.startswith("::") and "::" in text[2:]:
        about, _, said = text[2:].partition("::")
        name, _, rest = about.partition(" ")
        if name in KNOWN:
            pairs = [pair.partition("=") for pair in rest.strip().split(",") if pair]
            return Command(name, {key: _plain(value, ":%3A", ",%2C") for key, _, value in pairs}, _plain(said))
    if "##[" in line and "]" in line[line.index("##[") :]:
        name = line[line.index("##[") + 3 :].partition("]")[0].partition(" ")[0]
        if name in KNOWN:
            return Command(name, {}, "")
    return None


def _plain(text: str, *more: str) -> str:
    for pair in ("\r%0D", "\n%0A", *more, "%%25"):
        text = text.replace(pair[1:], pair[0])
    return text


def log_of(found: list[Event], **options: Any) -> list[str]:
    stream = io.StringIO()
    terminal = Terminal(stream, width=100, on_github=True, **options)
    for event in found:
        terminal.handle(event)
    terminal.summary(collect(found), Path("report.html"))
    return stream.getvalue().splitlines()


def commands_of(lines: list[str]) -> Iterator[Command]:
    yield from filter(None, map(command_of, lines))


def test_a_surprise_is_a_group_and_an_error() -> None:
    lines = log_of(samples.judged(LOSES))
    found = list(commands_of(lines))
    assert [one.name for one in found] == ["group", "endgroup", "error"]
    assert found[0].text.startswith(f"✗ {LOSES.id}")
    error = found[2]
    assert error.properties["title"] == f"{LOSES.id}: FAIL lost, duplicate"
    assert error.text.startswith("stock_best was expected to pass worker_kill.tree but failed: lost, duplicate\n")
    assert "lost = 0, observed 3: 3 acknowledged tasks left no effect" in error.text
    assert error.text.endswith(f"again: {LOSES.replay}")
    assert lines[-1].startswith("FAIL in")


def test_what_passes_is_neither_unless_all_is_told() -> None:
    good = samples.judged(samples.cases()[0])
    assert list(commands_of(log_of(good))) == []
    assert [one.name for one in commands_of(log_of(good, verbosity=Verbosity.ALL))] == ["group", "endgroup"]


def test_what_is_unknown_is_a_warning_and_the_worst_comes_first() -> None:
    found = [one for one in commands_of(log_of(samples.stream())) if one.name in ("error", "warning")]
    titles = [one.properties["title"].partition(":")[0] for one in found if one.name == "error"]
    assert titles[0] == "worker_kill.tree.stock_best" and titles[-1] == "throughput.burst.my_queue"
    assert [one.properties["title"] for one in found if one.name == "warning"] == [
        "partition.black_hole.locked_retry: unknown"
    ]
    assert found[-1].name == "warning"


def test_github_is_told_no_more_than_it_shows() -> None:
    many = [replace(LOSES, id=f"a.b{n}.c", scenario=f"b{n}") for n in range(30)]
    assert sum(one.name == "error" for one in commands_of(log_of(samples.judged(*many)))) == 10


HOSTILE = (
    "::error::x",
    "  ::set-env name=PATH::x",
    "##[group]x",
    "a\n::stop-commands::x\nb",
    "50 % %0A::error::x",
    "a,b:c=d",
    "\r::add-mask::e",
    "x ##[set-env name=a;]b",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("verbosity", Verbosity)
def test_no_text_of_a_case_is_a_command(text: str, verbosity: Verbosity) -> None:
    rules = tuple(replace(rule, reason=f"{'word ' * 14}{text}") for rule in LOSES.rules)
    hostile = replace(LOSES, id=f"a.{text}.c", subject=text, rules=rules, replay=text, expected=LOSES.expected)
    broken = replace(samples.cases()[6], id="d.e.f", error=text, replay=text)
    lines = log_of(
        samples.frame(*samples.judged(hostile, broken)[2:-1], Problem(text=text, doubt=True)), verbosity=verbosity
    )
    found = list(commands_of(lines))
    assert {one.name for one in found} <= {"group", "endgroup", "error", "warning"}
    assert sum(one.name == "error" for one in found) == 2 and sum(one.name == "warning" for one in found) == 1
    assert all(set(one.properties) <= {"title", "file", "line"} for one in found)
    assert any(one.properties.get("title") == f"a.{text}.c: FAIL lost, duplicate" for one in found)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_that_is_made_harmless_is_no_command(text: str) -> None:
    assert all(command_of(github.harmless(line)) is None for line in text.splitlines())
    assert github.harmless("  worker::1 says ## [x]") == "  worker::1 says ## [x]"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_complaint_is_no_command(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    complain(text)
    assert all(command_of(line) is None for line in capsys.readouterr().err.splitlines())


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    return tmp_path


def place_of(case: CaseResult) -> tuple[str | None, str | None]:
    found = next(one for one in commands_of(log_of(samples.judged(case))) if one.name == "error")
    return found.properties.get("file"), found.properties.get("line")


def test_an_error_points_to_the_test(workspace: Path) -> None:
    test = workspace / "tests" / "a,b" / "test_mine.py"
    test.parent.mkdir(parents=True)
    test.write_text("import x\n\n\nclass TestIt:\n    def test_tree(self, chaos):\n        ...\n")
    mine = replace(LOSES, nodeid=f"{test}::TestIt::test_tree[stock::best]")
    assert place_of(mine) == ("tests/a,b/test_mine.py", "5")
    assert place_of(replace(mine, nodeid=f"{test}::test_gone[x]")) == ("tests/a,b/test_mine.py", "1")


def test_where_the_suite_ships_with_taskchaos_it_points_to_the_subject(workspace: Path) -> None:
    (workspace / "my_retry.py").write_text("class Base: ...\nclass Subject(Base): ...\n")
    assert place_of(replace(LOSES, spec=f"{workspace}/my_retry.py:Subject")) == ("my_retry.py", "2")
    assert place_of(replace(LOSES, spec="stock_best")) == (None, None)
    (workspace / "my_retry.py").write_text("class (:\n")
    assert place_of(replace(LOSES, spec=f"{workspace}/my_retry.py:Subject")) == (None, None)


def test_in_taskchaos_its_own_repository_it_points_to_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suites_folder().parent))
    lines = (suites_folder() / "test_worker_kill.py").read_text().splitlines()
    [line] = [number for number, text in enumerate(lines, 1) if text.startswith("def test_tree(")]
    assert place_of(replace(LOSES, spec="stock_best")) == ("suites/test_worker_kill.py", str(line))


def test_only_in_github_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert not github.runs_here()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert github.runs_here()
