"""The pytest plugin of a chaos run (taskchaos_pytest brings it in): fixtures for suites, and honest outcomes."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taskchaos.harness.pytest.keys import COUNTS_AS, NOTE, SEED, is_case, wants_case

if TYPE_CHECKING:
    from taskchaos.harness.pytest.chaos import Chaos
    from taskchaos.harness.pytest.record import SessionRecord
    from taskchaos.harness.run.folder import RunOptions

_WORKER_INPUT = "taskchaos"
_options_key = pytest.StashKey["RunOptions"]()
_record_key = pytest.StashKey["SessionRecord"]()
_chaos_key = pytest.StashKey["Chaos"]()


def pytest_configure(config: pytest.Config) -> None:
    """On a test worker, make sure that it dies with its controller."""
    config.pluginmanager.register(_Reports(config), "taskchaos_reports")
    shared = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    if shared is not None:
        from taskchaos.harness import codec
        from taskchaos.harness.pytest.keys import FOR_TEST_WORKERS
        from taskchaos.harness.run.folder import RunOptions
        from taskchaos.harness.run.notes import note_call
        from taskchaos.harness.stack.child_process import die_with_parent
        from taskchaos.harness.subject_calls import watch_calls

        if os.environ.get("PYTHONSAFEPATH") == FOR_TEST_WORKERS:
            del os.environ["PYTHONSAFEPATH"]
        die_with_parent()
        options = config.stash[_options_key] = codec.decode(RunOptions, json.loads(shared))
        watch_calls(partial(note_call, options.folder, str(config.workerinput["workerid"])))  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Under `taskchaos run` the event stream is what a person sees; pytest's own output goes to a file."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.getoption("--chaos-quiet") and reporter is not None and not hasattr(config, "workerinput"):
        from _pytest.config import create_terminal_writer

        log = options_of(config).folder / "logs" / "pytest.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = log.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")
        reporter._tw = create_terminal_writer(config, sink)
        if record := _record(config):
            record.listen()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """From here on there may be something to heal and to report: a signal is the user's wish to end."""
    if _folder(session.config) and (record := _record(session.config)):
        record.listen()
    return (yield)


def options_of(config: pytest.Config) -> RunOptions:
    """The run's options, made once from the command line; a pytest usage error if they cannot be used."""
    if _options_key not in config.stash:
        from taskchaos.harness.errors import UsageError
        from taskchaos.harness.run.choices import options_from

        try:
            config.stash[_options_key] = options_from(config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_options_key]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a test worker (xdist) the options of the controller."""
    from taskchaos.harness import codec

    node.workerinput[_WORKER_INPUT] = json.dumps(codec.encode(options_of(node.config)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One case per subject for every test that asks for `chaos`; one per seed as well, if it asks for `chaos_seed`."""
    if wants_case(metafunc):
        from taskchaos.harness.pytest.selection import subject_parameters

        options = options_of(metafunc.config)
        metafunc.parametrize("chaos_subject", subject_parameters(options), scope="session")
        if SEED in metafunc.fixturenames:
            metafunc.parametrize(SEED, options.seeds)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Check what was collected; leave out what is too deep for the profile; long cases first, those alone last.

    Where a file could not be collected nothing runs: pytest alone would see to that, xdist would run the rest.
    """
    if not any(item.get_closest_marker("chaos") or is_case(item) for item in items):
        yield
        return
    from taskchaos.harness.errors import UsageError
    from taskchaos.harness.pytest.selection import arrange, check_files, check_subjects

    whole = list(items)
    yield
    options, on_worker = options_of(config), hasattr(config, "workerinput")
    if on_worker and session.testsfailed and not config.option.continue_on_collection_errors:
        items.clear()
        return
    try:
        check_files(config, whole)
        check_subjects(config, options, whole)
        arrange(config, options, items)
    except UsageError as error:
        if not on_worker and not config.getoption("--chaos-quiet"):
            raise pytest.UsageError(str(error)) from error
        from taskchaos.harness.pytest.selection import refuse

        refuse(config, options, str(error))
        items.clear()


def pytest_collection_finish() -> None:
    """What is imported and collected stays: no collection of garbage, of which pytest's end makes five, looks at it."""
    gc.freeze()


@pytest.fixture
def chaos_subject(request: pytest.FixtureRequest) -> str:
    """The spec of the subject under test: one test for each that `--chaos-subject` names. Not to be overridden."""
    return str(request.param)


