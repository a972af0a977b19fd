"""Celery's own integration tests (t/integration of its source distribution): obtained, run, and judged.

`celery_suite/test_sample.py` runs those that are quick with `make test`, `celery_suite/whole.py` all of them
(`tox -e celery-integration`). `celery_suite/plugin/` is what is loaded into pytest and worker there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import celery
from repository import ROOT

HERE = Path(__file__).parents[1] / "celery_suite"
#: The release whose tests are run, and the SHA-256 of its source distribution. They are for its minor release.
PINNED = "5.7.0"
SHA256 = "6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0"
#: A source distribution that is there already, for machines without a package index.
GIVEN = "CHAOS_CELERY_SDIST"
POOLS = ("embedded", "prefork", "threads", "solo", "gevent")
#: Those that a Redis can be asked: the others are about other backends and about memory.
FILES = (
    "test_canvas.py",
    "test_tasks.py",
    "test_inspect.py",
    "test_worker.py",
    "test_connection_recovery.py",
    "test_group_chains.py",
    "test_redis_backend.py",
    "test_beat.py",
    "test_loader.py",
    "test_request_backend_down.py",
    "test_serialization.py",
    "test_upgrade.py",
    "test_logfile_format.py",
)
#: Those of which `make test` runs a share on each pool: what a transport is used for.
SAMPLE = ("test_canvas.py", "test_tasks.py", "test_inspect.py", "test_group_chains.py", "test_worker.py")
CALL = "-c /dev/null -p suite_plugin -p celery.contrib.pytest -p no:cacheprovider -p no:taskchaos -p no:xdist"
#: Those of Celery's own continuous integration, which would run what fails again.
CALL += " -p no:rerunfailures -p no:timeout --durations=15"
SETTINGS = "-o python_classes=test_* -o xfail_strict=true -q -rfE --tb=short"


class Unobtainable(Exception):
    """The tests cannot be had here, for this reason."""


def obtain(folder: Path) -> Path:
    """The folder that has Celery's `t`. Raises Unobtainable."""
    if celery.__version__.split(".")[:2] != PINNED.split(".")[:2]:
        raise Unobtainable(f"Celery's tests are those of {PINNED}, and {celery.__version__} is installed")
    if (folder / "t").exists():
        return folder
    sdist = Path(os.environ[GIVEN]) if os.environ.get(GIVEN) else _download(folder)
    if not sdist.is_file() or hashlib.sha256(sdist.read_bytes()).hexdigest() != SHA256:
        raise Unobtainable(f"{sdist} is not the source distribution of celery {PINNED}")
    top = f"celery-{PINNED}/"
    wanted = tuple(f"{top}t/{name}" for name in ("__init__.py", "canvas_helpers.py", "integration/"))
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.name.startswith(wanted) else None
            if file is not None:  # without the celery beside it: the installed one is tested
                path = folder / member.name.removeprefix(top)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
    return folder


def _download(folder: Path) -> Path:
    """The source distribution, from the package index. pip compares the hash."""
    pinned = folder / "pinned.txt"
    pinned.write_text(f"celery=={PINNED} --hash=sha256:{SHA256}\n")
    options = f"download --quiet --no-deps --no-binary celery --require-hashes --dest {folder} -r {pinned}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *options.split()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise Unobtainable(f"pip did not download celery {PINNED} within 120 s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        raise Unobtainable(f"pip has no source distribution of celery {PINNED}: {' '.join(said)}")
    return next(folder.glob("*.tar.gz"))


@dataclass(frozen=True)
class Call:
    """A run that is asked for: which files on what, all of their tests or, for the sample, every n-th."""

    transport: str
    pool: str
    files: tuple[str, ...]
    limit_s: float
    share: str = ""


@dataclass(frozen=True)
class Known:
    """Tests that fail on locked_retry, or are not run, and why that is so."""

    tests: tuple[str, ...]
    reason: str
    pools: tuple[str, ...] = POOLS
    sample_only: bool = False

    def names(self, test: str) -> bool:
        """Whether this test is meant."""
        return any(test == name or test.startswith((f"{name}::", f"{name}[")) for name in self.tests)

    def holds_for(self, call: Call) -> bool:
        """Whether it is about this run."""
        return call.pool in self.pools and (bool(call.share) or not self.sample_only)


@cache
def known(table: str) -> tuple[Known, ...]:
    """The rows of `difference` or `left_out`."""
    rows = tomllib.loads((HERE / "differences.toml").read_text())[table]
    return tuple(Known(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows)


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the outcome of each test, and what pytest printed."""

    call: Call
    tests: dict[str, str]
    output: str
    took_s: float
    complete: bool

    def faults(self) -> list[str]:
        """What came out otherwise than it should have."""
        found = [] if self.complete and self.tests else ["the run did not come to its end"]
        rows = [row for row in known("difference") if row.holds_for(self.call) and self.call.transport != "stock"]
        for test, outcome in self.tests.items():
            reasons = [row.reason for row in rows if row.names(test)]
            if outcome == "failed" and not reasons:
                found.append(f"{test} failed")
            if outcome == "passed" and reasons:
                found.append(f"{test} passed, but differences.toml says that it fails: {reasons[0]}")
        if not self.call.share:
            named = (name for row in rows for name in row.tests if name.partition("::")[0] in self.call.files)
            found += [f"{name} did not run" for name in named if not any(t.startswith(name) for t in self.tests)]
        return found

    def __str__(self) -> str:
        count = Counter(self.tests.values())
        figures = ", ".join(f"{count[outcome]} {outcome}" for outcome in sorted(count))
        return f"{self.call.transport} {self.call.pool}: {figures} in {self.took_s:.0f} s"


def run(source: Path, server: Any, call: Call) -> Outcome:
    """Run these files or tests against a server that is theirs alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pytest", *CALL.split(), *SETTINGS.split(), f"--rootdir={source}"]
        command += [f"t/integration/{test}" for test in call.files]
        environment = _environment(source, server, call, folder)
        began_s = time.monotonic()
        with (folder / "output").open("w") as output:
            process = subprocess.Popen(
                command, cwd=source, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code: int | None = process.wait(call.limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its worker, if that is left
                process.wait()
        took_s, outcomes, log = time.monotonic() - began_s, folder / "outcomes", folder / "worker.log"
        said = (folder / "output").read_text()
        said += f"\nthe worker: {log.read_text()[-5000:]}" if log.exists() else ""
        tests = json.loads(outcomes.read_text()) if outcomes.exists() else {}
        return Outcome(call, tests, said, took_s, code in (0, 1))


def _environment(source: Path, server: Any, call: Call, folder: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **given,
        "SUITE_TRANSPORT": call.transport,
        "SUITE_POOL": call.pool,
        "SUITE_SHARE": call.share,
        "SUITE_WITHOUT": "\n".join(name for row in known("left_out") if row.holds_for(call) for name in row.tests),
        "SUITE_OUTCOMES": str(folder / "outcomes"),
        "SUITE_WORKER_LOG": str(folder / "worker.log"),
        "TEST_BROKER": server.url,
        "TEST_BACKEND": server.url,
        "WORKER_LOGLEVEL": "INFO",  # as in Celery's own tox.ini
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(server.port),
        "PYTHONPATH": os.pathsep.join((str(HERE / "plugin"), str(source), str(ROOT))),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), given["PATH"])),  # for those that call `celery`
    }
