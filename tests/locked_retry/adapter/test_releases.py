"""Which releases of Celery and kombu are taken, and whether these here have what locked_retry uses of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import billiard
import celery
import pytest
from celery import Celery
from celery.worker.request import Request
from click.testing import CliRunner
from kombu.transport import redis as kombu_redis
from kombu.utils.eventio import READ
from private_names import NAMES, Name

import locked_retry
from locked_retry import LockedTask, UnknownRelease
from locked_retry.adapter import releases
from locked_retry.adapter.poller import Poller
from locked_retry.adapter.request import LockedRequest
from locked_retry.adapter.transport import Channel, QoS, SentinelChannel, Transport
from locked_retry.operator.commands import main

PACKAGE = Path(locked_retry.__file__).parent
VERSIONS = {
    "celery": releases.CELERY,
    "kombu": releases.KOMBU,
    "redis": releases.REDIS,
    "billiard": releases.release_of(billiard.__version__),
}


@pytest.mark.parametrize("version", ["5.5.0", "5.5.3", "5.6.3", "5.7.0", "5.7.1", "5.7.0rc1"])
def test_a_supported_release_is_taken(version: str) -> None:
    assert releases.check({"Celery": version, "kombu": version}) == ""


@pytest.mark.parametrize("version", ["5.4.0", "5.8.0", "5.8.0b1", "5.10.0", "6.0", "4.4.7", "unknown"])
@pytest.mark.parametrize("name", ["Celery", "kombu"])
def test_an_unknown_release_is_refused_in_one_line(name: str, version: str) -> None:
    with pytest.raises(UnknownRelease) as refused:
        releases.check({"Celery": "5.7.0", "kombu": "5.7.0", name: version})
    said = f"{name} 5.5 to 5.7, and this is {name} {version}: install one of these, or set LOCKED_RETRY_ANY_RELEASE=1"
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_install_refuses_an_unknown_release_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(celery, "__version__", "5.8.0")
    app = Celery("tested", broker="redis://", set_as_current=False)
    with pytest.raises(UnknownRelease):
        locked_retry.install(app)
    assert not app.conf.broker_transport_options
    monkeypatch.setenv(releases.ANYWAY, "1")
    with caplog.at_level(logging.WARNING, "locked_retry"):
        locked_retry.install(app)
    assert "locked_retry" in app.conf.broker_transport_options and "this is Celery 5.8.0" in caplog.text


def test_the_commands_refuse_an_unknown_release_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "__version__", "5.8.0")
    done = CliRunner().invoke(main, ["--broker", "redis://127.0.0.1:1", "stats"])
    assert done.exit_code == 1 and done.output.startswith("Error: locked_retry works with Celery")
    assert done.output.count("\n") == 1


def test_a_worker_does_not_start_on_an_unknown_release(tmp_path: Path) -> None:
    source = "import celery, locked_retry\ncelery.__version__ = '5.8.0'\napp = celery.Celery(broker='redis://')\n"
    (tmp_path / "unknown.py").write_text(f"{source}locked_retry.install(app)\n")
    command = [sys.executable, "-m", "celery", "-A", "unknown", "worker"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "and this is Celery 5.8.0: install one of these" in done.stdout + done.stderr


def test_an_event_of_an_ended_connection_is_ignored() -> None:
    """Its connection has ended meanwhile. kombu fails at it, before 5.7."""
    poller = Poller()
    assert poller.on_readable(99) is None
    assert poller.handle_event(99, READ) is None


# --- what is used of them


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def _has(one: Name) -> bool:
    owner = _found(one.owner)
    if hasattr(owner, one.name):
        return True
    classes = [base for base in inspect.getmro(owner) if base is not object] if inspect.isclass(owner) else []
    code = "".join(inspect.getsource(each) for each in [*classes, *map(_found, one.set_in.split())])
    return re.search(rf"\b(self|c|proc)\.{one.name}\b|'{one.name}'", code) is not None


def _expected(one: Name) -> bool:
    return VERSIONS.get(one.owner.partition(".")[0], one.since) >= one.since


@pytest.mark.parametrize("one", [n for n in NAMES if _expected(n)], ids=lambda one: f"{one.owner}.{one.name}")
def test_every_name_that_is_used_exists(one: Name) -> None:
    assert _has(one), f"{one.owner} has no {one.name} any more: {one.why}"


def test_a_name_of_a_newer_release_does_not_exist_here() -> None:
    assert [one for one in NAMES if not _expected(one) and _has(one)] == []


def _private_names() -> tuple[set[str], set[str]]:
    """Those that the package uses, and those that it defines."""
    used, defined = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    defined.add(name)
                case (
                    ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self"))
                    | ast.Name(id=name, ctx=ast.Store())
                ):
                    defined.add(name)
                case (
                    ast.Attribute(attr=name)
                    | ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_])
                ):
                    if name.startswith("_"):
                        used.add(name)
    return used, defined


def test_no_private_name_is_used_that_is_not_in_the_table() -> None:
    used, defined = _private_names()
    ours = {name for name in used - defined if not (name.startswith("__") and name.endswith("__"))}
    assert ours - {one.name for one in NAMES} == set()


#: Modules that their makers have for themselves; `celery.worker.control.inspect_command` is documented.
INNER = ("billiard", "celery._state", "celery.concurrency", "celery.worker", "kombu.asynchronous", "kombu.transport")


def test_only_the_adapter_uses_private_names() -> None:
    """The wall to Celery: a new release is met in one folder."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name == "adapter":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Attribute(attr=name, value=ast.Name(id="self" | "cls")):
                    continue
                case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__"):
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}")
                case ast.ImportFrom(module=str(module)) if module != "celery.worker.control":
                    if any(f"{module}.".startswith(f"{inner}.") for inner in INNER):
                        wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {module}")
                case _:
                    pass
    assert wrong == []


def _overrides() -> list[tuple[type, type, str]]:
    """Our class, theirs, and the method of theirs that ours replaces or extends."""
    pairs: list[tuple[type, type]] = [
        (Poller, kombu_redis.MultiChannelPoller),
        (Channel, kombu_redis.Channel),
        (SentinelChannel, kombu_redis.SentinelChannel),
        (Transport, kombu_redis.Transport),
        (QoS, kombu_redis.QoS),
        (LockedRequest, Request),
        (LockedTask, celery.Task),
    ]
    return [
        (ours, theirs, name)
        for ours, theirs in pairs
        for name in dir(theirs)
        if str(getattr(getattr(ours, name), "__module__", "")).startswith("locked_retry") and not name.startswith("__")
    ]


@pytest.mark.parametrize(("ours", "theirs", "name"), _overrides(), ids=lambda one: getattr(one, "__name__", str(one)))
def test_what_is_overridden_takes_what_it_is_called_with(ours: type, theirs: type, name: str) -> None:
    """Every parameter of theirs is one of ours, in the same place, or falls into our *args and **kwargs."""
    mine, given = (inspect.signature(getattr(cls, name)).parameters for cls in (ours, theirs))
    kinds = {parameter.kind for parameter in mine.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    unknown = [each for each in given if each not in mine]
    assert takes_any or not unknown, f"{theirs.__name__}.{name} has new parameters: {unknown}"


def test_nothing_of_ours_hides_a_name_of_theirs_by_accident() -> None:
    """A private name that a release adds may be one that we have for something else."""
    table = {one.name for one in NAMES}
    hidden = {f"{theirs.__name__}.{name}" for _, theirs, name in _overrides() if name.startswith("_")}
    assert {one for one in hidden if not one.endswith("__") and one.partition(".")[2] not in table} == set()