@pytest.fixture
def chaos(request: pytest.FixtureRequest, chaos_subject: str) -> Chaos:
    """Runs the case of this test: `chaos(workload, schedule, ...)` judges it and raises unless it is as expected."""
    from taskchaos.harness.pytest.chaos import Chaos

    made = Chaos(options_of(request.config), request.node, chaos_subject)
    request.node.stash[_chaos_key] = made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that passes without having run its case has not passed."""
    __tracebackhide__ = True
    done = yield
    if is_case(pyfuncitem):
        from taskchaos.harness.pytest.record import never_called

        never_called(pyfuncitem.stash[_chaos_key])
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On the test worker: note the case on its reports, and what a failure means."""
    if call.excinfo is not None and is_case(item):
        from taskchaos.harness.pytest.failure import end_at_the_user

        end_at_the_user(call.excinfo.value)
    report = yield
    if _options_key in item.config.stash:
        from taskchaos.harness.pytest.record import mark

        mark(report, item, item.stash.get(_chaos_key, None), call.excinfo.value if call.excinfo else None)
    return report


def _record(config: pytest.Config) -> SessionRecord | None:
    """On the controller of a run of ours: where to put down what only pytest knows."""
    if hasattr(config, "workerinput") or _options_key not in config.stash:
        return None
    if _record_key not in config.stash:
        from taskchaos.harness.pytest.record import SessionRecord

        config.stash[_record_key] = SessionRecord(config.stash[_options_key])
    return config.stash[_record_key]


class _Reports:
    """Hooks that need the session's config and are not given it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot be collected was never planned, and must not be forgotten."""
        if not report.passed and (record := _record(self._config)):
            record.collected(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What failed beside the verdicts, and what was skipped."""
        if (not report.passed or hasattr(report, NOTE)) and (record := _record(self._config)):
            record.logged(report)
        if (record := self._config.stash.get(_record_key, None)) is not None:
            record.go_on()

    def pytest_internalerror(self, excrepr: object) -> None:
        """An error of pytest, a plugin or a conftest.py: never the user's key press."""
        if record := _record(self._config):
            record.internal_error(str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Ctrl-C, or somebody who says so."""
        if record := _record(self._config):
            record.cut_short(excinfo.value)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """An unknown verdict and a control that was caught are outcomes of their own, neither passed nor failed."""
    outcome = dict(getattr(report, "user_properties", ())).get(COUNTS_AS)  # a collection report has none
    if outcome is None or report.when != "call":
        return None
    if outcome == "inconclusive":
        return "inconclusive", "?", "INCONCLUSIVE"
    if outcome == "control":
        return "control caught", "c", "CONTROL CAUGHT"
    return None


def pytest_report_header(config: pytest.Config) -> str:
    """Which run this is, and what of it nobody gave."""
    options = options_of(config)
    told = f"; {', '.join(options.configured)} as pyproject.toml says" if options.configured else ""
    return f"taskchaos: seed {options.seed}, profile {options.profile}, subjects {', '.join(options.subjects)}{told}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Where the report is, why cases are unknown, and what the run comes to when that is not what pytest says."""
    folder = _folder(config)
    if folder is None:
        return
    terminalreporter.write_sep("-", "taskchaos")
    record = config.stash.get(_record_key, None)
    for trouble in record.troubles[:1] if record else ():
        terminalreporter.write_line(f"! {trouble}")
    for report in terminalreporter.stats.get("failed", ()):
        if COUNTS_AS in dict(report.user_properties):
            # Whole, where the short summary is cut at the edge of the terminal.
            terminalreporter.write_line(f"✗ {report.nodeid}: {_said(report).partition(chr(10))[0]}")
    for report in terminalreporter.stats.get("inconclusive", ()):
        terminalreporter.write_line(f"? {_said(report)}")
    terminalreporter.write_line(f"report: {folder / 'report.html'}")


def _said(report: pytest.TestReport) -> str:
    """What an exception says, without its name."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longreprtext).partition(": ")[2]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """On the controller: close the run if any case ran, and never say that it passed when it did not."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    record = _record(config) if _folder(config) else None
    if record is None:
        return
    result = record.close(int(exitstatus), write=not config.getoption("--chaos-quiet"))
    failed = bool(record.troubles) or result is None or result.exit_code != 0
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not failed:
        session.exitstatus = pytest.ExitCode.OK  # a shard that no case fell to
    elif session.exitstatus == pytest.ExitCode.OK and failed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _folder(config: pytest.Config) -> Path | None:
    """The run folder, if this is a controller and a run of ours has begun, or had to under `taskchaos run`."""
    if _options_key not in config.stash or hasattr(config, "workerinput"):
        return None
    folder = config.stash[_options_key].folder
    return folder if config.getoption("--chaos-quiet") or (folder / "plan.json").is_file() else None
