"""What every fault is: undo noted first, evidence that it bit, still there before its heal, a verified heal.

A fault acts on a `Link`, a `Worker`, a `Producer` or a `Server` and on nothing else. `inject` is called once; `prove`
may be called until it has evidence; `holds` is called right before the heal; `heal` may be called any number of times,
also when `inject` failed half-way; `verify_healed` looks at the world, not at what was asked for.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from taskchaos.faults.bounds import ValueBounds, bounds_of
from taskchaos.faults.draw import Draw, FaultFamily, NotDrawn
from taskchaos.faults.toxiproxy import ToxiproxyClient
from taskchaos.faults.traffic import TrafficSource

if TYPE_CHECKING:
    from taskchaos.faults.preload.page import ProcessPage

#: What the name of a worker's path to the result backend ends with: a link that nothing has to use.
RESULTS = "-results"
#: The target of what is sent to the queue. It is nobody's role.
QUEUE = "queue"
#: What the harness's own connections to a server call themselves.
HARNESS = "taskchaos"


class Ability(StrEnum):
    """What a fault may need of a stack that not every stack has; the value says how to get it."""

    COMMANDS = "needs --proxy embedded: the real Toxiproxy knows no Redis commands"
    CONTAINERS = "needs --stack compose: it is done to a container"
    OWN_SERVER = "needs --stack local: Redis is started with options of the fault's"
    PRELOAD = "needs --stack local, Linux and a C compiler (cc): a library is loaded before libc"
    DEBUG = "needs --stack local: Redis's DEBUG is switched off elsewhere"
    REPLICA = "needs --stack local: only there a case can have a replica of Redis, and Sentinels"
    PREVIOUS = "needs --stack local and --previous PYTHON: the interpreter of an environment with another release"
    VOLATILE_DISK = "needs --stack local: the disk that forgets is a mount (FUSE) of this machine"


class On(StrEnum):
    """What a fault is done to."""

    LINK = "link"  # a role's path to Redis
    COMMAND = "command"  # the same, at exact Redis commands
    WORKER = "worker"  # its processes
    PRODUCER = "producer"  # its process
    CONTAINER = "container"  # of a worker
    SERVER = "server"  # Redis
    QUEUE = "queue"  # what is in it
    CLOCK = "clock"  # of a worker, a producer or Redis


class Release(StrEnum):
    """Which environment a worker is started from: that of the run, or that of another release (--previous)."""

    PRESENT = "present"
    PREVIOUS = "previous"


class FaultError(Exception):
    """A fault could not be injected or healed; the message says what stood in the way."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault met this operation itself: `what` is the command that carried it, and what became of that.

    at_ns is CLOCK_MONOTONIC.
    """

    op: int
    at_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen that shows the fault bit. `killed_pids`: processes it ended; `stopped_pids`: those it stopped.

    hits: the operations that it is known to have met themselves, up to that moment. forgot_since_ns: a server may have
    lost what it acknowledged from then on (CLOCK_MONOTONIC; 0: everything, up to the heal); None: nothing. began_ns:
    when it began to bite, if its injection took a while; None: when that was over.
    """

    seen: str
    killed_pids: tuple[int, ...] = ()
    stopped_pids: tuple[int, ...] = ()
    hits: tuple[Hit, ...] = ()
    forgot_since_ns: int | None = None
    began_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take the fault back, in words a person can act on; written down before anything is injected."""

    action: str
    target: str


class PingResult(StrEnum):
    """What a PING through a link met."""

    PONG = "pong"
    REFUSED = "refused"
    RESET = "reset"
    CLOSED = "closed"
    SILENCE = "silence"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Ping:
    """One PING through a link. `took_s` counts from the connect to the answer, or to what stood for one."""

    result: PingResult
    took_s: float


@dataclass(frozen=True, slots=True)
class Link:
    """One role's path to Redis through the proxy.

    source: where its traffic is looked at; None: in the embedded proxy. probes: by address, the harness's own
    connections over it, which are no traffic of the role.
    """

    name: str
    host: str
    port: int
    api: ToxiproxyClient
    source: TrafficSource | None = field(default=None, compare=False, repr=False)
    probes: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def role(self) -> str:
        """Whose path it is."""
        return self.name.removesuffix(RESULTS)

    @property
    def optional(self) -> bool:
        """Whether nothing has to use it: a role may keep no results."""
        return self.name.endswith(RESULTS)

    def url(self, database: int = 0) -> str:
        """The URL a client of this role uses."""
        return f"redis://{self.host}:{self.port}/{database}"

    def ping(self, timeout_s: float = 1.0, *, padding: int = 0, quit: bool = False) -> Ping:
        """Send one inline PING over a new connection and say what came of it. Never raises.

        padding: so many bytes go along both ways. quit: Redis is asked to close instead, and the close is waited for.
        """
        began = time.monotonic()
        line = b"QUIT\r\n" if quit else b"PING" + (b" " + b"x" * padding if padding else b"") + b"\r\n"
        result = self._ping(timeout_s, line, b"" if quit else b"$" if padding else b"+PONG")
        return Ping(result, time.monotonic() - began)

    def _ping(self, timeout_s: float, line: bytes, wanted: bytes) -> PingResult:
        """wanted: what an answer begins with, which is then as long as the line; empty: one that ends."""
        answer = b""
        try:
            with _bound_towards(self.host, self.port) as probe:
                host, port = probe.getsockname()[:2]
                self.probes[f"{host}:{port}"] = len(line)  # before anybody can see the connection
                probe.settimeout(timeout_s)
                probe.connect((self.host, self.port))
                probe.sendall(line)
                while more := probe.recv(65536):
                    answer += more
                    if wanted and len(answer) >= len(line):
                        break
        except ConnectionRefusedError:
            return PingResult.REFUSED
        except (ConnectionResetError, BrokenPipeError):
            return PingResult.RESET
        except TimeoutError:
            return PingResult.SILENCE
        except OSError:
            return PingResult.UNREACHABLE
        if not wanted:
            return PingResult.PONG if answer.startswith(b"+OK") else PingResult.CLOSED
        whole = answer.startswith(wanted) and len(answer) >= len(line)
        return PingResult.PONG if whole else PingResult.CLOSED


def _bound_towards(host: str, port: int) -> socket.socket:
    """A socket with the address from which this machine reaches that one. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect(address)  # sends nothing
        here = way.getsockname()[0]
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.bind((here, 0))
    except OSError:
        probe.close()
        raise
    return probe


