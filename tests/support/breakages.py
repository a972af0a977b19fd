"""What must not pass: subjects, tests and whole projects, and what every front end has to say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from honesty_support import Front

#: A small case: a load, a fault in its middle, a drain.
SUITE = """
import pytest
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

LOAD = Workload(rate_tps=20, baseline_s=0.3, fault_s=0.7, healed_s=0.2)
SLOW = Schedule.of(PlannedFault("latency", "worker-1", 0.1, 0.5, {"round_trip_ms": 20}))


def test_small(chaos):
    chaos(LOAD, SLOW, slo=Slo(target_tps=None))
"""

HEAD = """
import os
import sys
import time
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.subject import CelerySubject, Pending, Refused
from taskchaos.harness.workload import operation_number


class Subject(CelerySubject):
    name = "@NAME@"
    contract = Contract(frozenset({Claim.NO_LOSS}))
"""


def subject(code: str = "", below: str = "") -> str:
    """A subject with these further members, and lines below its class."""
    return HEAD + "".join(f"    {line}\n" if line else "\n" for line in code.strip("\n").splitlines()) + below


def after_four(end: str) -> str:
    """A subject whose first four submits are sent, and whose others come to something else."""
    return subject(
        f"def submit(self, task, operation):\n    if operation.number >= 4:\n        {end}\n"
        "    super().submit(task, operation)\n"
    )


class Comes(StrEnum):
    """What a case has to come to."""

    FAIL = "fail"
    UNKNOWN = "unknown"
    SUBJECT = "subject"  # no verdict, and it is the subject's doing
    SUITE = "suite"  # likewise the test's
    STACK = "stack"  # likewise the harness's


@dataclass(frozen=True)
class BadSubject:
    """says: what a user has to be able to read of its case, in the reports."""

    name: str
    comes: Comes
    says: str
    source: str

    def write(self, folder: Path) -> str:
        """Put it into a folder; how it is called there."""
        (folder / f"{self.name}.py").write_text(self.source.replace("@NAME@", self.name))
        return f"{self.name}.py:Subject"


@dataclass(frozen=True)
class BadTest:
    """A test beside others. comes: what its case comes to; None: it has no case, and says `assertion` or not."""

    name: str
    comes: Comes | None
    says: str
    source: str
    assertion: bool = False


@dataclass(frozen=True)
class BadProject:
    """What ends or spoils a run as a whole: `files` beside a sound suite and a sound subject.

    code: what `taskchaos` exits with; other: where a front end comes to another code, or has another word for it.
    """

    name: str
    code: int
    says: str
    files: Mapping[str, str]
    other: Mapping[Front, tuple[int, str]] = field(default_factory=dict)
    #: pytest alone cannot know: the process that it is ended in.
    not_by: frozenset[Front] = frozenset()


#: What a subject does to the harness, or to the load: one run has all of them, since none may disturb the others.
SUBJECTS = (
    BadSubject(
        "leads_past_the_links",
        Comes.SUBJECT,
        "leads past the links: broker_url is redis://127.0.0.1:1/0",
        subject(
            """
def install(self, app, settings):
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    app.conf.result_backend = "redis://127.0.0.1:1/0"
"""
        ),
    ),
    BadSubject("producer_ends_after_four", Comes.UNKNOWN, "never offered", after_four("os._exit(0)")),
    BadSubject("all_but_four_refused", Comes.UNKNOWN, "Refused: full", after_four("raise Refused('full')")),
    BadSubject("all_but_four_raise", Comes.UNKNOWN, "OSError: broken", after_four("raise OSError('broken')")),
    BadSubject("submit_hangs_after_four", Comes.UNKNOWN, "submit() had not returned", after_four("time.sleep(600)")),
    BadSubject("submit_ends_its_thread", Comes.UNKNOWN, "SystemExit", after_four("sys.exit(0)")),
    *(
        BadSubject(
            f"{function}_ends_its_process",
            Comes.SUBJECT,
            f"{function}() ended its process, with status 0",
            subject(f"def {function}(self, redis):\n    os._exit(0)\n"),
        )
        for function in ("pending", "dead_letters", "leftovers")
    ),
    *(
        BadSubject(
            f"{function}_raises",
            Comes.SUBJECT,
            f"{function}() raised ZeroDivisionError",
            subject(f"def {function}(self, redis):\n    return 1 // 0\n"),
        )
        for function in ("pending", "dead_letters", "leftovers")
    ),
    *(
        BadSubject(
            f"{function}_returns_nonsense",
            Comes.SUBJECT,
            f"{function}() has to ",
            subject(f"def {function}(self, redis):\n    return [None]\n"),
        )
        for function in ("pending", "dead_letters", "leftovers")
    ),
    BadSubject(
        "pending_exits",
        Comes.SUBJECT,
        "pending() raised SystemExit",
        subject("def pending(self, redis):\n    sys.exit(0)"),
    ),
    BadSubject(
        "pending_hangs",
        Comes.SUBJECT,
        "pending() did not return within 10 s (pending_hangs.py:",
        subject("def pending(self, redis):\n    time.sleep(600)"),
    ),
    BadSubject(
        "install_raises",
        Comes.SUBJECT,
        "install() raised ZeroDivisionError",
        subject("def install(self, app, settings):\n    1 // 0"),
    ),
    BadSubject(
        "install_hangs",
        Comes.SUBJECT,
        "install() did not return within 10 s (install_hangs.py:",
        subject("def install(self, app, settings):\n    time.sleep(600)"),
    ),
    BadSubject(
        "register_ends_its_process",
        Comes.SUBJECT,
        "register() has ended the process, which ended with status 0",
        subject("def register(self, app, body):\n    os._exit(0)"),
    ),
    BadSubject(
        "dead_letter_not_due",
        Comes.FAIL,
        "dead_letter",
        subject(
            """
