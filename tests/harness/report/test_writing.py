"""Reports are written whole or not at all, under any locale, and what cannot be written is named."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from c_locale import C_LOCALE
from repository import ROOT

from taskchaos.harness.errors import TaskchaosError, UsageError
from taskchaos.harness.record.events import Problem
from taskchaos.harness.report import NotWrittenError, json_file, write_all
from taskchaos.harness.report.atomic_write import replace_text

VIEWS = ("verdict.json", "junit.xml", "summary.md", "report.html")
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))},
    **C_LOCALE,
    "PYTHONPATH": str(ROOT),
}


def python(code: str, *arguments: bytes | str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in the C locale; that it uses a default encoding is an error."""
    argv = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning", "-c", code, *arguments]
    return subprocess.run(argv, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("view", VIEWS)
def test_one_view_that_cannot_be_written_costs_only_itself(view: str, tmp_path: Path) -> None:
    out = samples.run_folder(tmp_path / "run")
    (out / view).mkdir()
    (out / view / "in the way").touch()
    with pytest.raises(NotWrittenError, match=f"{view} cannot be written: Is a directory") as caught:
        write_all(out)
    assert caught.value.result.exit_code == 1, "the run stands all the same"
    others = set(VIEWS) - {view}
    assert all((out / name).stat().st_size for name in others)
    assert not list(out.glob(".*.part"))


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskchaosError, match=r"x/report\.html cannot be written: No such file or directory"):
        replace_text(tmp_path / "x" / "report.html", "text")
    (tmp_path / "run" / "events.jsonl").mkdir(parents=True)
    with pytest.raises(UsageError, match="is no run folder"):
        write_all(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no run folder"):
        write_all(tmp_path / "file")


FULL = """
import resource, sys
sys.dont_write_bytecode = True  # Python leaves half a file of it where the disk is full
from pathlib import Path
from taskchaos.harness.report import NotWrittenError, write_all
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    write_all(Path(sys.argv[1]))
except NotWrittenError as error:
    print(error)
"""


def test_a_disk_that_is_full_leaves_the_old_report_whole(tmp_path: Path) -> None:
    case = samples.cases()[0]
    out = samples.run_folder(tmp_path / "run", samples.judged(case), {case.id: samples.detail(case)})
    (out / "report.html").write_text("the old one", encoding="utf-8")
    done = python(FULL, str(out))
    assert done.stdout.decode() == f"{out}/report.html cannot be written: File too large\n", done.stderr.decode()
    assert (out / "report.html").read_text(encoding="utf-8") == "the old one"
    assert json_file.read(out / "verdict.json").exit_code == 0
    assert not list(out.glob(".*.part"))


SHOW = """
import os, sys
from pathlib import Path
from taskchaos.harness.record import events
from taskchaos.harness.report import write_all
from taskchaos.harness.report.terminal import Terminal
out = Path(sys.argv[1])
terminal = Terminal(sys.stdout, width=100)
for event in events.read(out / "events.jsonl"):
    terminal.handle(event)
terminal.summary(write_all(out), out / "report.html")
"""


def test_names_that_are_no_utf_8_are_written_under_the_c_locale(tmp_path: Path) -> None:
    case = replace(samples.cases()[2], subject="naïve-\udce9", spec="/tmp/caf\udce9.py:Naïve")
    odd = Problem(text="caf\udce9.py: ≥ 3 – \ud800 日本")
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    out = samples.run_folder(place, [*samples.judged(case), odd], {case.id: samples.detail(case)})
    done = python(SHOW, os.fsencode(out))
    assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode("ascii")
    assert "x na?ve-? was expected to pass worker_kill.tree but failed" in " ".join(shown.split())
    assert "! caf?.py: >= 3 - ? ??" in shown
    for view in VIEWS:
        text = (out / view).read_bytes().decode("utf-8")
        assert "naïve-?" in text
        assert "≥ 3 – ? 日本" in text
    assert json_file.read(out / "verdict.json").cases[0].subject == "naïve-?"
