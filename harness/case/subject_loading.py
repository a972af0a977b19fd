"""How a subject is named, found, loaded and checked before it is used."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskchaos.faults.bounds import Text, shown
from taskchaos.harness.case.naming import meant
from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.contract import Contract
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.subject import Commands, Settings, Subject
from taskchaos.harness.subject_calls import SubjectFault, call, describe, in_hand

if TYPE_CHECKING:
    from celery import Celery

#: No claimed wait may be as long: a year.
FOREVER_S = 365 * 86400.0
#: Stands in folders, in ids of tests and in tables.
NAME = Text("a text of 1 to 60 characters on one line, without / or \\", most=60, like=r"[^/\\]+")


def resolve(spec: str) -> Subject:
    """The subject a name, `package.module:Name` or `file.py:Name` stands for, instantiated.

    Raises UsageError, in one line that says what to do, if it cannot be found, imported, made or used.
    """
    target = spec_of(spec)
    place, _, attribute = target.rpartition(":")
    if not place:
        raise UsageError(f"no subject {shown(spec)}: {meant(spec)}")
    with in_hand(f"subject {spec!r}: importing {place}"):
        if place.endswith(".py"):
            module = _import_file(Path(place))
        else:
            module = _import_module(place, spec, installed=target != spec)
    found = getattr(module, attribute, None)
    if found is None:
        raise UsageError(f"subject {spec!r}: {place} has no {attribute!r}")
    try:
        with in_hand(f"subject {spec!r}: {attribute}()"):
            subject = found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:
        raise UsageError(f"subject {spec!r}: {attribute}() raised {describe(error)}") from error
    problems = conformance(subject)
    if problems:
        raise UsageError(f"subject {spec!r}: " + "; ".join(problems))
    return subject  # type: ignore[no-any-return]


def source_of(spec: str) -> tuple[Path, str] | None:
    """The file of a subject that has been resolved, and what it is called in there; None for one that ships."""
    place, _, attribute = spec_of(spec).rpartition(":")
    if place.endswith(".py"):
        return Path(place), attribute
    file = getattr(sys.modules.get(place), "__file__", None)
    if place.partition(".")[0] == "taskchaos" or not isinstance(file, str) or not file.endswith(".py"):
        return None
    return Path(file), attribute


@cache
def name_for(spec: str) -> str:
    """The name of the subject that a spec stands for. Found out once: a collection asks for each of its tests."""
    return resolve(spec).name


@cache
def place_of(spec: str) -> str:
    """The one scenario (`suite.scenario`) that the subject a spec stands for is made for; "": it runs everywhere."""
    return str(getattr(resolve(spec), "only_in", ""))


def absolute_spec(spec: str) -> str:
    """The spec with a file path made absolute, so that a process with another working directory finds it."""
    place, _, attribute = spec.rpartition(":")
    return f"{Path(place).resolve()}:{attribute}" if place.endswith(".py") else spec


def _import_module(name: str, spec: str, *, installed: bool) -> Any:
    """Import it; what is not installed, as a program in the working directory would.

    Nothing else must be found there: a project may have a celery.py or a requests.py of its own.
    """
    for theirs in ("celery.app.base", "redis"):  # whatever the subject is, it will import these
        importlib.import_module(theirs)
    here = str(Path.cwd())
    added = not installed and here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"subject {spec!r}: importing {name} raised {describe(error)}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
            sys.path.append(here)


def _import_file(path: Path) -> Any:
    if not os.path.isfile(path):  # also where that may not be known
        raise UsageError(f"subject file {path} does not exist")
    name = f"taskchaos_subject_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert module_spec is not None and module_spec.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"subject file {path}: importing it raised {describe(error)}") from error
    return module


def conformance(subject: Any) -> tuple[str, ...]:
    """What is wrong with an object as a subject; empty when it can be used. Starts nothing."""
    problems: list[str] = []
    verbs = ("install", "register", "submit", "pending", "dead_letters", "leftovers", "expectation")
    missing = [v for v in verbs if not callable(getattr(subject, v, None))]
    if missing:
        problems.append(
            f"lacks {', '.join(m + '()' for m in missing)} (taskchaos.harness.subject.CelerySubject has it)"
        )
    name = getattr(subject, "name", None)
    if not isinstance(name, str):
        problems.append("lacks a `name` (text)")
    elif not NAME.fits(name):
        problems.append(f"its `name` has to be {NAME}, not {shown(name)}")
    if not isinstance(getattr(subject, "contract", None), Contract):
        problems.append("lacks a `contract` (taskchaos.harness.contract.Contract)")
    elif not subject.contract.claims:
        problems.append("claims nothing, so nothing it does could fail: claim Claim.NO_LOSS at least")
    longest_wait_s = getattr(subject, "longest_wait_s", None)
    if not isinstance(longest_wait_s, (int, float)) or isinstance(longest_wait_s, bool):
        problems.append("lacks `longest_wait_s` (seconds)")
    elif not 0 <= longest_wait_s < FOREVER_S:
        problems.append(f"`longest_wait_s` is {shown(longest_wait_s)}: it has to be a number of seconds from 0 on")
    expectations = getattr(subject, "expectations", {})
    if not isinstance(expectations, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Expectation) for key, value in expectations.items()
    ):
        problems.append(
            f"its `expectations` have to be a dict of Expectation by suite or suite.scenario, not {shown(expectations)}"
        )
    if not isinstance(getattr(subject, "only_in", ""), str):
        problems.append(f"its `only_in` has to be a text, suite.scenario, not {shown(subject.only_in)}")
    if not isinstance(getattr(subject, "commands", None), Commands):
        problems.append("lacks `commands` (taskchaos.harness.subject.Commands)")
    return tuple(problems)


def dry_run(subject: Subject, expired: Callable[[str], object] | None = None) -> tuple[str, ...]:
    """Install and register the subject on an application that connects to nothing; what goes wrong, in words.

    expired: called from another thread when its code does not return.
    """
    from celery import Celery, _state  # late, as for all who only name subjects

    shared = set(_state._on_app_finalizers)
    app = Celery(
        "taskchaos-check", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0", set_as_current=False
    )
    try:
        return _registration_problems(subject, app, expired)
    finally:
        # Celery hands tasks of one application to every later one; a check must leave nothing behind.
        _state._on_app_finalizers.intersection_update(shared)


def _registration_problems(subject: Subject, app: Celery, expired: Callable[[str], object] | None) -> tuple[str, ...]:
    def register() -> Any:
        task = subject.register(app, lambda payload, fence=None: payload["op"])
        app.finalize()
        return task

    try:
        call(subject, "install", lambda: subject.install(app, Settings()), expired=expired)
        task = call(subject, "register", register, expired=expired)
    except SubjectFault as fault:
        return (str(fault),)
    if not callable(getattr(task, "apply_async", None)):
        return ("register() has to return a Celery task (it has no apply_async)",)
    if getattr(task, "name", None) not in app.tasks:
        return ("register() returned a task that the application does not know",)
    return ()
