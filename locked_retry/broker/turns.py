"""What is in Redis, and the one call that changes it: key names, the scripts, a turn's request and its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from locked_retry.broker.herd import Place, Role

#: What is put in front of a script, of scripts/includes/. Those that are not here have keys of their own.
INCLUDES: Mapping[str, tuple[str, ...]] = {
    "turn": ("lib", "jobs", "moves", "locks", "leases", "herd"),
    "renew": ("lib", "leases"),
    "submit": ("lib",),
    "job": ("lib", "jobs"),
    "shard": ("lib", "jobs"),
    "release": ("lib", "jobs", "moves"),
    "requeue": ("lib", "jobs", "moves"),
    "purge": ("lib",),
    "audit": ("lib", "jobs", "moves", "locks"),
}
#: What is put behind it: its second half.
CONTINUED: Mapping[str, tuple[str, ...]] = {"turn": ("claim",)}


class RowState(bytes, Enum):
    """`st` of a state row, as scripts/includes/lib.lua writes it."""

    QUEUED = b"q"
    RUNNING = b"r"
    DELAYED = b"d"
    PARKED = b"p"
    BURIED = b"x"


class SettlementKind(StrEnum):
    """How a delivery ended. Only RETRY costs an attempt, only CRASH a crash, only RETURN a return."""

    OK = "ok"  # done, or rightly ignored: the row goes, a completion record stays
    FINAL = "final"  # failed as its task foresees: the same, though it counts as a failure
    RETRY = "retry"  # again after a delay
    DEAD = "dead"  # given up: kept as a dead letter
    REQUEUE = "requeue"  # back to the front of its queue, at no cost
    RETURN = "return"  # back unstarted, through no orderly end: counted, and dead when it happens too often
    SNOOZE = "snooze"  # later, at no cost (an ETA, a breaker)
    CRASH = "crash"  # its process died: again after a delay, or dead at the limit


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one delivery. `message` replaces the stored one (a retry's next generation); "" keeps it.

    `budget`: the retry budget of its task as the script reads it; "" for none.
    """

    row: str
    fence: str
    kind: SettlementKind
    delay_ms: int = 0
    reason: str = ""
    message: str = ""
    budget: str = ""


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease to be extended, and whether the task has started (a crash then counts as one, towards `max_crashes`)."""

    row: str
    fence: str
    lease_ms: int
    started: bool = False
    max_crashes: int = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is now held. `key_number` counts from 1 among the queue lists of the request."""

    row: str
    fence: str
    crashes: int
    returns: int
    key_number: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A message that became a dead letter although no holder said so: its crashes or returns were used up."""

    row: str
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """The request of one turn. The same worker token and number again is a repeat, and is answered as the first was."""

    worker: str
    number: int
    queue_keys: Sequence[str]  # for each priority, best first, every queue
    queues: int
    want: int
    want_bytes: int
    lease_ms: int
    done_ms: int
    fair: bool = True  # of a priority each queue gets a share, or they are emptied one after the other
    batch: int = 100  # most rows to promote, and to reap
    max_crashes: int = 3
    dead_max_age_ms: int = 30 * 86_400_000
    dead_max_count: int = 100_000
    settles: Sequence[Settlement] = ()
    renewals: Sequence[Renewal] = ()
    idle_ms: int = 0  # 0: it is no worker's; its answer says when something is due, whoever sees to it
    place: Place = Place()


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply of one turn. `due_ms`: until a lease ends or a retry is due; None when it need not see to that."""

    now_ms: int
    due_ms: int | None
    codes: str
    lost: tuple[str, ...]
    claims: tuple[Claim, ...]
    promoted: int = 0
    reaped: int = 0
    dropped: int = 0
    parked: int = 0
    more: bool = False  # claiming stopped at a limit beside what was wanted: there may be more
    trimmed: int = 0  # dead letters that were too old or too many, and are gone
    buried: tuple[DeadLettered, ...] = ()
    broken: tuple[str, ...] = ()  # queue lists that are no lists
    role: Role = Role.NONE
    sleepers: int = 0  # beside this one, if it sleeps
    paused: tuple[str, ...] = ()  # queue lists from which nothing is claimed


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything in Redis. `prefix` includes kombu's global_keyprefix and ends in a colon."""

    prefix: str = "lr:"

    def indexes(self, worker: str = "-") -> list[str]:
        """KEYS 1 to 7 of every script."""
        names = ("lease", "delay", "dead", "fence", f"w:{worker}", "stats", "stale")
        return [self.prefix + name for name in names]

    def row(self, row: str) -> str:
        """The state row of a message."""
        return f"{self.prefix}t:{row}"

    def done(self, row: str) -> str:
        """The completion record that drops late duplicates."""
        return f"{self.prefix}done:{row}"

    def budget(self, queue_list: str) -> str:
        """The retry budget's bucket of a queue list; absent means full."""
        return f"{self.prefix}budget:{queue_list}"

    def job(self, job_id: str) -> str:
        """What is known of a job."""
        return f"{self.prefix}job:{job_id}"

    def marks(self, job_id: str) -> str:
        """How each of a job's shards ended."""
        return f"{self.prefix}marks:{job_id}"

    def lock(self, name: str) -> str:
        """The holder of a business key."""
        return f"{self.prefix}lock:{name}"

    def watch(self, herd: str) -> str:
        """Who listens for a herd."""
        return f"{self.prefix}watch:{herd}"

    def bell(self, herd: str) -> str:
        """On what the others sleep."""
        return f"{self.prefix}bell:{herd}"

    @property
    def paused(self) -> str:
        """The queue lists that are paused."""
        return f"{self.prefix}paused"

    def wait(self, name: str) -> str:
        """The rows parked for a business key, longest first."""
        return f"{self.prefix}wait:{name}"


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the hash by which Redis knows it."""

    text: str
    sha: str = field(default="")

    @classmethod
    @cache
    def load(cls, name: str) -> Script:
        """The script of this name, with its includes. Its first line names it, to whoever reads a log or a journal."""
        folder = Path(__file__).parent / "scripts"
        includes = [f"includes/{part}" for part in INCLUDES.get(name, ())]
        continued = [f"includes/{part}" for part in CONTINUED.get(name, ())]
        parts = [(folder / f"{part}.lua").read_text("utf-8") for part in (*includes, name, *continued)]
        text = "".join((f"-- {name}.lua\n", *parts))
        return cls(text, hashlib.sha1(text.encode()).hexdigest())


def turn_arguments(keys: Keys, turn: Turn) -> list[Any]:
    """KEYS count, KEYS and ARGV of turn.lua, as they follow the script's hash on the wire."""
    names = [*keys.indexes(turn.worker), *turn.queue_keys]
    arguments: list[Any] = [
        *(len(names), *names, keys.prefix, turn.worker, turn.number, turn.want, turn.want_bytes, turn.lease_ms),
        *(turn.done_ms, turn.batch, turn.queues, int(turn.fair), turn.max_crashes),
        *(len(turn.settles), len(turn.renewals), turn.dead_max_age_ms, turn.dead_max_count),
        *(turn.idle_ms, turn.place.herd, turn.place.flags, turn.place.left),
    ]
    for s in turn.settles:
        arguments += (wire(s.row), s.fence, s.kind.value, s.delay_ms, s.reason, s.message, s.budget)
    arguments += _renewal_words(turn.renewals)
    return arguments


