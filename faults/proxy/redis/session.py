"""One followed connection: its requests, its replies, which reply belongs to which request, and what rules make of it.

Replies come in the order of the requests; what comes out of turn is known by its form (pushes, messages of
subscriptions, MONITOR lines). A rule's choice is made when its command has arrived, and carried out at once (`before`)
or when the reply has arrived (`after`).

While there is a journal and no rule, nothing depends on what is read: bytes are passed on first, and read in the next
turn of the loop, when the other side is at work already. The first rule ends that for good (`hold_back`).
"""

import re
import time
from collections import deque
from typing import TYPE_CHECKING

from taskchaos.faults.proxy.redis.actions import RuleActions
from taskchaos.faults.proxy.redis.client_state import ClientState
from taskchaos.faults.proxy.redis.commands import ENDS, HANDSHAKE, STATEFUL, SUBSCRIBES, UNSUBSCRIBES, parts_of, text
from taskchaos.faults.proxy.redis.framing import ReplyFramer, RequestFramer
from taskchaos.faults.proxy.redis.journal import CUT, NIL, NO_REPLY, OK, PENDING, QUEUED, Exchange, Who, outcome_of
from taskchaos.faults.proxy.redis.resync import Resync
from taskchaos.faults.proxy.redis.rules import CUTS, CommandRule, Facts
from taskchaos.faults.proxy.tcp.chain import Direction
from taskchaos.faults.proxy.tcp.ordered_writer import OrderedWriter

if TYPE_CHECKING:
    from taskchaos.faults.proxy.redis.inspector import Inspector
    from taskchaos.faults.proxy.tcp.link import Connection

# A client that is further ahead of its replies than this is not followed any longer.
MOST_OUTSTANDING = 1 << 18

_KIND = re.compile(rb"[>*]\d+\r\n[$+](?:\d+\r\n)?([a-z]+)\r\n")
_MESSAGES = frozenset({b"message", b"pmessage", b"smessage"})
_PUSH, _ERROR, _STRING, _DOLLAR, _NULL, _MINUS = b">-+$_-"
_PLAIN = frozenset(b"+:$_,#")
_TELLING = frozenset(b"Q0123456789")  # +QUEUED, and what MONITOR prints
_ARRAYS = frozenset(b">*")


