"""Bad input is one clear line and exit code 4; what is there can be listed; nothing is started for either."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest
from cli_support import COMMAND, on_terminal, taskchaos

from taskchaos.harness.fitting import columns_of
from taskchaos.harness.suite_paths import suite_names, suites_folder

SNAPSHOTS = Path(__file__).with_name("snapshots")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--bogus"], "No such option '--bogus'"),
        (
            ["run", "nosuch"],
            f"no suite 'nosuch'; there are {', '.join(suite_names())}, or give a path",
        ),
        (
            ["run", "-s", "nosuch"],
            "no subject 'nosuch': use package.module:Name, file.py:Name, or one of locked_retry",
        ),
        (["run", "partitoin"], "no suite 'partitoin'; did you mean partition?"),
        (["run", "-s", "stock_bset"], "no subject 'stock_bset': did you mean stock_best?"),
        (["run", "-s", "setnx_forver"], "no subject 'setnx_forver': did you mean setnx_forever?"),
        (["run", "-s", "twin.py"], "no subject 'twin.py': name its class as well, one of twin.py:A, twin.py:B"),
        (["run", "-s", "missing.py"], "no subject 'missing.py': subject file missing.py does not exist"),
        (["run", "-s", "lone.py"], "no subject 'lone.py': name its class as well, lone.py:Lone"),
        (["run", "-s", "test_empty.py"], "no subject 'test_empty.py': test_empty.py holds none: a class that derives"),
        (["run", "-s", "STOCK_BEST"], "no subject 'STOCK_BEST': did you mean stock_best?"),
        (["run", "-s", "worker_kill"], "no subject 'worker_kill': it is a suite: taskchaos run worker_kill"),
        (["run", "-s", "worker_kill.tree"], "it is a suite: taskchaos run worker_kill -k tree"),
        (["run", "-s", ""], "no subject '': use package.module:Name, file.py:Name, or one of locked_retry"),
        (["run", "WORKER_KILL"], "no suite 'WORKER_KILL'; did you mean worker_kill?"),
        (["run", "worker_kill.tree"], "no suite 'worker_kill.tree'; did you mean worker_kill -k tree?"),
        (["run", "worker_kill.tree.stock_best"], "did you mean worker_kill -k tree?"),
        (["run", "test_worker_kill.py"], "no suite 'test_worker_kill.py'; did you mean worker_kill?"),
        (["run", "locked_retry"], "no suite 'locked_retry': it is a subject: taskchaos run -s locked_retry"),
        (["run", "stock_best"], "no suite 'stock_best': it is a subject: taskchaos run -s stock_best"),
        (["run", ""], "no suite '': leave it out for all suites"),
        (["run", "x" * 5000], "no suite 'xxx"),
        (["run", "one\ntwo"], r"no suite 'one\ntwo'; there are "),
        (["run", "."], ". holds no suite: they are files test_NAME.py in it, or in a folder of it"),
        (["run", "/"], "/ is no folder of suites, and all that is in it would be looked through"),
        (["run", "one/typo.py"], "no suite 'one/typo.py': there is no such file"),
        (["run", "plain.txt"], "plain.txt is no suite: that is a Python file with tests in it"),
        (["run", "lone.py"], "lone.py holds no test, a function test_NAME(chaos); it has a subject: -s lone.py:Lone"),
        (["run", "test_empty.py"], "test_empty.py holds no test, a function test_NAME(chaos)"),
        (["run", "-s", "no.such.module:X"], "importing no.such.module raised ModuleNotFoundError"),
        (["run", "-s", "missing.py:X"], "missing.py does not exist"),
        (["run", "--redis-server", "/no/such/file"], "--redis-server /no/such/file: no such file; give the path"),
        (["run", "--redis-server", "plain.txt"], "--redis-server plain.txt: not executable"),
        (["run", "--pool", "fibers"], "--pool fibers: choose from prefork, threads, solo"),
        (["run", "--profile", "huge"], "--profile huge: choose from quick, default, nightly"),
        (["run", "--worker-start", "magic"], "--worker-start magic: choose from zygote, cli"),
        (["run", "--stack", "swarm"], "--stack swarm: choose from local, compose"),
        (["run", "--failures", "101"], "--failures 101: has to be from 0 to 100 percent"),
        (["run", "--failures", "nan"], "--failures nan: has to be from 0 to 100 percent"),
        (["run", "--target-tps", "0"], "--target-tps 0: has to be above 0"),
        (["run", "--target-tps", "nan"], "--target-tps nan: has to be above 0"),
        (["run", "--target-tps", "inf"], "--target-tps inf: has to be above 0"),
        (["run", "--target-tps", "1e308"], "--target-tps 1e+308: has to be at most 1,000,000"),
        (["run", "--redis-server", "/bin/true"], "--redis-server /bin/true: no Redis or Valkey server: --version says"),
        (["run", "-k", "tree and ("], "-k tree and (: expected"),
        (
            ["run", "-s", "twin.py:A", "-s", "twin.py:B"],
            "twin.py:B are both called 'twin': give each a name of its own",
        ),
        (["run", "--seed", "abc"], "Invalid value for '--seed'"),
        (["run", "--out", "/proc/none"], "--out /proc/none: "),
        (["run", "--out", ""], "--out '': name a folder, or leave it out"),
        (["run", "--out", " "], "--out ' ': name a folder, or leave it out"),
        (["soak", "--minutes", "1", "--out", ""], "--out '': name a folder, or leave it out"),
        (["run", "test_empty.py", "test_small.py", "-n", "1"], "test_empty.py holds no test"),
        (["run", "test_empty.py", "test_small.py", "-n", "2"], "test_empty.py holds no test"),
        (["run", "-k", "no_such_scenario"], "no case matches: widen -k"),
        (["judge", "."], "holds no run (no plan.json)"),
        (["merge"], "Missing argument 'DIR...'"),
        (["merge", "nowhere"], "nowhere: no such folder"),
        (["merge", "one", "one"], "one is given twice: give each shard once"),
        (["merge", "."], ". holds no run: give run folders of shards, or a folder that contains them"),
        (["replay", "nothing"], "no stored case 'nothing'"),
        (["soak"], "Missing option '--minutes'"),
        (["soak", "--minutes", "0"], "--minutes 0: has to be above 0 and at most 1,440"),
        (["soak", "--minutes", "nan"], "--minutes nan: has to be above 0"),
        (["soak", "--minutes", "1", "-s", "nosuch"], "no subject 'nosuch'"),
        (["shrink", "nothing"], "no stored case 'nothing'"),
        (["shrink", "nothing", "--runs", "1"], "--fails 2: has to be from 1 to the number of --runs, 1"),
        (["evidence"], "Missing argument 'DIR...'"),
        (["evidence", "nowhere"], "nowhere: No such file or directory"),
        (["evidence", "."], ". holds no run: give run folders, or a folder that contains some"),
        (["new-subject", "1a"], "has to be a Python name"),
        (["check-subject", "broken.py:X"], "subject file broken.py: importing it raised ZeroDivisionError"),
        (["no-such-command"], "No such command 'no-such-command'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_4(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "plain.txt").write_text("not a binary")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "twin.py").write_text(
        "from taskchaos.harness.subject import CelerySubject\n"
        "class A(CelerySubject):\n    name = 'twin'\nclass B(CelerySubject):\n    name = 'twin'\n"
    )
    (tmp_path / "lone.py").write_text(
        "from taskchaos.suites.subjects import stock_best as theirs\n"
        "class Other: ...\nclass Lone(theirs.StockBest):\n    name = 'lone'\n"
        "    def install(self, app, settings): ...\n    def submit(self, task, operation): ...\n"
    )
    (tmp_path / "one").mkdir()
    if "." not in arguments[1:]:
        (tmp_path / "test_empty.py").write_text("x = 1\n")
        (tmp_path / "test_small.py").write_text("def test_small(chaos): ...\n")
    done = taskchaos(*arguments, cwd=tmp_path)
    assert message in done.error_line
    assert done.code == 4
    assert not list(tmp_path.glob(".taskchaos/runs/2*")), "no run folder is left for a run that never was"


@pytest.mark.parametrize("depth", ["", "()", "('deep')", "(3)", "('quick', 'default')"])
def test_a_depth_that_there_is_not_is_one_line(tmp_path: Path, depth: str) -> None:
    code = f"import pytest\n@pytest.mark.chaos_depth{depth}\ndef test_one(chaos): ...\n"
    (tmp_path / "test_deep.py").write_text(code)
    done = taskchaos("run", "test_deep.py", "-s", "locked_retry", cwd=tmp_path)
    assert 'test_one[locked_retry]: chaos_depth takes one of "quick", "default", "nightly"' in done.error_line
    assert done.code == 4 and "Traceback" not in done.out + done.err


def test_a_run_that_never_began_leaves_its_folder_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "out" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    done = taskchaos("run", "-k", "no_such_scenario", "--out", str(kept.parent), cwd=tmp_path)
    assert done.code == 4
    assert [p.name for p in kept.parent.iterdir()] == ["kept.txt"]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    done = taskchaos("run", "--out", str(tmp_path), cwd=tmp_path)
    assert "holds a run already" in done.error_line
    assert done.code == 4


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "judge",
        "merge",
        "replay",
        "compare",
        "runs",
        "completion",
        "subjects",
        "controls",
        "new-subject",
        "check-subject",
    ],
)
def test_help_equals_the_snapshot(command: str) -> None:
    done = taskchaos(*([command] if command else []), "--help")
    assert done.code == 0
    _compare(f"help_{command or 'main'}.txt", done.out)


@pytest.mark.parametrize("what", ["suites", "faults", "subjects"])
def test_listings_equal_the_snapshot(what: str) -> None:
    plain, as_json = taskchaos(what), taskchaos(what, "--json")
    assert (plain.code, as_json.code) == (0, 0)
    rows = json.loads(as_json.out)
    names = [next(iter(row.values())) for row in rows]
    assert all(name in plain.out for name in names)
    _compare(f"{what}.json", as_json.out)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("what", ["suites", "faults", "subjects", "controls"])
def test_on_a_terminal_a_list_fits_its_width_and_is_cut_between_words(what: str, width: int) -> None:
    whole = taskchaos(what).out.splitlines()
    shown = on_terminal([COMMAND, what], width).text.splitlines()
    assert len(shown) == len(whole)
    for cut, line in zip(shown, whole, strict=True):
        assert columns_of(cut) <= width
        words, more, _ = cut.partition(" …")
        assert line.startswith(words) and (not more or line[len(words)] == " ")
    if what == "suites":
        _compare(f"suites_{width}_columns.txt", "\n".join(shown) + "\n")


def test_each_scenario_is_listed_with_the_profile_that_runs_it() -> None:
    """The marker is read without importing the suite: here the suites are asked themselves."""
    rows = {row["suite"]: row for row in json.loads(taskchaos("suites", "--json").out)}
    listed = taskchaos("suites").out
    for path in sorted(suites_folder().glob("test_*.py")):
        module = importlib.import_module(f"taskchaos.suites.{path.stem}")
        marks = module.pytestmark if isinstance(module.pytestmark, list) else [module.pytestmark]
        usual = next((mark.args[0] for mark in marks if mark.name == "chaos_depth"), "quick")
        details = {one["scenario"]: one for one in rows[path.stem.removeprefix("test_")]["details"]}
        tests = {name: test for name, test in vars(module).items() if name.startswith("test_")}
        assert list(details) == [name.removeprefix("test_") for name in tests]
        for name, test in tests.items():
            own = next((mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "chaos_depth"), usual)
            one = details[name.removeprefix("test_")]
            assert one["profile"] == own
            assert one["does"] and " ".join(test.__doc__.split()).startswith(one["does"])
            assert f"{own:<7}  {one['does']}\n" in listed


def test_suites_are_parted_by_a_blank_line() -> None:
    blocks = taskchaos("suites").out.split("\n\n")
    assert [block.split()[0] for block in blocks] == list(suite_names())


@pytest.mark.parametrize("command", ["run", "soak", "replay", "judge", "merge"])
def test_quiet_and_verbose_are_one_or_the_other(command: str) -> None:
    given = {"soak": ["--minutes", "1"], "replay": ["x"], "merge": ["x"]}.get(command, [])
    done = taskchaos(command, *given, "-q", "-v")
    assert done.error_line == "taskchaos: --quiet and --verbose: give one of them"
    assert done.code == 4


def _compare(name: str, text: str) -> None:
    path = SNAPSHOTS / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"differs from {path.name}; UPDATE_SNAPSHOTS=1 writes it again"


def test_a_new_subject_can_be_used_at_once(tmp_path: Path) -> None:
    made = taskchaos("new-subject", "my_retry", cwd=tmp_path)
    assert made.code == 0, made.err
    assert {p.name for p in tmp_path.iterdir()} == {"my_retry.py", "test_my_retry.py"}
    checked = taskchaos("check-subject", "my_retry.py:Subject", cwd=tmp_path)
    assert checked.code == 0
    assert "✓ my_retry: can be used; claims no_loss, retries_bounded, throughput" in checked.out
    again = taskchaos("new-subject", "my_retry", cwd=tmp_path)
    assert "exists; use --force" in again.error_line
    assert again.code == 4


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("def register(self, app, body): return None", "✗ register() has to return a Celery task"),
        (
            "def install(self, app, settings): 1 / 0",
            "✗ install() raised ZeroDivisionError: division by zero (odd.py:6 in",
        ),
        ("def install(self, app, settings): time.sleep(600)", "✗ install() did not return within 10 s (odd.py:6 in"),
        ("def install(self, app, settings): app.conf.broker_url = 'redis://x'", "leads past the links: broker_url is"),
        ("def submit(self, task, operation): 1 / 0", "✗ submit() did not send the task: ZeroDivisionError"),
        ("def submit(self, task, operation): pass", "✗ the task did not run within"),
        (
            "def pending(self, redis): return set()",
            "pending() has to return a taskchaos.harness.subject.Pending, not set",
        ),
        (
            "def pending(self, redis): return Pending(frozenset({1}))",
            "✗ pending() still names [1], although the task is",
        ),
        ("def dead_letters(self, redis): return []", "dead_letters() has to be a set of operation numbers, not list"),
        ("def leftovers(self, redis): 1 / 0", "leftovers() raised ZeroDivisionError: division by zero (odd.py:6 in"),
        ("def leftovers(self, redis): os._exit(0)", "leftovers() ended its process, with status 0"),
    ],
)
def test_check_subject_says_what_is_wrong(linux: None, tmp_path: Path, member: str, says: str) -> None:
    """Each function is called once, against a live server; where it went wrong is named by function and line."""
    (tmp_path / "odd.py").write_text(
        "import os, time\nfrom taskchaos.harness.subject import CelerySubject, Pending\n"
        f"class Odd(CelerySubject):\n    name = 'odd'\n    longest_wait_s = 0.5\n    {member}\n"
    )
    done = taskchaos("check-subject", "odd.py:Odd", cwd=tmp_path)
    assert says in done.out
    assert len(done.out.splitlines()) == 1 and "Traceback" not in done.out + done.err
    assert done.code == 4


def test_check_subject_refuses_a_module_that_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("import os\nos._exit(0)\n")
    done = taskchaos("check-subject", "odd.py:Odd", cwd=tmp_path)
    assert "its code ended the process that loaded it, which ended with status 0" in done.error_line
    assert done.code == 4


def test_without_a_command_it_shows_its_help() -> None:
    alone, asked = taskchaos(), taskchaos("--help")
    assert (alone.code, alone.out, alone.err) == (0, asked.out, "")
