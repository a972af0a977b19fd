"""What is said about a run as a whole, besides its cases; shared by all views, like `wording`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from taskchaos.harness.case.default_subjects import subjects_of_none
from taskchaos.harness.errors import ExitCode
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.record.result import CaseResult, FailedTest, RunResult, Trouble
from taskchaos.harness.report.phrases import Assessment, must_fail, plural, seconds, standing, surprises

_MEANING = {
    ExitCode.PASS: "every case got its expected verdict",
    ExitCode.FAIL: "a verdict is not the expected one",
    ExitCode.UNKNOWN: "evidence is missing",
    ExitCode.STACK: "the stack failed or could not be healed",
    ExitCode.USAGE: "what was given cannot be used",
    ExitCode.INTERRUPTED: "interrupted; what had finished was judged",
}


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the run that no case tells. about: the test or file, if it is about one.

    kind: what it means for the verdict of the run; None: to be known, no more.
    """

    kind: Assessment | None
    about: str
    text: str

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.about} {self.text}".strip()


def remarks(result: RunResult) -> tuple[Remark, ...]:
    """Everything that makes the exit code what it is without being a case or a gap between shards; then the notes."""
    failed = [about_test(test) for test in result.failed_tests]
    grave = [Remark(Assessment.STACK, "", p.text) for p in result.problems if p.usage or p.stack]
    doubts = [Remark(Assessment.UNKNOWN, "", doubt) for doubt in result.doubts]
    notes = [Remark(None, "", p.text) for p in result.problems if not (p.usage or p.stack)]
    return (*sorted(failed, key=lambda r: r.kind is not Assessment.FAILED), *grave, *doubts, *notes)


def about_test(test: FailedTest) -> Remark:
    """A test without a case that failed, or a file that could not be collected."""
    if not test.collected:
        return Remark(Assessment.SUITE, test.test, f"could not be collected: {test.reason}")
    if test.assertion:
        return Remark(Assessment.FAILED, test.test, f"failed: {test.reason}")
    return Remark(Assessment.SUITE, test.test, f"failed with an error: {test.reason}")


def _judged(case: CaseResult) -> bool:
    """Whether the run came to this case."""
    return case.trouble not in (Trouble.INTERRUPTED, Trouble.MISSING)


def judged_phrase(result: RunResult) -> str:
    """How far a run got: `3 of 35 cases were judged`."""
    if not result.cases:
        return "no case was judged"
    count, total = sum(map(_judged, result.cases)), len(result.cases)
    return f"{count:,} of {plural(total, 'case')} {'was' if count == 1 else 'were'} judged"


def counts_sentence(result: RunResult) -> str:
    """The run in one sentence."""
    # Of an interrupted run only what it came to is counted.
    cases = [c for c in result.cases if not result.interrupted or _judged(c)]
    controls = [c for c in cases if must_fail(c)]
    others = [c for c in cases if not must_fail(c)]
    caught = sum(standing(c) is Assessment.CAUGHT for c in controls)
    passed = sum(standing(c) in (Assessment.PASSED, Assessment.TOLERATED) for c in others)
    bad = _share(caught, len(controls), "control case", "failed as it must", "failed as they must")
    parts = [
        "" if cases else _nothing(result),
        bad or ("no control was run" if cases else ""),
        _share(passed, len(others), "subject case", "passed", "passed"),
        plural(len(surprises(cases)), "surprise") if cases else "",
        *_besides(result),
    ]
    text = ", ".join(p for p in parts if p)
    return text[0].upper() + text[1:] + "."


def _nothing(result: RunResult) -> str:
    if result.interrupted:
        return "no case was judged"
    if result.shard and not result.exit_code:
        return f"shard {result.shard} has no case to run; the whole run has {len(result.selection):,}"
    return "no case was run, so nothing is proven"


def _besides(result: RunResult) -> Iterator[str]:
    files = sum(not test.collected for test in result.failed_tests)
    tests = len(result.failed_tests) - files
    if tests:
        yield f"{plural(tests, 'test')} failed"
    if files:
        yield f"{plural(files, 'file')} could not be collected"
    if result.left_out:
        yield f"{plural(len(result.left_out), 'case')} left out"
    if result.incomplete:
        yield f"{incomplete_phrase(result)} missing"


def incomplete_phrase(result: RunResult) -> str:
    """What a merged run lacks, counted: `1 shard and 12 cases`."""
    shards = sum(m.id.startswith("shard ") for m in result.incomplete)
    counts = [(shards, "shard"), (len(result.incomplete) - shards, "case")]
    return " and ".join(plural(n, noun) for n, noun in counts if n)