class Worker(Protocol):
    """One worker as faults see it: a process tree that its stack can start again."""

    @property
    def name(self) -> str:
        """Its role, such as worker-1."""

    @property
    def pid(self) -> int:
        """The parent process (Celery's main process). Pids are those of the ledger: unique in a case."""

    def children(self) -> tuple[int, ...]:
        """The pool processes, oldest first."""

    def alive(self, pid: int) -> bool:
        """Whether this process, once one of the worker's, still runs."""

    def kill(self, pids: tuple[int, ...]) -> None:
        """SIGKILL to these of its processes."""

    def terminate(self, grace_s: float, told: Signals = SIGTERM) -> None:
        """This signal to the parent; SIGKILL to what is left of the tree after the grace."""

    def pause(self) -> None:
        """Stop the whole tree where it is; everything goes on at `resume`."""

    def resume(self) -> None:
        """Take a `pause` back. Nothing to do is fine."""

    def paused(self) -> tuple[int, int]:
        """How many of its processes are stopped, and how many there are."""

    @property
    def release(self) -> Release:
        """Which release runs, or did last."""

    def change_release(self, release: Release) -> None:
        """Have the next start be one of this release. Raises FaultError when there is none."""

    def expect_death(self) -> None:
        """The next end of the parent is a fault's doing, not a crash."""

    def start(self) -> None:
        """Start the worker again under the same role, and do not wait for it."""

    def respawn(self) -> None:
        """Start the worker again under the same role and wait until it consumes; nothing if it already does."""

    def ready(self) -> bool:
        """Whether the current parent lives and has said that it consumes."""