def register(self, app, body):
    def task(payload):
        if payload["op"] % 4:
            return body(payload)
        from redis import Redis
        Redis.from_url(app.conf.broker_url).sadd("celery-dead", payload["op"])
    return app.task(name="sabotaged.task")(task)

def dead_letters(self, redis):
    return frozenset(int(op) for op in redis.smembers("celery-dead"))
"""
        ),
    ),
    BadSubject(
        "endless_redelivery",
        Comes.FAIL,
        "stuck",
        subject(
            """
longest_wait_s = 0.5

def register(self, app, body):
    def task(self, payload):
        if payload["op"] % 4:
            return body(payload)
        raise self.retry(countdown=0.2, max_retries=None)  # as for a lock that nobody will ever release
    return app.task(name="sabotaged.task", bind=True)(task)
"""
        ),
    ),
)

ONE_OF_EACH_KIND = frozenset(
    {
        "leads_past_the_links",
        "producer_ends_after_four",
        "submit_hangs_after_four",
        "pending_ends_its_process",
        "leftovers_raises",
        "install_raises",
        "register_ends_its_process",
        "dead_letter_not_due",
        "endless_redelivery",
    }
)

#: Subjects whose module changes the harness itself, in whichever process loads it: a run of their own for each.
CHANGES = (
    BadSubject(
        "another_redis_all_the_same",
        Comes.UNKNOWN,
        "no connection through its link",
        subject(
            below="""
import redis.connection
_connect = redis.connection.Connection._connect
def _elsewhere(self):
    self.host, self.port = "127.0.0.1", int(os.environ["TASKCHAOS_TEST_OTHER_REDIS"])
    return _connect(self)
def _install(self, app, settings):
    redis.connection.Connection._connect = _elsewhere
Subject.install = _install
"""
        ),
    ),
    BadSubject(
        "fault_does_nothing",
        Comes.UNKNOWN,
        "no evidence",
        subject(below="from taskchaos.faults import network\nnetwork.LinkFault.inject = lambda self: None\n"),
    ),
    BadSubject(
        "fault_ends_early",
        Comes.UNKNOWN,
        "vanished",
        subject(
            below="""
import threading
import taskchaos.faults.network
_inject = taskchaos.faults.network.LinkFault.inject
def _briefly(self):
    _inject(self)
    threading.Timer(0.2, taskchaos.faults.network.LinkFault.heal, (self,)).start()