def renewal_arguments(keys: Keys, worker: str, renewals: Sequence[Renewal]) -> list[Any]:
    """The same for renew.lua."""
    names = keys.indexes(worker)
    return [len(names), *names, keys.prefix, worker, *_renewal_words(renewals)]


def _renewal_words(renewals: Sequence[Renewal]) -> list[Any]:
    return [word for r in renewals for word in (wire(r.row), r.fence, r.lease_ms, int(r.started), r.max_crashes)]


def text_of(value: bytes | str) -> str:
    """What Redis holds as text. Row names may be any bytes, as task ids of foreign producers may."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def wire(text: str) -> str | bytes:
    """The reverse of `text_of`."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape")


def read_answer(reply: Any) -> Answer:
    """The reply of turn.lua."""
    now_ms, due_ms, codes, lost, claims, seen, buried, broken, role, sleepers, paused = reply
    return Answer(
        now_ms=int(now_ms),
        due_ms=None if due_ms < 0 else int(due_ms),
        codes=text_of(codes),
        lost=tuple(text_of(row) for row in lost),
        claims=tuple(Claim(text_of(c[0]), text_of(c[1]), int(c[2]), int(c[3]), int(c[4]), c[5]) for c in claims),
        promoted=seen[0],
        reaped=seen[1],
        dropped=seen[2],
        parked=seen[3],
        more=bool(seen[4]),
        trimmed=seen[5],
        buried=tuple(DeadLettered(text_of(b[0]), text_of(b[1]), b[2] or b"") for b in buried),
        broken=tuple(text_of(name) for name in broken),
        role=Role(role),
        sleepers=int(sleepers),
        paused=tuple(text_of(name) for name in paused),
    )


def call(redis: Any, script: Script, arguments: Sequence[Any], prefixed: bool = False) -> Any:
    """Run a script by its hash, by its text if the server does not know it (after a flush or a restart).

    `prefixed`: the client is kombu's for global_keyprefix, which would prefix the first key of EVALSHA (only).
    """
    if prefixed:
        return redis.execute_command("EVAL", script.text, *arguments)
    try:
        return redis.execute_command("EVALSHA", script.sha, *arguments)
    except NoScriptError:
        return redis.execute_command("EVAL", script.text, *arguments)


def run_turn(redis: Any, keys: Keys, turn: Turn) -> Answer:
    """One turn, waiting for its answer (tests and tools; the transport sends and reads separately)."""
    return read_answer(call(redis, Script.load("turn"), turn_arguments(keys, turn)))
