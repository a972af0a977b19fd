"""The pytest plugin: options, the fixtures a suite needs, and honest outcomes. Imports the harness only when used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.profile import Profile
    from harness.run import RunOptions
    from harness.suite import Chaos

OUTCOME = "taskchaos_outcome"
_WORKER_INPUT = "taskchaos"
_options_key = pytest.StashKey["RunOptions"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of a chaos run; the same names that `taskchaos run` has."""
    group = parser.getgroup("taskchaos", "chaos suites for Celery on Redis")
    group.addoption(
        "--subject", action="append", help="subject under test: a name, package.module:Name or file.py:Name"
    )
    group.addoption("--chaos-seed", type=int, default=1, help="seed of every random choice")
    group.addoption("--stack", default="local", help="where Redis, proxy and workers run")
    group.addoption("--proxy", help="embedded or toxiproxy (the real one; the default with --stack compose)")
    group.addoption("--profile", default="quick", help="quick, default or nightly")
    group.addoption("--target-tps", type=float, help="tasks per second to keep (default: from the profile)")
    group.addoption("--chaos-out", help="run folder (default: a new one below .taskchaos/runs)")
    group.addoption("--redis-server", help="another Redis or Valkey binary")
    group.addoption("--pool", default="prefork", help="Celery pool: prefork, threads or solo")
    group.addoption("--worker-start", default="zygote", help="zygote (fast) or cli (celery worker)")
    group.addoption("--chaos-shard", help="i/n: only the i-th of n parts of what is selected")
    group.addoption("--chaos-replay", help="a case folder whose plan is run again")
    group.addoption("--chaos-quiet", action="store_true", help="keep pytest's own output in logs/pytest.log")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; on a test worker, make sure that it dies with its controller."""
    for line in (
        "chaos(cost_s): a chaos case; cost_s orders long ones first",
        "alone: measures throughput, so no other case may run at the same time",
        "depth(name): the shallowest profile in which this scenario runs",
    ):
        config.addinivalue_line("markers", line)
    shared = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    if shared is not None:
        from harness import codec
        from harness.run import RunOptions
        from harness.stack.owned import die_with_parent

        die_with_parent()
        config.stash[_options_key] = codec.decode(RunOptions, json.loads(shared))


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Under `taskchaos run` the event stream is what a person sees; pytest's own output goes to a file."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.getoption("--chaos-quiet") and reporter is not None and not hasattr(config, "workerinput"):
        from _pytest.config import create_terminal_writer

        sink = (options_of(config).folder / "logs" / "pytest.log").open("w", buffering=1)
        reporter._tw = create_terminal_writer(config, sink)


def options_of(config: pytest.Config) -> RunOptions:
    """The run's options, made once from the command line; a pytest usage error if they cannot be used."""
    if _options_key not in config.stash:
        from harness.errors import UsageError
        from harness.suite import options_from

        try:
            config.stash[_options_key] = options_from(config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_options_key]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a test worker (xdist) the options of the controller."""
    from harness import codec

    node.workerinput[_WORKER_INPUT] = json.dumps(codec.encode(options_of(node.config)))


def is_case(item: pytest.Item) -> bool:
    """Whether a test runs a case."""
    return isinstance(item, pytest.Function) and _wants_case(item)


def _wants_case(test: pytest.Metafunc | pytest.Function) -> bool:
    return {"chaos", "subject"} <= set(test.fixturenames)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One case per subject for every test that asks for `chaos`."""
    if _wants_case(metafunc):
        from harness.suite import subject_parameters

        metafunc.parametrize("subject", subject_parameters(options_of(metafunc.config)), scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is too deep for the profile; long cases first, those that want to be alone last."""
    if any(item.get_closest_marker("chaos") or is_case(item) for item in items):
        from harness.suite import arrange

        arrange(config, options_of(config), items)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    """The spec of the subject under test. Override it in a conftest.py to test one of your own."""
    return str(request.param)


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> Profile:
    """The scale of the run."""
    return options_of(request.config).scale


@pytest.fixture
def chaos(request: pytest.FixtureRequest, subject: str) -> Chaos:
    """Runs the case of this test: `chaos(workload, schedule, ...)` judges it and raises unless it is as expected."""
    from harness.suite import Chaos

    return Chaos(options_of(request.config), request.node, subject)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """An unknown verdict and a control that was caught are outcomes of their own, neither passed nor failed."""
    outcome = dict(getattr(report, "user_properties", ())).get(OUTCOME)  # a collection report has none
    if outcome is None or report.when != "call":
        return None
    if outcome == "inconclusive":
        return "inconclusive", "?", "INCONCLUSIVE"
    if outcome == "control":
        return "control caught", "c", "CONTROL CAUGHT"
    return None


def pytest_report_header(config: pytest.Config) -> str | None:
    """Which run this is, when suites were asked for."""
    if not config.getoption("--subject") and not any("suites" in str(a) for a in config.args):
        return None
    options = options_of(config)
    return f"taskchaos: seed {options.seed}, profile {options.profile}, subjects {', '.join(options.subjects)}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Where the report is."""
    folder = _folder(config)
    if folder is not None:
        terminalreporter.write_sep("-", "taskchaos")
        terminalreporter.write_line(f"report: {folder / 'report.html'}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On the controller: write the run's files if any case ran."""
    if hasattr(session.config, "workerinput"):
        return
    folder = _folder(session.config)
    if folder is not None:
        from harness.suite import finish

        finish(folder, options_of(session.config))
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK  # a shard that no case fell to


def _folder(config: pytest.Config) -> Path | None:
    """The run folder, if this is a controller and something ran, or nothing had to because other shards run it."""
    if _options_key not in config.stash:
        return None
    options = config.stash[_options_key]
    if any(options.folder.glob("cases/*/plan.json")):
        return options.folder
    if options.shard:
        from harness.run import others_run_all

        return options.folder if others_run_all(options.folder) else None
    return None
