"""The pytest plugin of taskchaos, as long as nobody asks for it: its options, and a word to whoever wants `chaos`.

`--chaos-run`, or any of its other options, makes a chaos run of a session: the plugin itself is imported then
(taskchaos.harness.pytest.plugin). Nothing else of taskchaos is imported by other people's tests, and no hook is called
while they run.
"""

from __future__ import annotations

import pytest

#: Each of these asks for a chaos run. The same as those of `taskchaos run`, which have no `chaos-` in front.
OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "--chaos-run": ("a chaos run: judge the tests that ask for `chaos`", {"action": "store_true"}),
    "--chaos-subject": ("subject under test: a name, package.module:Name or file.py:Name", {"action": "append"}),
    "--chaos-seed": ("seed of every random choice (default 1)", {"type": int}),
    "--chaos-stack": ("where Redis, proxy and workers run: local (default) or compose", {}),
    "--chaos-proxy": ("embedded or toxiproxy (the real one; the default with --chaos-stack compose)", {}),
    "--chaos-profile": ("quick (default), default or nightly", {}),
    "--chaos-target-tps": ("tasks per second to keep (default: from the profile)", {"type": float}),
    "--chaos-failures": ("percent of the tasks that fail once, in every suite (default 0)", {"type": float}),
    "--chaos-out": ("run folder (default: a new one below .taskchaos/runs)", {}),
    "--chaos-redis-server": ("another Redis or Valkey binary", {}),
    "--chaos-previous": ("the Python of an environment with another release, for deploy.mixed", {}),
    "--chaos-pool": ("Celery pool: prefork (default), threads or solo", {}),
    "--chaos-worker-start": ("zygote (default; fast) or cli (celery worker)", {}),
    "--chaos-shard": ("i/n: only the i-th of n parts of what is selected", {}),
    "--chaos-replay": ("a case folder whose plan is run again", {}),
    "--chaos-quiet": ("keep pytest's own output in logs/pytest.log", {"action": "store_true"}),
}

MARKERS = (
    "chaos(cost_s): a chaos case; cost_s orders long ones first",
    "chaos_alone: measures throughput, so no other case may run at the same time",
    "chaos_depth(name): the shallowest profile in which this scenario runs",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of a chaos run."""
    group = parser.getgroup("taskchaos", "chaos suites for Celery on Redis")
    for name, (text, settings) in OPTIONS.items():
        group.addoption(name, help=text, **settings)


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, which stand beside ordinary tests; bring in the plugin itself when it is asked for."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    if not any(config.getoption(name) is not None and config.getoption(name) is not False for name in OPTIONS):
        return
    from taskchaos.harness.pytest import plugin as pytest_plugin

    config.pluginmanager.register(pytest_plugin, "taskchaos_harness")


@pytest.fixture
def chaos() -> None:
    """Runs and judges a chaos case, in a chaos run."""
    _refuse()


@pytest.fixture
def chaos_subject() -> None:
    """The subject under test, in a chaos run."""
    _refuse()


def _refuse() -> None:
    raise pytest.UsageError("this test is a chaos case: run it with `pytest --chaos-run`, or with `taskchaos run`")
