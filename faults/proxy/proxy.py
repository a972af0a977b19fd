"""One proxy: its port, its upstream, its toxics, and the connections that go through it."""

import asyncio
import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from taskchaos.faults.proxy.errors import ListenError, proxy_not_found
from taskchaos.faults.proxy.metrics import TrafficCounts
from taskchaos.faults.proxy.redis.inspector import Inspector
from taskchaos.faults.proxy.redis.server_state import ServerState
from taskchaos.faults.proxy.tcp.address import Address, port_number, resolve, split
from taskchaos.faults.proxy.tcp.chain import ToxicChain, ToxicSpec
from taskchaos.faults.proxy.tcp.dice import Dice
from taskchaos.faults.proxy.tcp.endpoint import Endpoint
from taskchaos.faults.proxy.tcp.link import Connection
from taskchaos.faults.proxy.tcp.listener import Listener
from taskchaos.faults.proxy.timers import Timers

# Long enough for any TCP stack to close a socket; the API must answer even if one does not.
_CLOSING_LIMIT_S = 1.0
_ENABLE = "enable"


class Proxy:
    """Changes take effect at once. `stop` and what calls it leave sockets that close in the next turn of the event
    loop: await `settled` before telling anyone that they are closed."""

    def __init__(
        self,
        name: str,
        listen: str,
        upstream: str,
        dice: Dice,
        *,
        dial_timeout_s: float,
        server_state: ServerState,
        traffic: TrafficCounts,
    ) -> None:
        self.name = name
        self.inspector = Inspector(name, server_state)
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.chain = ToxicChain()
        self._dice = dice.of(name)
        self._traffic = traffic
        self._dial_timeout_s = dial_timeout_s
        self._listener = Listener()
        self._connections: set[Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Future[None]] = set()
        self._accepted = 0
        self._retired = False
        self._timers = Timers()
        self._address: Address | None = None  # where the last update wanted it

    def start(self, address: Address) -> None:
        """Listen at `address`, which becomes the listen text. Raises ListenError; then nothing has changed."""
        if self.enabled:
            return
        self.listen = str(self._listener.listen(address, self._on_client))
        self.enabled = True

    def stop(self) -> None:
        """Refuse clients, close every connection, keep the port. Data in toxics is dropped."""
        self._listener.hold()
        self.enabled = False
        self.disconnect()

    def retire(self) -> None:
        """Stop for good."""
        self._retired = True
        self._timers.clear()
        self.inspector.close()
        self.stop()
        self._listener.free()

    def disconnect(self) -> None:
        """Close every connection, and those being made."""
        for task in self._dials:
            task.cancel()
            self._closing.add(task)
        for connection in list(self._connections):
            self._closing.add(connection.closed)
            connection.abort()

    async def settled(self) -> None:
        """Until the sockets of stopped connections are closed."""
        waiting, self._closing = self._closing, set()
        if waiting:
            await asyncio.wait(waiting, timeout=_CLOSING_LIMIT_S)

    async def differs(self, listen: str, upstream: str) -> bool:
        """Whether these are not the present ones. Raises ListenError for a listen text that means nothing."""
        return str(await resolve(listen)) != self.listen or upstream != self.upstream

    async def update(self, listen: str, upstream: str, enabled: bool) -> None:
        """Take these over, all or none. A new listen or upstream closes the connections, the toxics stay.

        Raises ListenError, and then nothing has changed; the real server is left disabled. Raises ApiError 404 if the
        proxy has been deleted in the meantime.
        """
        address = await resolve(listen)
        if self._retired:
            raise proxy_not_found()
        self._timers.cancel(_ENABLE)
        self._address = address
        moves = str(address) != self.listen
        if moves and self.enabled and enabled:
            self._move(address)
        elif moves and enabled:
            self.start(address)
        elif moves:
            self.stop()
            self._listener.free()
            self.listen = listen
        elif enabled and not self.enabled:
            self.start(address)
        elif self.enabled and not enabled:
            self.stop()
        if moves or upstream != self.upstream:
            self.upstream = upstream
            self.disconnect()

    def enable_after(self, delay_ms: int) -> None:
        """Enable it then, unless it is changed before. If its port is taken by then, it stays disabled."""
        self._timers.at(_ENABLE, delay_ms, self._enable)

    def _enable(self) -> None:
        assert self._address is not None, "update has not been called"
        try:
            self.start(self._address)
        except ListenError as error:
            print(f"proxy {self.name} stays disabled: {error}", file=sys.stderr)  # noqa: T201

    def _move(self, address: Address) -> None:
        """Listen somewhere else. The old port is given up first: the new address may be the same one, written wider."""
        previous = self._listener.bound
        assert previous is not None
        self._listener.free()
        try:
            self.listen = str(self._listener.listen(address, self._on_client))
        except ListenError:
            self._listener.listen(previous, self._on_client)
            raise

    # Toxics: the list, then every live connection, in the same step.

    def add_toxic(self, entry: ToxicSpec) -> None:
        """Raises ApiError 409."""
        if entry.window.after:
            self.chain.add(replace(entry, waiting=True))
            self._timers.at(_toxic(entry.name), entry.window.after, lambda: self._wake(entry.name))
        else:
            self.chain.add(entry)
            self._begin(entry)

    def _wake(self, name: str) -> None:
        """The time of a waiting toxic has come: it joins the chain as the last, with the settings it has by now."""
        entry = replace(self.chain.remove(name), waiting=False)
        self.chain.add(entry)
        self._begin(entry)

    def _begin(self, entry: ToxicSpec) -> None:
        self.inspector.toxic_changed("toxic_added", entry.name)
        for connection in self._live():
            connection.links[entry.direction].add(entry)
        if entry.window.lasting is not None:
            self._timers.at(_toxic(entry.name), entry.window.lasting, lambda: self.remove_toxic(entry.name))

    def update_toxic(self, name: str, attributes: Any, toxicity: float) -> ToxicSpec:
        """Raises ApiError 404."""
        entry = self.chain.get(name).updated(attributes, toxicity)
        self.chain.put(entry)
        self.inspector.toxic_changed("toxic_changed", name)
        if not entry.waiting:
            for connection in self._live():
                connection.links[entry.direction].update(entry)
        return entry

    def remove_toxic(self, name: str) -> None:
        """Raises ApiError 404."""
        entry = self.chain.remove(name)
        self._timers.cancel(_toxic(name))
        self.inspector.toxic_changed("toxic_removed", name)
        if not entry.waiting:
            for connection in self._live():
                connection.links[entry.direction].remove(entry)

    def remove_toxics(self) -> None:
        for entry in self.chain.all():
            self.remove_toxic(entry.name)

    def _live(self) -> Iterable[Connection]:
        return list(self._connections)  # a change may close connections

    # Clients.

    def _on_client(self, client: socket.socket) -> None:
        self._accepted += 1
        task = asyncio.get_running_loop().create_task(self._connect(client, self._accepted))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, client: socket.socket, number: int) -> None:
        """Dial the server and join the two. A failure to dial closes the client, as in the real server."""
        loop = asyncio.get_running_loop()
        ends: list[Endpoint] = []

        def closed(connection: Connection) -> None:
            self._connections.discard(connection)
            self._traffic.closed(connection)
            self.inspector.closed(number)

        try:
            host, service = split(self.upstream)
            async with asyncio.timeout(self._dial_timeout_s):
                _, server_end = await loop.create_connection(Endpoint, host or "localhost", port_number(service))
            ends.append(server_end)
            _, client_end = await loop.connect_accepted_socket(Endpoint, client)
            ends.append(client_end)
        except (OSError, ListenError, ValueError, OverflowError):  # refused, timed out, no such name, not an address
            _give_up(client, ends)
            return
        except asyncio.CancelledError:
            _give_up(client, ends)
            raise
        connection = Connection(client_end, server_end, self._dice.of(number), closed)
        self._connections.add(connection)
        self._traffic.opened(connection, self.listen, self.name, self.upstream)
        self.inspector.opened(connection, number, client_end.peer_address())
        connection.start(self.chain)


def _toxic(name: str) -> str:
    """What the schedule knows a toxic by."""
    return f"toxic {name}"


def _give_up(client: socket.socket, ends: list[Endpoint]) -> None:
    for end in ends:
        end.abort()
    client.close()