class RedisSession:
    """Follows `connection` from its first byte, or, if that has passed, from its next quiet moment."""

    def __init__(self, inspector: "Inspector", connection: "Connection", number: int, *, fresh: bool) -> None:
        self.inspector = inspector
        self.server_state = inspector.server_state
        self.connection = connection
        self.number = number
        self.client_state = ClientState(self.server_state)
        self.who = Who(inspector.proxy, number, "")
        self.queue: deque[Exchange] = deque()
        self.commands = 0
        self.over = False  # a rule has cut the connection
        self.left = False  # the client has closed, and waits for nothing
        self.state = "followed"
        self._ahead = fresh and not inspector.rules  # bytes are passed on before they are read
        self._unread: list[tuple[Direction, bytes, int]] = []
        requests = self._pass_request if self._ahead else self._on_requests
        replies = self._pass_reply if self._ahead else self._on_replies
        self.up = OrderedWriter(connection.links[Direction.UPSTREAM], requests, self._requests_end)
        self.down = OrderedWriter(connection.links[Direction.DOWNSTREAM], replies, self._replies_end)
        self.actions = RuleActions(self)
        self._requests = RequestFramer()
        self._replies = ReplyFramer()
        self._large_request_dropped = False
        self._large_reply_dropped = False
        self._leaving = False
        self._resync: Resync | None = None
        self._joined_late = not fresh
        self._lost = False  # replies came that belong to nothing
        self._certain = not self._joined_late  # the first request has been read to its end
        if self._joined_late:
            self.state = "synchronising"
            self._resync = Resync(self.up, self.down, connection.loop, self._join)
        self.guard()

    def guard(self) -> None:
        """Let the links know where their data goes."""
        self.connection.links[Direction.UPSTREAM].guard(self.up)
        self.connection.links[Direction.DOWNSTREAM].guard(self.down)

    # Pass on first, read later.

    def _pass_request(self, data: bytes) -> None:
        self._read_later(Direction.UPSTREAM, data)
        self.up.write_ahead(data)

    def _pass_reply(self, data: bytes) -> None:
        self._read_later(Direction.DOWNSTREAM, data)
        self.down.write_ahead(data)

    def _read_later(self, direction: Direction, data: bytes) -> None:
        if not self._unread:
            self.connection.loop.call_soon(self.catch_up)
        self._unread.append((direction, data, time.monotonic_ns()))

    def catch_up(self) -> None:
        """Read what has been passed on."""
        unread, self._unread = self._unread, []
        for direction, data, now_ns in unread:
            if self.state == "opaque":
                break
            if direction is Direction.UPSTREAM:
                self._read_requests(data, now_ns)
            else:
                self._read_replies(data, now_ns)
        self.server_state.journal.relieve()

    def hold_back(self) -> None:
        """From now on, pass on only what has been read: something may be going to happen to it."""
        self.catch_up()
        if self._ahead and self.state != "opaque":
            self._ahead = False
            self.up.feed, self.down.feed = self._on_requests, self._on_replies
            self.guard()

    # Requests.

    def _on_requests(self, data: bytes) -> None:
        self._read_requests(data, time.monotonic_ns())

    def _read_requests(self, data: bytes, now_ns: int) -> None:
        framer = self._requests
        if not self._certain and not framer.within and data[:1] != b"*":
            self._not_yet(data)
            return
        pieces = framer.feed(data)
        buffer = framer.buffer
        run = start = 0
        begun = 0 if self._ahead else self.up.ahead  # of the first request so much is with the server already
        for arguments, end, last in pieces:
            drop = arguments is None and self._large_request_dropped
            if arguments:  # none: a large request goes on; empty: a line that the server does not answer
                exchange, answered = self._enter(arguments, now_ns)
                rule = exchange.action
                if rule is None:
                    start = end
                    if begun:
                        begun = 0
                        self.up.write(buffer[:start])
                        run = start
                    continue
                if run < start:
                    self.up.write(buffer[run:start])
                run = end
                dropped = self.actions.request(exchange, rule, buffer[start:end], last, answered)
                self._large_request_dropped = dropped and not last
                if self.over:
                    return
            elif drop or (last and self.actions.fence_due):
                passes_to = start if drop else end
                if run < passes_to:
                    self.up.write(buffer[run:passes_to])
                run = end
                self.actions.request_ended()
            start = end
        if run < start:
            self.up.write(buffer if start - run == len(buffer) else buffer[run:start])
        if pieces:
            self._certain = True
            if self.client_state.stream or len(self.queue) > MOST_OUTSTANDING:
                self.become_opaque("replication or too many outstanding commands")
        if framer.broken:
            self._broken(f"request: {framer.broken}")

    def _enter(self, arguments: list[bytes], now_ns: int) -> tuple[Exchange, bool]:
        """Take note of a command; whether the server will answer it. Its `action` is the rule that is due, if any."""
        name = arguments[0].upper()
        client_state = self.client_state
        self.commands += 1
        server_state, inspector = self.server_state, self.inspector
        server_state.index += 1
        exchange = Exchange(server_state.index, self.who, name, now_ns)
        answered = True
        if client_state.first is None and name not in HANDSHAKE:
            client_state.first = text(name)
            self._rename()
            exchange.who = self.who
        scripts: tuple[str, ...] = ()
        if client_state.special or name in STATEFUL:
            answered, scripts = client_state.take(exchange, arguments)
            if client_state.called != self.who.name:
                self._rename()
            exchange.who = self.who
            if scripts:
                exchange.script = scripts[-1]
        if inspector.journal:
            exchange.parts = parts_of(name, arguments)
            exchange.size = len(arguments)
            if inspector.about is not None:
                exchange.about, exchange.sent = inspector.about, inspector.about(arguments)
            if exchange.about is None or exchange.sent:
                server_state.journal.begin(exchange)
        watched = name in inspector.watched or inspector.watches_all or (self.actions.block and name in ENDS)
        if watched and (self._ahead or not self.up.ahead):  # else its begin went out before there was a rule
            facts = Facts(name, arguments, scripts, client_state.names(self.number), self.number)
            self.actions.choose(exchange, facts, inspector.rules, in_block=client_state.in_block)
        if answered:
            self.queue.append(exchange)
        elif exchange.action is None:
            exchange.about = exchange.about if exchange.journaled else None  # it asked for no reply
            self.finished(exchange, NO_REPLY)
        return exchange, answered

    def _rename(self) -> None:
        self.who = Who(self.who.proxy, self.number, self.client_state.called)

    def _requests_end(self) -> None:
        self.catch_up()
        self.left = True
        if not self.over:
            self.up.write(self._requests.rest())
            self.down.open_all()  # there is no half-close: who has sent all gets nothing any more

    # Replies.

    def _on_replies(self, data: bytes) -> None:
        self._read_replies(data, time.monotonic_ns())

    def _read_replies(self, data: bytes, now_ns: int) -> None:
        if self.over:
            return
        framer, queue, client_state = self._replies, self.queue, self.client_state
        pieces = framer.feed(data)
        buffer = framer.buffer
        run = start = 0
        for end, first, last in pieces:
            kind = buffer[start] if first else 0
            if kind in _PLAIN and queue and self._plainly(queue[0], kind, buffer[start + 1], now_ns):
                queue.popleft()
                if last and not (queue and queue[0].instead is not None):
                    start = end
                    continue
                kind = 0
            action: CommandRule | None = None
            if kind == 0:
                drop = self._large_reply_dropped and not first
            else:
                drop = False
                if not queue or (kind in _ARRAYS and client_state.listens(queue[0], kind)):
                    exchange = self._out_of_turn(buffer, start, kind)
                else:
                    exchange = queue[0]
                if exchange is not None:
                    if exchange.about is not None and first:
                        self._look_at(exchange, buffer[start:end])
                    drop, action = self._answer(exchange, buffer, start, kind, now_ns)
                    if action is not None:
                        if run < start:
                            self.down.write(buffer[run:start])
                        run = end
                        drop = self.actions.reply(exchange, action, buffer[start:end])
                        if self.over:
                            return
            self._large_reply_dropped = drop and not last
            if drop and action is None:
                if run < start:
                    self.down.write(buffer[run:start])
                run = end
            start = end
            if queue and queue[0].instead is not None:
                if run < start:
                    self.down.write(buffer[run:start])
                run = start
                self.settle()
                if self.over:
                    return
        if run < start:
            self.down.write(buffer if start - run == len(buffer) else buffer[run:start])
        if framer.broken:
            self._broken(f"reply: {framer.broken}")
        elif self._lost:
            self.server_state.publish("desynchronised", proxy=self.inspector.proxy, connection=self.number)
            self._synchronise()
        if self._leaving:
            self.leave()

    def _plainly(self, exchange: Exchange, kind: int, second: int, now_ns: int) -> bool:
        """The way of most replies: one value, for a command that no rule has taken. Whether this was one."""
        if exchange.action is not None or exchange.replies != 1 or (kind == _STRING and second in _TELLING):
            return False
        if exchange.about is not None:
            return False  # the reply is looked at
        exchange.reply_ns = now_ns
        exchange.outcome = NIL if (kind == _DOLLAR and second == _MINUS) or kind == _NULL else OK
        if exchange.journaled and self.server_state.journal.writes:
            self.server_state.journal.end(exchange)
        return True

    def _look_at(self, exchange: Exchange, frame: bytes) -> None:
        """Keep it in the journal if its reply says that it is wanted there."""
        assert exchange.about is not None
        found = exchange.about((frame,))
        exchange.given = tuple(dict.fromkeys((*exchange.given, *found))) if exchange.given else found
        if exchange.given and not exchange.journaled:
            self.server_state.journal.begin_late(exchange)

    def _out_of_turn(self, buffer: bytes, start: int, kind: int) -> Exchange | None:
        """The command that a frame belongs to after all: confirmations of subscriptions come as pushes."""
        found = _KIND.match(buffer, start)
        name = found[1] if found else b""
        head = self.queue[0] if self.queue else None
        if head is not None:
            if name and head.command == name.upper() and (head.command in SUBSCRIBES or head.command in UNSUBSCRIBES):
                return head
            if kind == _PUSH or name in _MESSAGES or (name.upper() in SUBSCRIBES | UNSUBSCRIBES):
                return None
            return head
        stray = (
            kind != _PUSH and name not in _MESSAGES and not self.client_state.monitor and not self.client_state.channels
        )
        if stray and self._joined_late and self.commands and self._certain:
            self._lost = True
        return None

    def _answer(
        self, exchange: Exchange, buffer: bytes, start: int, kind: int, now_ns: int
    ) -> tuple[bool, CommandRule | None]:
        """Pair a reply with its command: whether it is dropped, and the rule that is to act on it."""
        if kind == _STRING and self.client_state.monitor and buffer[start + 1 : start + 2].isdigit():
            return False, None
        repeated = exchange.reply_ns != 0
        exchange.reply_ns = now_ns
        exchange.replies -= 1
        if exchange.replies <= 0 or kind == _ERROR:
            self.queue.popleft()
        outcome = outcome_of(buffer[start : start + 64])
        if outcome == QUEUED:
            self.client_state.in_block = self.client_state.in_block or self._joined_late
        rule = exchange.action
        if repeated:
            return rule is not None and self.actions.withholds(rule), None
        if rule is None:
            self.finished(exchange, outcome)
        return False, rule

    def _replies_end(self) -> None:
        self.catch_up()
        if not self.over:
            self.down.write(self._replies.rest())

    def settle(self) -> None:
        """Give the replies that are the proxy's own, as far as it is their turn."""
        queue = self.queue
        while queue and queue[0].instead is not None and not self.over:
            exchange = queue.popleft()
            rule = exchange.action
            if rule is not None and rule.spec.action in CUTS:
                self.actions.end_now(rule, exchange)
            elif exchange.instead:
                self.down.write(exchange.instead)
                exchange.reply_ns = time.monotonic_ns()
                self.finished(exchange, text(exchange.instead[1:].split(None, 1)[0]))

    def finished(self, exchange: Exchange, outcome: str) -> None:
        """Its outcome is known."""
        exchange.outcome = outcome
        if exchange.about is not None and not exchange.journaled and outcome in (CUT, NO_REPLY):
            self.server_state.journal.begin_late(exchange)  # nobody knows what the reply would have been about
        if exchange.journaled:
            self.server_state.journal.end(exchange)

    # The whole connection.

    def fire(self, rule: CommandRule, exchange: Exchange, met: int = 0) -> None:
        """The rule acts on this command. met: the index of the one that it goes with."""
        exchange.rule = rule.spec.name
        self.inspector.fired(rule, exchange, met)

    def disarm(self, rule: CommandRule) -> None:
        """The rule is not in force any more: what it has not done yet, it does not do."""
        for exchange in self.queue:
            if exchange.action is rule and exchange.instead is None and not exchange.discarded:
                exchange.action = None
        self.actions.disarm(rule)

    def leave(self) -> None:
        """Stop following as soon as nothing depends on it any more."""
        self.hold_back()
        waiting = any(exchange.instead is not None or exchange.action is not None for exchange in self.queue)
        self._leaving = waiting or self.up.blocked or self.down.blocked or self.up.muted or self.down.muted
        if self._leaving or self.over:
            return
        if self._resync is not None:
            self._resync.stop()
        for writer, framer in ((self.up, self._requests), (self.down, self._replies)):
            rest = framer.rest()
            if rest:
                writer.write(rest)
        self.close_books()
        for link in self.connection.links.values():
            link.guard(None)
        self.inspector.left(self)

    def stay(self) -> None:
        """There is something to follow again."""
        self._leaving = False

    def close_books(self) -> None:
        """No more replies will be seen."""
        while self.queue:
            exchange = self.queue.popleft()
            if exchange.outcome == PENDING:
                self.finished(exchange, CUT if exchange.instead is not None else NO_REPLY)

    def closed(self) -> None:
        """The connection is gone."""
        self.catch_up()
        if self._resync is not None:
            self._resync.stop()
        self.up.cancel()
        self.down.cancel()
        self.actions.stop()
        self.close_books()

    # When the stream cannot be read.

    def _broken(self, reason: str) -> None:
        if self._joined_late and not self._certain:
            self._not_yet(b"")
        else:
            self.become_opaque(reason)

    def become_opaque(self, reason: str) -> None:
        """Pass everything on unread from now on."""
        self.state = "opaque"
        self.up.feed = self.up.write
        self.down.feed = self.down.write
        self.up.write(self._requests.rest())
        self.down.write(self._replies.rest())
        self.close_books()
        self.up.open_all()
        self.down.open_all()
        self.guard()
        self.server_state.publish("opaque", proxy=self.inspector.proxy, connection=self.number, reason=reason)

    def _synchronise(self) -> None:
        self.state = "synchronising"
        self.close_books()
        self.up.write(self._requests.rest())
        self.down.write(self._replies.rest())
        self._certain = self._lost = False
        assert self._resync is not None
        self._resync.again()
        self.guard()

    def _not_yet(self, data: bytes) -> None:
        """These bytes are not the start of a request: the last pause fell into the middle of one."""
        self.up.write(self._requests.rest() + data)
        assert self._resync is not None
        if self._resync.tries_left:
            self._synchronise()
        else:
            self.become_opaque("no start of a request was found")

    def _join(self, kept: bytes) -> None:
        """The server has been silent for a while: follow from here."""
        self.state = "followed"
        self._requests, self._replies = RequestFramer(), ReplyFramer()
        self.up.feed, self.down.feed = self._on_requests, self._on_replies
        self.client_state.late(self.connection.opening())
        self._rename()
        self.guard()
        if kept:
            self._on_requests(kept)
