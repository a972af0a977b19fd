"""A run: its options, its folder and its identity, shared by every process that runs a part of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskchaos.harness import codec
from taskchaos.harness.case.stack_options import Pool, ProxyKind, StackKind, StackOptions, WorkerStart
from taskchaos.harness.case.subject_names import shipped_names
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.profile import PROFILES, Profile
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, EVENTS, HOME, LATEST, MANIFEST, PLAN, RUNS, STOP, TEMPORARY, at_home
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.record.sources import SOURCES
from taskchaos.harness.run import ongoing
from taskchaos.harness.versions import versions

#: Options that are told with a run where they are not as they are by default.
_CHOSEN = ("minutes", "target_tps", "failures", "proxy", "redis_server", "previous", "pool", "worker_start")
#: Rounds of each random scenario in a run that is not a soak.
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a person chose. Every process of the run (controller and test workers) has the same."""

    out: str
    subjects: tuple[str, ...] = field(default_factory=shipped_names)
    seed: int = 1
    stack: str = "local"
    profile: str = "quick"
    target_tps: float | None = None
    failures: float = 0.0  # percent of the tasks that fail once, in every suite
    proxy: ProxyKind = ProxyKind.EMBEDDED
    redis_server: str | None = None
    previous: str | None = None  # the interpreter of another release
    pool: Pool = Pool.PREFORK
    worker_start: WorkerStart = WorkerStart.ZYGOTE
    parallel: int = 1
    keyword: str | None = None  # -k
    shard: Shard | None = None  # only this part of what is selected
    replay: str | None = None  # a case folder whose plan is run again
    suites: tuple[str, ...] = ()  # what was asked for: names, or paths of the user's own; none: all that ship
    rounds: int = ROUNDS  # how many seeds, from `seed` on, a test with `chaos_seed` is run with
    configured: tuple[str, ...] = ()  # what of this stood in the project's pyproject.toml
    minutes: float | None = None  # no further round begins that would not be over by then
    began_ns: int = field(default_factory=now_ns)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out)

    @property
    def scale(self) -> Profile:
        """The profile, as it is on the stack."""
        profile = PROFILES[self.profile]
        return profile.in_containers if self.stack == StackKind.COMPOSE else profile

    @property
    def seeds(self) -> range:
        """The seeds of random scenarios, a case each."""
        return range(self.seed, self.seed + self.rounds)

    def time_is_up(self, seed: int, takes_s: float) -> bool:
        """Whether a round of this seed, which takes so long, is not to begin any more. The first one always is."""
        if self.minutes is None or self.replay or seed == self.seed:
            return False
        return now_ns() + takes_s * NS_PER_S > self.began_ns + self.minutes * 60 * NS_PER_S

    @property
    def chosen(self) -> tuple[str, ...]:
        """What was chosen beyond subjects, stack, profile and seed, as words of a command line."""
        default = RunOptions(out=self.out)
        words: list[str] = []
        for option in _CHOSEN:
            value = getattr(self, option)
            if value != getattr(default, option):
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                words += [f"--{option.replace('_', '-')}", shown]
        words += ["-k", self.keyword] if self.keyword else []
        words += ["--shard", str(self.shard)] if self.shard else []
        return tuple(words)

    @property
    def stack_options(self) -> StackOptions:
        """What every case's stack is made with."""
        return StackOptions(
            place=StackKind(self.stack),
            proxy=self.proxy,
            pool=self.pool,
            worker_start=self.worker_start,
            redis_binary=self.redis_server,
            previous=self.previous,
        )


