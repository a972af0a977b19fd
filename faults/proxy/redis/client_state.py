"""What earlier commands of a connection mean for the later ones: names, MULTI, subscriptions, CLIENT REPLY."""

from taskchaos.faults.proxy.redis.commands import HANDSHAKE, SCRIPTS, SUBSCRIBES, UNSUBSCRIBES, text
from taskchaos.faults.proxy.redis.framing import RequestFramer
from taskchaos.faults.proxy.redis.journal import Exchange, Who
from taskchaos.faults.proxy.redis.server_state import ServerState

_PUSH = ord(">")


class ClientState:
    """`take` is called for the commands in commands.STATEFUL, and for all while `special`."""

    def __init__(self, server_state: ServerState) -> None:
        self.name = ""  # CLIENT SETNAME
        self.first: str | None = None  # command after the handshake
        self.protocol = 2
        self.in_block = False  # between MULTI and EXEC
        self.monitor = False
        self.stream = False  # the connection has become a replication stream
        self.channels: set[tuple[bytes, bytes]] = set()  # subscribed: (S for SSUBSCRIBE ..., channel)
        self._server_state = server_state
        self._replies_off = False
        self._skip = False
        self._maybe_subscribed = False

    @property
    def special(self) -> bool:
        """Whether every command has to be looked at."""
        return self._replies_off or self._skip

    @property
    def called(self) -> str:
        """The name of the connection, or what stands for one."""
        return self.name or self.first or ""

    def names(self, number: int) -> tuple[str, ...]:
        """By what a rule may call the connection."""
        return self.name, self.first or "", f"#{number}"

    def late(self, opening: bytes) -> None:
        """What came before is not known, except for the opening: it mostly tells the names and the protocol."""
        self._maybe_subscribed = True
        for arguments, _, _ in RequestFramer().feed(opening):
            if arguments:
                name = arguments[0].upper()
                if self.first is None and name not in HANDSHAKE:
                    self.first = text(name)
                if name in (b"CLIENT", b"HELLO"):
                    self.take(Exchange(0, Who("", 0, ""), name, 0), arguments)

    def listens(self, head: Exchange, kind: int) -> bool:
        """Whether a frame of this kind (push or array) may be something else than the reply to `head`."""
        if kind == _PUSH or self.channels or self._maybe_subscribed:
            return True
        return head.command in SUBSCRIBES or head.command in UNSUBSCRIBES

    def take(self, exchange: Exchange, arguments: list[bytes]) -> tuple[bool, tuple[str, ...]]:
        """Whether the server will answer, and the names of the script that the command calls."""
        answered = not self._replies_off and not self._skip
        self._skip = False
        name = exchange.command
        scripts: tuple[str, ...] = ()
        if name in SCRIPTS:
            scripts = self._scripts(name, arguments)
        elif name in SUBSCRIBES or name in UNSUBSCRIBES:
            exchange.replies = self._subscription(name, arguments)
        elif name == b"CLIENT" and len(arguments) > 2:
            answered = self._client(arguments[1].upper(), arguments[2], answered)
        elif name == b"HELLO":
            self._hello(arguments)
        elif name == b"SCRIPT":
            if len(arguments) > 2 and arguments[1].upper() == b"LOAD":
                self._server_state.learn(arguments[2])
        elif name == b"MULTI":
            self.in_block = True
        elif name in (b"EXEC", b"DISCARD"):
            self.in_block = False
        elif name == b"MONITOR":
            self.monitor = True
        elif name in (b"SYNC", b"PSYNC"):
            self.stream = True
        elif name == b"RESET":
            self.in_block = self.monitor = self._replies_off = False
            self.protocol, self.name = 2, ""
            self.channels.clear()
        return answered, scripts

    def _scripts(self, name: bytes, arguments: list[bytes]) -> tuple[str, ...]:
        if len(arguments) < 2:
            return ()
        if name.startswith(b"FCALL"):
            return (text(arguments[1]),)
        sha = text(arguments[1]).lower() if name.startswith(b"EVALSHA") else self._server_state.learn(arguments[1])
        named = self._server_state.scripts.get(sha)
        return (sha, named) if named else (sha,)

    def _subscription(self, name: bytes, arguments: list[bytes]) -> int:
        """How many confirmations will come."""
        kind = name[:-9] if name in SUBSCRIBES else name[:-11]  # "", P or S
        if name in SUBSCRIBES:
            self.channels.update((kind, channel) for channel in arguments[1:])
            return max(1, len(arguments) - 1)
        subscribed = {entry for entry in self.channels if entry[0] == kind}
        given = {(kind, channel) for channel in arguments[1:]}
        self.channels -= given or subscribed
        return max(1, len(arguments) - 1 or len(subscribed))

    def _client(self, verb: bytes, value: bytes, answered: bool) -> bool:
        if verb == b"SETNAME":
            self.name = text(value)
        elif verb == b"REPLY":
            mode = value.upper()
            if mode == b"ON":
                self._replies_off = False
                return True
            if mode == b"OFF":
                self._replies_off = True
            elif mode == b"SKIP":
                self._skip = not self._replies_off
            return False
        return answered

    def _hello(self, arguments: list[bytes]) -> None:
        if len(arguments) > 1 and arguments[1] in (b"2", b"3"):
            self.protocol = int(arguments[1])
        for index, argument in enumerate(arguments[:-1]):
            if argument.upper() == b"SETNAME":
                self.name = text(arguments[index + 1])
