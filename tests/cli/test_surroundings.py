"""What a run leaves outside its folder (nothing), and what surroundings it runs in (any)."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from c_locale import C_LOCALE
from cli_support import COMMAND, TIMEOUT_S, verdict
from repository import ROOT

from taskchaos.harness.stack.redis_server import find_binary

ONCE = ("run", "transient_error", "-k", "once", "-s", "locked_retry")


def _run(words: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, **environment}
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_run_leaves_nothing_in_the_systems_temporary_folder(tmp_path: Path, parallel: str) -> None:
    """billiard makes a folder pymp-* for each pool, and does not get to remove it when the worker is killed."""
    temporary, out = tmp_path / "tmp", tmp_path / "run"
    temporary.mkdir()
    done = _run([COMMAND, *ONCE, "-n", parallel, "--out", str(out)], tmp_path, TMPDIR=str(temporary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(temporary.iterdir()) == []
    assert list((out / "cases" / "transient_error.once.locked_retry" / "tmp").iterdir()), "that is where it was made"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_changes_no_verdict(tmp_path: Path, closed: str) -> None:
    """As daemons and some cron start what they start."""
    command = shlex.join([COMMAND, *ONCE, "-n", "2", "--out", "run"])
    done = _run(["sh", "-c", f"{command} {closed}"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = verdict(tmp_path / "run")["cases"]
    assert case["outcome"] == "pass"
    assert b"PASS" in done.stdout or ">&-" in closed.split()


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_files_that_are_called_like_packages_are_not_imported(tmp_path: Path, parallel: str) -> None:
    """A Django project has its own celery.py; `python -m` would put it before the package."""
    ours = ("celery", "kombu", "redis", "billiard", "faults", "harness", "logging", "json")
    for name in (*ours, "requests", "toxiproxy", "jinja2", "h11", "click", "uvloop"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not the package')\n")
    (tmp_path / "mine.py").write_text(
        "from beside import NAME\nfrom celery import Celery\nfrom redis import Redis\n"
        "from taskchaos.suites.subjects.stock import BestSettings\n"
        "class Mine(BestSettings):\n    name = NAME\n"
    )
    (tmp_path / "beside.py").write_text("NAME = 'mine'\n")
    done = _run([COMMAND, *ONCE, "-s", "mine:Mine", "-n", parallel, "--out", "run"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [case["subject"] for case in verdict(tmp_path / "run")["cases"]] == ["locked_retry", "mine"]


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_what_a_run_sets_for_its_test_workers_reaches_no_task(tmp_path: Path, parallel: str) -> None:
    (tmp_path / "subject.py").write_text(
        "import os\nfrom taskchaos.suites.subjects.stock import BestSettings\n"
        "class Subject(BestSettings):\n    name = 'looks'\n"
        "    def install(self, app, settings):\n"
        "        assert 'PYTHONSAFEPATH' not in os.environ, 'it is there'\n"
    )
    done = _run([COMMAND, *ONCE[:-2], "-s", "subject.py:Subject", "-n", parallel, "--out", "run"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "theirs",
    [
        {"PYTEST_ADDOPTS": "--no-such-option -x"},
        {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        {"PYTEST_PLUGINS": "no_such_plugin", "PYTEST_TIMEOUT": "0.1", "PYTHONSAFEPATH": "1"},
    ],
    ids=lambda theirs: next(iter(theirs)),
)
def test_the_users_own_pytest_options_do_not_apply_to_a_run(tmp_path: Path, theirs: dict[str, str]) -> None:
    done = _run([COMMAND, *ONCE, "-n", "2", "--out", "run"], tmp_path, **theirs)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mere_collection_leaves_no_run_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pytest", str(ROOT / "suites"), "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = _run(words, tmp_path)
    assert done.returncode == 0, done.stdout
    assert b"test_once[locked_retry]" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_subject_is_executed_once_per_process_when_tests_are_collected(tmp_path: Path) -> None:
    """It was once for each test: hundreds of times, for a subject in a file."""
    (tmp_path / "counted.py").write_text(
        "from pathlib import Path\n"
        "from taskchaos.harness.subject import CelerySubject\n"
        "with Path(__file__).with_name('executed').open('a') as log:\n    log.write('.')\n"
        "class Counted(CelerySubject):\n    name = 'counted'\n"
    )
    words = [sys.executable, "-m", "pytest", str(ROOT / "suites"), "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = _run([*words, "--chaos-subject", "counted.py:Counted", "--chaos-profile", "nightly"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(b"[counted]") + done.stdout.count(b"counted-") > 20
    assert len((tmp_path / "executed").read_text()) <= 3, "named, checked, and no more"


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_texts_of_any_alphabet_are_shown_under_the_c_locale(tmp_path: Path, parallel: str) -> None:
    (tmp_path / "umlaut.py").write_text(
        "from taskchaos.suites.subjects.stock import BestSettings\n"
        "class Umlaut(BestSettings):\n"
        "    'Größe → 大きさ'\n"
        "    name = 'umlaut'\n"
        "    def pending(self, redis):\n"
        "        print('läuft → 走る', flush=True)\n"
        "        raise ValueError('kaputt: Größe → 大きさ')\n",
        encoding="utf-8",
    )
    out = tmp_path / "run"
    words = ["run", "transient_error", "-k", "once", "-s", "umlaut.py:Umlaut", "-n", parallel, "--out", str(out)]
    done = _run([COMMAND, *words], tmp_path, **C_LOCALE)
    assert b"Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert done.returncode == 2, done.stdout + done.stderr
    (case,) = verdict(out)["cases"]
    assert case["trouble"] == "subject" and "kaputt: Größe → 大きさ" in case["error"], case


def test_a_pytest_that_fails_early_is_the_harnesss_trouble(tmp_path: Path) -> None:
    """Here execnet, which cannot send a name that is no text under this locale to its workers."""
    words = [*ONCE, "-n", "2", "--out", str(tmp_path / "rün")]
    done = _run([COMMAND, *words], tmp_path, **C_LOCALE)
    assert b"Traceback" not in done.stdout + done.stderr
    assert done.returncode == 3, done.stdout + done.stderr
    assert b"pytest failed internally" in done.stdout


def test_a_server_is_called_by_the_name_that_was_given(tmp_path: Path) -> None:
    """Debian's /usr/bin/redis-server is a link to /usr/bin/redis-check-rdb, which looks at argv[0]."""
    several = tmp_path / "redis-check-rdb"
    by_name = f'case "$0" in *redis-server) exec {find_binary(None)} "$@" ;; esac'
    several.write_text(f'#!/bin/sh\n{by_name}\necho "usage: check-rdb"; exit 1\n')
    several.chmod(several.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "redis-server").symlink_to(several.name)
    out = tmp_path / "run"
    done = _run([COMMAND, *ONCE, "-n", "1", "--redis-server", "redis-server", "--out", str(out)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