@runtime_checkable
class Contained(Protocol):
    """What can be done to the container of something. Everything raises FaultError when the engine refuses."""

    def disconnect(self) -> None:
        """Take it out of its networks."""

    def reconnect(self) -> None:
        """Take a `disconnect` back: the same networks and aliases. Nothing to do is fine."""

    def connected(self) -> bool:
        """Whether the engine has it in all of its networks."""

    def exhaust_memory(self, victim: int) -> None:
        """Have its memory run out until the kernel has killed this process of it. Returns when that has begun."""

    def oom_kills(self) -> int:
        """How many processes of it the kernel has killed because its memory had run out."""


class ContainedWorker(Worker, Contained, Protocol):
    """A worker that has a container of its own."""


class ServerConnection(Protocol):
    """A connection of the harness to a server, past the proxy. Everything raises FaultError."""

    def send(self, *words: str | int) -> None:
        """Send a command."""

    def read(self) -> Any:
        """The next answer; an error of the server's is a FaultError in its own words."""

    def close(self) -> None:
        """Close it. Raises nothing."""


class Server(Protocol):
    """A Redis as faults see it: asked past the proxy, and its process or container. Everything raises FaultError."""

    @property
    def name(self) -> str:
        """Its role, such as redis."""

    def ask(self, *words: str | int) -> Any:
        """The answer to a command; an error of the server's is a FaultError in its own words."""

    def connect(self) -> ServerConnection:
        """A connection of its own, for what must share none. Whoever asks for it closes it."""

    def figures(self, section: str) -> Mapping[str, Any]:
        """A section of INFO."""

    def clients(self) -> int:
        """How many are connected: neither the harness, nor what belongs to the server itself."""

    def answers(self) -> bool:
        """Whether a PING is answered with PONG. Raises nothing."""

    def refuses_writes(self) -> str:
        """Why it takes no writes now, in its own words; "" if it does. Tries one."""

    def whole(self) -> str:
        """Why it is not as it was when it was started, in words; "" if it is: it answers, takes writes, and its
        settings and users are those that it had.
        """

    def page(self) -> ProcessPage:
        """What its process is made to see of its clock and its disk. Raises FaultError when it was not started so."""

    @property
    def pid(self) -> int:
        """Its process, or that of the life before if it does not run."""

    def running(self) -> bool:
        """Whether its process is there, running or stopped."""

    def kill(self, *, forget: bool = False) -> None:
        """SIGKILL, on purpose: the stack is not alarmed until it is started again. forget: its files go, too."""

    def terminate(self, grace_s: float) -> None:
        """SIGTERM, on purpose; SIGKILL after the grace. Returns when it has ended."""

    def start(self, *, load_delay_us: int = 0) -> None:
        """Start it again at its address, with its files, and wait until it answers. Nothing if it runs.

        load_delay_us: it takes so long for each command of its append-only file, and answers LOADING meanwhile; that
        is not waited for.
        """

    def pause(self) -> None:
        """Stop its process where it is; it goes on at `resume`."""

    def resume(self) -> None:
        """Take a `pause` back. Nothing to do is fine."""

    def paused(self) -> bool:
        """Whether its process is stopped."""

    def fill_disk(self) -> None:
        """Leave no room on the disk that its append-only file is on."""

    def free_disk(self) -> None:
        """Take `fill_disk` back. Nothing to do is fine."""


#: The family of what is done to each of these.
_FAMILIES = {
    On.LINK: FaultFamily.NETWORK,
    On.COMMAND: FaultFamily.COMMAND,
    On.WORKER: FaultFamily.PROCESS,
    On.PRODUCER: FaultFamily.PROCESS,
    On.CONTAINER: FaultFamily.PROCESS,
    On.SERVER: FaultFamily.REDIS,
    On.CLOCK: FaultFamily.CLOCK,
    On.QUEUE: FaultFamily.QUEUE,
}


