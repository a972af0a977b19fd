"""A primary, its replica and Sentinels, as one server: that is the primary of the moment, to which every link leads.

The replica replicates through a proxy of its own, so that it can be made to lag. What Sentinel says is followed by
changing where the links lead, as a service discovery or HAProxy does: a subject has to notice nothing but that its
connections end.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.faults.preload.page import ProcessPage
from taskchaos.faults.redis_failover import Promotion
from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient, ToxiproxyError
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.offsets import Offsets
from taskchaos.harness.stack.redis_access import DirectConnection
from taskchaos.harness.stack.redis_server import RedisServer
from taskchaos.harness.stack.sentinels import Sentinels

#: The proxy through which a node is replicated, followed by its number.
REPLICATION = "replication"
_FOLLOW_EVERY_S = 0.05
_IN_SYNC_DEADLINE_S = 30.0
_PROMOTION_DEADLINE_S = 15.0
_STALL = "stalled"


@dataclass
class _Node:
    """One of the two. port: that of the proxy through which it is replicated."""

    server: RedisServer
    proxy: str
    port: int

    def replication(self) -> Mapping[str, Any]:
        return self.server.figures("replication")

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.server.port}"


class RedisGroup:
    """A server as faults see it (`taskchaos.faults.base.Server`, `taskchaos.faults.redis_failover.Replicated`)."""

    name = "redis"

    def __init__(self, binary: Path, folder: Path, logs: Path, fsync: Fsync, api: ToxiproxyClient) -> None:
        """Start all of it, and wait until the replica is in sync and the Sentinels know it. Raises StackError."""
        self._api = api
        self._links: list[str] = []
        self._nodes: list[_Node] = []
        self._promotions: list[Promotion] = []
        self._wanted = 0  # so many promotions are a fault's doing
        self._trouble = ""
        self._over = threading.Event()
        self._home = ThreadPoolExecutor(1, "redis-group")
        self._sentinels: Sentinels | None = None
        self._offsets: Offsets | None = None
        self._follower: threading.Thread | None = None
        try:
            for number in (1, 2):
                self._add_node(number, binary, folder, logs, fsync)
            self._current, replica = self._nodes
            self._sentinels = Sentinels(binary, folder, logs, self.port, self._home)
            if not wait_for(lambda: self._in_sync(replica), _IN_SYNC_DEADLINE_S):
                raise StackError(f"{replica.server.name} does not replicate: {replica.server.process.tail(3)}")
            self._sentinels.await_ready()
        except BaseException:
            self.stop()
            raise
        self.info = self._current.server.info
        self._offsets = Offsets(self.port)
        self._follower = threading.Thread(target=self._follow, name="failover", daemon=True)
        self._follower.start()

    def _add_node(self, number: int, binary: Path, folder: Path, logs: Path, fsync: Fsync) -> None:
        name = f"{self.name}-{number}"
        of = ("--replicaof", "127.0.0.1", str(self._nodes[0].port)) if self._nodes else ()
        options = ("--repl-diskless-sync-delay", "0", *of)
        server = RedisServer(binary, folder / name, logs / f"{name}.log", fsync, name=name, options=options)
        proxy = f"{REPLICATION}-{number}"
        self._nodes.append(_Node(server, proxy, 0))
        self._nodes[-1].port = self._api.create(proxy, self._nodes[-1].upstream).port

    def lead(self, link: str) -> None:
        """From now on this link of the proxy leads to the primary, whichever that is."""
        self._links.append(link)

    # The primary of the moment.

    @property
    def port(self) -> int:
        return self._current.server.port

    @property
    def client(self) -> Redis:
        return self._current.server.client

    @property
    def pid(self) -> int:
        return self._current.server.pid

    def ask(self, *words: str | int) -> Any:
        return self._current.server.ask(*words)

    def figures(self, section: str) -> Mapping[str, Any]:
        return self._current.server.figures(section)

    def clients(self) -> int:
        return self._current.server.clients()

    def answers(self) -> bool:
        return self._current.server.answers()

    def refuses_writes(self) -> str:
        return self._current.server.refuses_writes()

    def running(self) -> bool:
        return self._current.server.running()

    def kill(self, *, forget: bool = False) -> None:
        self._wanted += 1
        self._current.server.kill(forget=forget)

    def terminate(self, grace_s: float) -> None:
        self._wanted += 1
        self._current.server.terminate(grace_s)

    def start(self, *, load_delay_us: int = 0) -> None:
        """It comes back as a replica, which loads nothing of its own."""
        self.rejoin()

    def connect(self) -> DirectConnection:
        return self._current.server.connect()

    def page(self) -> ProcessPage:
        return self._current.server.page()

    def pause(self) -> None:
        self._wanted += 1
        self._current.server.pause()

    def resume(self) -> None:
        for node in self._nodes:
            node.server.resume()

    def paused(self) -> bool:
        return self._current.server.paused()

    def fill_disk(self) -> None:
        self._current.server.fill_disk()

    def free_disk(self) -> None:
        self._current.server.free_disk()

    # Failover.

    def promotion(self) -> Promotion | None:
        return self._promotions[-1] if self._promotions else None

    def leads(self, run_id: str) -> bool:
        return bool(self.figures("server")["run_id"] == run_id and self.figures("replication")["role"] == "master")

    def stall_replication(self) -> None:
        # What is on its way is swallowed: as much is not delivered late, when the primary is gone.
        self._api.add_toxic(
            self._current.proxy, "timeout", stream=Stream.DOWNSTREAM, attributes={"timeout": 0}, name=_STALL
        )

    def fail_over(self) -> None:
        assert self._sentinels is not None
        before = len(self._promotions)
        self._wanted += 1
        self._sentinels.fail_over()
        if not wait_for(lambda: len(self._promotions) > before, _PROMOTION_DEADLINE_S):
            raise FaultError(f"Sentinel has not failed over within {_PROMOTION_DEADLINE_S:g} s {self._trouble}")

    def rejoin(self) -> None:
        other = self._other
        for node in self._nodes:
            for toxic in self._api.proxy(node.proxy).toxics:
                self._api.remove_toxic(node.proxy, toxic.name)
        where = ("127.0.0.1", str(self._current.port))
        if not other.server.running():
            other.server.options = ("--repl-diskless-sync-delay", "0", "--replicaof", *where)
            other.server.start()
        elif other.replication()["role"] == "master":
            other.server.ask("REPLICAOF", *where)  # as Sentinel would, ten seconds later
        if not wait_for(lambda: self._in_sync(other), _IN_SYNC_DEADLINE_S, every_s=0.02):
            raise FaultError(f"{other.server.name} is not in sync within {_IN_SYNC_DEADLINE_S:g} s of its return")

    @property
    def _other(self) -> _Node:
        return self._nodes[0] if self._current is self._nodes[1] else self._nodes[1]

    def _in_sync(self, replica: _Node) -> bool:
        """Whether it has all that the primary had a moment ago, through the proxy."""
        try:
            primary, found = self._current.replication(), replica.replication()
        except FaultError:
            return False
        up = found["role"] == "slave" and found["master_link_status"] == "up"
        return bool(
            up
            and found["master_port"] == self._current.port
            and primary["role"] == "master"
            and found["slave_repl_offset"] >= primary["master_repl_offset"]
        )

    def whole(self) -> str:
        """Why there is not one primary that takes writes, with one replica in sync and all links at the primary."""
        if why := self._current.server.whole() or self._other.server.changed():
            return why
        if not wait_for(lambda: self._in_sync(self._other), 1.0):
            return f"{self._other.server.name} is no replica in sync"
        if self._sentinels is None or self._sentinels.primary() != self.port:
            return "the Sentinels have another primary"
        astray = [name for name, link in self._api.proxies().items() if self._astray(name, link.upstream)]
        return f"link {astray[0]} does not lead to the primary" if astray else ""

    def _astray(self, link: str, upstream: str) -> bool:
        return link in self._links and upstream != self._current.upstream

    def _follow(self) -> None:
        """Lead everybody to the primary that the Sentinels name."""
        assert self._sentinels is not None
        while not self._over.wait(_FOLLOW_EVERY_S):
            named = self._sentinels.primary()
            node = next((node for node in self._nodes if node.server.port == named), None)
            if node is None or node is self._current:
                continue
            try:
                self._lead_to(node)
                self._trouble = ""
            except (FaultError, ToxiproxyError) as error:
                self._trouble = f"(its links could not be led there: {error})"  # again in a moment

    def _lead_to(self, node: _Node) -> None:
        old = self._current
        found = self._measure(old, node)
        for link in self._links:
            self._api.set_upstream(link, node.upstream)
        self._current = node
        if self._offsets is not None:
            self._offsets.follow(node.server.port)
        self._promotions.append(found)

    def _measure(self, old: _Node, new: _Node) -> Promotion:
        assert self._offsets is not None
        state, run_id = new.replication(), str(new.server.figures("server")["run_id"])
        if state["role"] != "master":
            raise FaultError(f"{new.server.name} is {state['role']}")
        offset = int(state["second_repl_offset"]) - 1  # the first one that is not of the old primary
        since_ns, behind = self._offsets.reached(str(state["master_replid2"]), offset)
        late_ms = (now_ns() - since_ns) * 1000 // NS_PER_S
        seen = (
            f"Sentinel made {new.server.name} ({run_id[:8]}) the primary at offset {offset}, which {old.server.name} "
            f"({old.server.run_id[:8]}) had passed {late_ms} ms before by {behind} bytes or more"
        )
        return Promotion(len(self._promotions) + 1, old.server.run_id, run_id, offset, since_ns, behind, seen)

    # As the stack sees it.

    def died(self) -> str:
        """What ended, or moved, although no fault did it; else ""."""
        ended = [f"{node.server.name} {how}" for node in self._nodes if (how := node.server.died())]
        if not ended and self._sentinels is not None and (how := self._sentinels.died()):
            ended = [how]
        if len(self._promotions) > self._wanted:
            ended.append(f"{self._promotions[-1].seen}, although nothing was done to it")
        return "; ".join(ended)

    def stop(self) -> None:
        """End all of it. Idempotent."""
        self._over.set()
        if self._follower is not None:
            self._follower.join()
        if self._offsets is not None:
            self._offsets.stop()
        if self._sentinels is not None:
            self._sentinels.stop()
        for node in self._nodes:
            node.server.stop()
        self._home.shutdown()