def new_folder(seed: int) -> Path:
    """A name for a new run folder below the working directory; nothing is created."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    base = HOME / RUNS / f"{stamp}-{seed}"
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder.resolve()


def fresh_folder(out: str | Path | None, seed: int) -> Path:
    """The folder given for a run, or a new name for one. Raises UsageError when it holds a run already."""
    if out is not None and not str(out).strip():
        raise UsageError(f"--out {str(out)!r}: name a folder, or leave it out")
    folder = Path(out).resolve() if out is not None else new_folder(seed)
    if (folder / PLAN).exists():
        raise UsageError(f"--out {folder}: holds a run already; give another folder")
    return folder


def reserve(options: RunOptions) -> RunOptions:
    """Take the run folder for this process alone: two runs that begin in the same second must not share one."""
    while at_home(options.folder):
        try:
            options.folder.mkdir(parents=True)
            break
        except FileExistsError:
            options = replace(options, out=str(new_folder(options.seed)))
        except OSError as error:
            raise UsageError(f"{options.folder}: {error.strerror}; use --out for another place") from error
    return options


def open_run(options: RunOptions) -> Path:
    """Create the run folder if this process is the first to need it, and return the run's event log.

    The run goes on until this process has ended (ongoing.py). Raises UsageError when the folder cannot be written.
    """
    log = create_run(options)
    ongoing.hold(options.folder)
    return log


def create_run(options: RunOptions) -> Path:
    """Create the run folder if it is not there yet, and return the run's event log.

    Raises UsageError when the folder cannot be written or already holds another run.
    """
    folder = options.folder
    try:
        (folder / CASES).mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / PLAN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return folder / EVENTS
    except OSError as error:
        raise UsageError(f"--out {folder}: {error.strerror}") from error
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as plan:
            plan.write(json.dumps(codec.encode(options), indent=1) + "\n")
    except OSError as error:
        raise StackError(f"{folder / PLAN} cannot be written: {error.strerror}") from error
    events.append(
        folder / EVENTS,
        events.RunStarted(
            run=folder.name,
            seed=options.seed,
            stack=options.stack,
            profile=options.profile,
            target_tps=options.target_tps or options.scale.target_tps,
            versions=versions(),
            started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            workers=options.parallel,
            chosen=options.chosen,
            shard=options.shard,
            suites=options.suites,
            subjects=options.subjects,
            minutes=options.minutes,
            configured=options.configured,
        ),
    )
    return folder / EVENTS


def others_run_all(folder: Path) -> bool:
    """Whether the run of this folder is a shard that has no case, while others have some."""
    path = folder / EVENTS
    found = events.read(path) if path.is_file() else iter(())
    return any(isinstance(e, events.CasesCollected) and not e.count and any(e.dealt) for e in found)


def discard(folder: Path) -> None:
    """Remove a run folder in which no case ran: our own files by name, then the folder if nothing else is in it."""
    ongoing.release(folder)
    for name in (PLAN, EVENTS, MANIFEST, STOP, "logs/pytest.log", ".gate", ".floor", ongoing.LOCK):
        (folder / name).unlink(missing_ok=True)
    for place in (folder / "logs").glob(f"{TEMPORARY}*"):
        shutil.rmtree(place, ignore_errors=True)
    for place in (folder / "logs", folder / CASES, folder / SOURCES, folder):
        with contextlib.suppress(OSError):  # not empty: it holds what is not ours
            place.rmdir()


def has_cases(folder: Path) -> bool:
    """Whether any case was begun in a run, so that it can be run again."""
    return any(True for _ in (folder / CASES).glob(f"*/{PLAN}"))


def latest() -> Path:
    """The working directory's last run with cases: what `latest` points to, else the newest that there is."""
    runs = HOME / RUNS
    link = runs / LATEST
    if has_cases(link):
        return link
    found = [path for path in runs.glob("*") if not path.is_symlink() and has_cases(path)]
    return max(found, key=lambda path: (path / PLAN).stat().st_mtime if (path / PLAN).exists() else 0.0, default=link)


def link_latest(folder: Path) -> None:
    """Point `latest` among the working directory's runs at this one, unless it has no case.

    Atomic, silent where links cannot be made.
    """
    if not at_home(folder) or not has_cases(folder):
        return
    link = folder.parent / LATEST
    fresh = folder.parent / f".latest-{os.getpid()}"
    try:
        fresh.symlink_to(folder.name)
        fresh.replace(link)
    except OSError:
        fresh.unlink(missing_ok=True)


def check_stored(folder: Path) -> RunOptions:
    """The options of a stored run. Raises UsageError when the folder holds none."""
    try:
        options = codec.decode(RunOptions, json.loads(read_file(folder / PLAN)))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} holds no run (no {PLAN}); give a folder like {HOME / RUNS / LATEST}") from None
    except OSError as error:
        raise UsageError(f"{folder / PLAN}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{folder / PLAN}: {error}") from None
    if not (folder / EVENTS).is_file():
        raise UsageError(f"{folder} holds no run that can be read: {EVENTS} is missing")
    return options