def family_of(fault: type[Fault]) -> FaultFamily:
    """What a fault belongs to: as it says, or by what it is done to."""
    return fault.family or _FAMILIES[fault.on]


def wait_for(condition: Callable[[], bool], deadline_s: float, every_s: float = 0.01) -> bool:
    """Poll until the condition holds; False when time runs out."""
    until = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True


class Fault(ABC):
    """One thing that goes wrong, on one target."""

    #: The name it has in schedules, output and verdicts.
    kind: ClassVar[str]
    #: What it is done to: its target is one of these.
    on: ClassVar[On]
    #: One line for `taskchaos faults`.
    summary: ClassVar[str]
    #: What the stack has to be able to do.
    needs: ClassVar[frozenset[Ability]] = frozenset()
    #: Whether it lasts until it is healed. What was killed is dead at once, and there is nothing to look at again.
    lasts: ClassVar[bool] = True
    #: How a random schedule draws it, or why none does.
    drawn: ClassVar[Draw | NotDrawn] = Draw()
    #: What it belongs to, if what it is done to does not say so (`family_of`).
    family: ClassVar[FaultFamily | None] = None
    #: When it began to bite, of one whose injection takes a while (CLOCK_MONOTONIC).
    began_ns: int | None = None
    #: How long `prove` may take to see that it is there, and `verify_healed` to see the world whole again.
    proof_deadline_s: ClassVar[float] = 2.0
    heal_deadline_s: ClassVar[float] = 10.0

    @classmethod
    def parameters(cls) -> Mapping[str, ValueBounds]:
        """What may be chosen about it, by name: the fields that say their bounds."""
        return bounds_of(cls)

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        """Why it does nothing, or cannot be seen to, with these parameters together, held for so long; "" if it can.

        values: all of them, each within its bounds. hold_s: infinite where that is not known yet.
        """
        return ""

    @property
    @abstractmethod
    def target(self) -> str:
        """The link, worker or server it acts on."""

    @abstractmethod
    def undo(self) -> Undo:
        """What heals it; asked for before `inject`."""

    @abstractmethod
    def inject(self) -> None:
        """Make it happen. Raises FaultError when it cannot."""

    @abstractmethod
    def prove(self) -> Evidence | None:
        """Evidence, taken from the world, that it bites what it was meant for; None if there is none yet."""

    @property
    def in_force(self) -> bool:
        """Whether `prove` has seen that it is there, and only waits for the traffic that it is meant for."""
        return False

    def missing(self) -> str:
        """Why `prove` has found nothing, and what to do about it."""
        return "no evidence that it bit"

    def unused(self) -> str:
        """Why it could not bite, if it is done to something that nothing has used and nothing has to use; else ""."""
        return ""

    @property
    def look_s(self) -> float:
        """How long `holds` takes: so much before the heal it is asked."""
        return 0.02

    def holds(self) -> bool:
        """Whether it is still there, whatever it has met."""
        return self.prove() is not None

    def hits(self) -> tuple[Hit, ...]:
        """The operations that it is known to have met themselves, up to now."""
        return ()

    def killed(self) -> tuple[int, ...]:
        """The processes that it has ended up to now, if it goes on ending some after its evidence."""
        return ()

    def in_all(self) -> str:
        """What it has met in all, once it is healed, if that is more than its evidence says; else ""."""
        return ""

    @abstractmethod
    def heal(self) -> None:
        """Take it back. Idempotent. Raises FaultError when it cannot."""

    @abstractmethod
    def healed(self) -> bool:
        """Whether the world shows no trace of it any more."""

    def verify_healed(self) -> bool:
        """`healed`, awaited until the deadline."""
        return wait_for(self.healed, self.heal_deadline_s)