taskchaos.faults.network.LinkFault.inject = _briefly
"""
        ),
    ),
    BadSubject(
        "fault_is_never_healed",
        Comes.STACK,
        "not healed",
        subject(
            below="from taskchaos.faults.network import LinkFault\n"
            "LinkFault.heal_deadline_s, LinkFault.heal = 0.5, lambda self: None\n"
        ),
    ),
    BadSubject(
        "faults_never_start",
        Comes.UNKNOWN,
        "never injected",
        subject(below="from taskchaos.faults import nemesis\nnemesis.Nemesis.start = lambda self, at: None\n"),
    ),
    BadSubject(
        "ledger_stays_empty",
        Comes.UNKNOWN,
        "evidence",
        subject(
            below="from taskchaos.harness.record.ledger import Ledger\nLedger._write = lambda self, *a, **k: None\n"
        ),
    ),
)

#: Tests that stand beside sound ones in one module.
TESTS = (
    BadTest(
        "asserts",
        Comes.FAIL,
        "AssertionError: too slow",
        "def test_asserts(chaos):\n    chaos(LOAD, SLOW, slo=Slo(target_tps=None))\n    assert False, 'too slow'\n",
    ),
    BadTest("plain", None, "AssertionError: plain", "def test_plain():\n    assert False, 'plain'\n", assertion=True),
    BadTest("plain_breaks", None, "NameError", "def test_plain_breaks():\n    nosuchname\n"),
    BadTest("forgot", Comes.SUITE, "chaos was never called", "def test_forgot(chaos):\n    pass\n"),
    BadTest(
        "twice",
        Comes.SUITE,
        "chaos was called twice",
        "def test_twice(chaos):\n    chaos(LOAD, SLOW, slo=Slo())\n    chaos(LOAD, SLOW, slo=Slo())\n",
    ),
    BadTest(
        "run_anew",
        Comes.SUITE,
        "was run already in this run",
        "def test_run_anew(chaos, request, chaos_subject):\n    from taskchaos.harness.pytest.chaos import Chaos\n"
        "    chaos(LOAD, SLOW, slo=Slo(target_tps=None))\n"
        "    Chaos(chaos._options, request.node, chaos_subject)(LOAD, SLOW, slo=Slo(target_tps=None))\n",
    ),
    BadTest("breaks", Comes.SUITE, "ZeroDivisionError", "def test_breaks(chaos):\n    1 / 0\n"),
    BadTest(
        "teardown",
        Comes.SUITE,
        "RuntimeError: at teardown",
        "@pytest.fixture\ndef thing():\n    yield\n    raise RuntimeError('at teardown')\n\n\n"
        "def test_teardown(chaos, thing):\n    chaos(LOAD, SLOW, slo=Slo(target_tps=None))\n",
    ),
    BadTest(
        "setup",
        Comes.SUITE,
        "RuntimeError: at setup",
        "@pytest.fixture\ndef early():\n    raise RuntimeError('at setup')\n\n\n"
        "def test_setup(chaos, early):\n    chaos(LOAD, SLOW, slo=Slo(target_tps=None))\n",
    ),
    BadTest(
        "no_load",
        Comes.SUITE,
        "rate_tps has to be a whole number from 1",
        "def test_no_load(chaos):\n    chaos(Workload(rate_tps=0))\n",
    ),
    BadTest(
        "nobody",
        Comes.SUITE,
        "no target 'worker-9'",
        "def test_nobody(chaos):\n    chaos(LOAD, Schedule.of(PlannedFault('reset', 'worker-9', 0.0, 0.1)))\n",
    ),
    BadTest(
        "swallowed",
        Comes.UNKNOWN,
        "no NOSUCHCOMMAND came from worker-1",
        "def test_swallowed(chaos):\n"
        "    fault = PlannedFault('reply_lost', 'worker-1', 0.0, 0.5, {'command': 'NOSUCHCOMMAND'})\n"
        "    with pytest.raises(Exception):\n        chaos(LOAD, Schedule.of(fault), slo=Slo(target_tps=None))\n",
    ),
)

_WHITEWASH = """import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.outcome = "passed"
    return report
"""
_EXIT = "def test_exit(chaos):\n    pytest.exit('enough')\n"
_ENDS = "def test_ends(chaos):\n    import os\n    os._exit(0)\n"
#: What a test worker beside others is to whoever waits for it.
_CRASH = dict.fromkeys((Front.SIDE_BY_SIDE, Front.SHARDS), (2, "crashed while running"))
#: What ends or spoils the whole run.
PROJECTS = (
    BadProject("import", 4, "No module named 'nosuchmodule'", {"test_broken.py": "import nosuchmodule\n"}),
    BadProject("syntax", 4, "SyntaxError", {"test_broken.py": "def test_(:\n"}),
    BadProject(
        "two_of_one_name",
        4,
        "are both case suite.small-1.sound",
        {
            "test_suite.py": SUITE.replace("def test_small(chaos)", "def test_small(chaos, x)").replace(
                "\n\ndef test", '\n\n@pytest.mark.parametrize("x", [1, "1"])\ndef test'
            )
        },
    ),
    BadProject(
        "misspelt_expectation",
        4,
        "which is no scenario of suite; did you mean suite.small?",
        {
            "subject.py": subject(
                "from taskchaos.harness.record.result import Expectation\nexpectations = {'suite.smal': Expectation()}"
            ).replace("@NAME@", "sound")
        },
    ),
    BadProject(
        "hook_raises",
        3,
        "RuntimeError: in a hook",
        {"conftest.py": "def pytest_collection_finish(session):\n    raise RuntimeError('in a hook')\n"},
    ),
    BadProject(
        "hook_turns_failures_into_passes",
        1,
        "the verdict was pass, but an assertion of the suite failed",
        {"conftest.py": _WHITEWASH, "test_more.py": SUITE + "    assert False, 'after the verdict'\n"},
    ),
    BadProject(
        "module_skips_itself",
        4,
        "holds no test",
        {"test_more.py": "import pytest\npytest.importorskip('nosuchmodule')\n" + SUITE},
    ),
    BadProject("pytest_exit", 2, "enough", {"test_more.py": SUITE + _EXIT}, _CRASH),
    BadProject(
        "test_ends_its_process",
        3,
        "before it was done",
        {"test_more.py": SUITE + _ENDS},
        _CRASH,
        frozenset({Front.PYTEST}),
    ),
    BadProject(
        "module_ends_its_process",
        4,
        "subject.py has ended the process of the run, which ended with status 0",
        {"subject.py": subject(below="os._exit(0)\n").replace("@NAME@", "sound")},
        not_by=frozenset({Front.PYTEST}),
    ),
)