def _share(got: int, total: int, noun: str, one: str, many: str) -> str:
    if not total:
        return ""
    count = plural(total, noun) if got == total else f"{got} of {plural(total, noun)}"
    return f"{count} {one if total == got == 1 else many}"


def meaning(result: RunResult) -> str:
    """What the exit code means in this run."""
    match result.exit_code:
        case ExitCode.INTERRUPTED:
            return f"interrupted after {seconds(result.wall_s)}: {judged_phrase(result)}"
        case ExitCode.PASS if not result.cases:
            return "nothing had to run here"
        case ExitCode.FAIL:
            return " and ".join(_why_fail(result))
        case ExitCode.STACK:
            lost = any(standing(c) is Assessment.STACK for c in result.cases)
            return exit_phrase(ExitCode.STACK) + (", so a case has no verdict" if lost else "")
        case ExitCode.UNKNOWN:
            return " and ".join(_why_unknown(result)) + ", so the run proves nothing"
        case code:
            return exit_phrase(code)


def _why_fail(result: RunResult) -> Iterator[str]:
    found = [c for c in result.cases if standing(c) in (Assessment.FAILED, Assessment.MISSED)]
    asserted = any(c.assertion for c in found) or any(test.assertion for test in result.failed_tests)
    if not asserted or any(not c.assertion for c in found):
        yield exit_phrase(ExitCode.FAIL)
    if asserted:
        yield "an assertion of a suite failed"


def _why_unknown(result: RunResult) -> list[str]:
    kinds = {standing(c) for c in result.cases}
    why = []
    if any(not test.collected for test in result.failed_tests):
        why.append("a file could not be collected")
    if Assessment.SUITE in kinds or any(test.collected for test in result.failed_tests):
        why.append("a test's own code failed")
    if Assessment.SUBJECT in kinds:
        why.append("a subject's own code failed")
    if not why or Assessment.UNKNOWN in kinds or result.doubts or result.incomplete:
        why.append(exit_phrase(ExitCode.UNKNOWN))
    return why


def exit_phrase(code: int) -> str:
    """What an exit code means in any run."""
    try:
        return _MEANING[ExitCode(code)]
    except ValueError:
        return "not one of taskchaos's exit codes"


def word(result: RunResult) -> str:
    """The outcome in one word; that the user ended the run is one for a reader."""
    return "interrupted" if result.exit_code == ExitCode.INTERRUPTED else result.outcome.value


def headline(result: RunResult) -> str:
    """The verdict of the run in a few words."""
    found = surprises(result.cases)
    if result.interrupted:
        return judged_phrase(result).capitalize()
    if found:
        return f"{plural(len(found), 'surprise')} in {plural(len(result.cases), 'case')}"
    tests = [part for part in _besides(result) if "failed" in part or "collected" in part]
    if not result.cases:
        nothing = f"Shard {result.shard} has no case" if result.shard and not result.exit_code else "Nothing was run"
        return ", ".join([nothing, *tests])
    if tests:
        return " and ".join(tests)
    if result.incomplete:
        return f"Incomplete: {incomplete_phrase(result)} missing"
    if result.exit_code:
        return f"{plural(len(result.cases), 'verdict')} as expected, but the run proves nothing"
    return f"All {plural(len(result.cases), 'verdict')} as expected"


def again(result: RunResult) -> list[str]:
    """The commands that run again what somebody has to look at, or what an interrupted run did not come to."""
    wanted = surprises(result.cases)
    if result.interrupted:
        wanted += [c for c in result.cases if standing(c) is Assessment.INTERRUPTED]
    replays = [c.replay for c in wanted or (result.cases if len(result.cases) == 1 else ())]
    commands = [command for command in replays if command]
    told = wanted and all(replays) and not result.failed_tests
    if result.cases and result.exit_code and not told:
        commands.append(run_again(result))  # for what has no plan of its own, or is no case
    return commands


def run_again(result: RunResult) -> str:
    """The command that runs the same cases."""
    # What lasts for so many minutes has a command of its own, which knows what it runs.
    soak = "--minutes" in result.chosen
    words = ["taskchaos", "soak"] if soak else ["taskchaos", "run", *result.suites]
    for subject in result.subjects if soak or result.subjects != _unnamed(result) else ():  # a run has those anyway
        words += ["--subject", subject]
    words += ["--stack", result.stack] if result.stack else []
    words += ["--profile", result.profile] if result.profile else []
    return shlex.join([*words, "--seed", str(result.seed), *result.chosen])


def _unnamed(result: RunResult) -> tuple[str, ...]:
    """The subjects that the run would have had if none had been named; none where that is not known."""
    if result.profile not in PROFILES:
        return ()
    depth, local = PROFILES[result.profile].depth, result.stack == "local"
    return subjects_of_none(depth, local=local, named_suites=bool(result.suites))
