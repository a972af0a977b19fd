"""The Redis side of one proxy: its rules, its journal, and the sessions that are followed for them.

While there is neither a rule nor a journal, nothing is followed and no byte is looked at.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from taskchaos.faults.proxy.errors import ApiError
from taskchaos.faults.proxy.redis.capture import Captures
from taskchaos.faults.proxy.redis.journal import Exchange
from taskchaos.faults.proxy.redis.rules import CommandRule, Firing, RuleSpec, Scope
from taskchaos.faults.proxy.redis.server_state import Group, ServerState
from taskchaos.faults.proxy.redis.session import RedisSession
from taskchaos.faults.proxy.timers import Timers

if TYPE_CHECKING:
    from taskchaos.faults.proxy.tcp.link import Connection

#: So many connections that have ended are remembered, with what passed on them.
KEPT_ENDED = 1024


def rule_not_found() -> ApiError:
    return ApiError("rule not found", 404)


@dataclass(slots=True)
class Peer:
    """One open connection of the proxy."""

    connection: "Connection"
    number: int
    client: str
    opened_ns: int
    session: RedisSession | None = None
    closed_ns: int | None = None

    def passed(self) -> dict[str, Any]:
        """What the proxy has received on it, whatever became of that."""
        up, down = self.connection.received_bytes()
        return {
            "connection": self.number,
            "client": self.client,
            "opened_ns": self.opened_ns,
            "closed_ns": self.closed_ns,
            "cut": self.connection.was_cut,
            "upstream_bytes": up,
            "downstream_bytes": down,
            "met": {name: met for link in self.connection.links.values() for name, met in link.met().items()},
        }


class Inspector:
    """Every change takes effect at once: on connections that are followed with their next command, on others from
    their next quiet moment on (see resync)."""

    def __init__(self, proxy: str, server_state: ServerState) -> None:
        self.proxy = proxy
        self.server_state = server_state
        self.rules: list[CommandRule] = []
        self.watched: frozenset[bytes] = frozenset()  # commands that some rule may match
        self.watches_all = False
        self.journal = server_state.journal_everything
        self.about: Captures | None = None  # the journal is kept of those commands only in which this finds something
        self._peers: dict[int, Peer] = {}
        self._opened = 0
        self._ended: deque[dict[str, Any]] = deque(maxlen=KEPT_ENDED)
        self._timers = Timers()
        self._named = 0

    # Connections.

    def opened(self, connection: "Connection", number: int, client: str) -> None:
        """A connection has been made and has not passed a byte yet."""
        peer = self._peers[number] = Peer(connection, number, client, time.monotonic_ns())
        self._opened += 1
        self.server_state.publish("connection_opened", proxy=self.proxy, connection=number, client=client)
        if self._wanted:
            peer.session = RedisSession(self, connection, number, fresh=True)

    def closed(self, number: int) -> None:
        """It is gone, and so is all that was held of it."""
        peer = self._peers.pop(number)
        peer.closed_ns = time.monotonic_ns()
        self._ended.append(peer.passed())
        session = peer.session
        if session is not None:
            session.closed()
            for rule in self.rules:
                rule.forget(number)
                rule.lose(session.up)
                rule.lose(session.down)
        name = session.who.name if session is not None else ""
        self.server_state.publish("connection_closed", proxy=self.proxy, connection=number, name=name)

    def left(self, session: RedisSession) -> None:
        """The session has ended, and the connection goes on unread."""
        self._peers[session.number].session = None

    def traffic(self, since_ns: int) -> dict[str, Any]:
        """The connections that are open, or were at `since_ns` or later, with what was received on each."""
        ended = [passed for passed in self._ended if passed["closed_ns"] >= since_ns]
        return {"opened": self._opened, "connections": [*ended, *(peer.passed() for peer in self._peers.values())]}

    def peers(self) -> list[dict[str, Any]]:
        """The open connections, in order of their accepts."""
        return [self._describe(peer) for peer in self._peers.values()]

    def _describe(self, peer: Peer) -> dict[str, Any]:
        session = peer.session
        up, down = peer.connection.received_bytes()
        return {
            "proxy": self.proxy,
            "connection": peer.number,
            "client": peer.client,
            "opened_ns": peer.opened_ns,
            "state": "unread" if session is None else session.state,
            "name": "" if session is None else session.client_state.name,
            "first_command": None if session is None else session.client_state.first,
            "protocol": None if session is None else session.client_state.protocol,
            "commands": 0 if session is None else session.commands,
            "outstanding": 0 if session is None else len(session.queue),
            "upstream_bytes": up,
            "downstream_bytes": down,
        }

    @property
    def _wanted(self) -> bool:
        return self.journal or bool(self.rules)

    def _watch(self) -> None:
        """Know beforehand which commands no rule is about."""
        for peer in list(self._peers.values()) if self.rules else ():
            if peer.session is not None:
                peer.session.hold_back()
        names = [rule.matches.names for rule in self.rules]
        self.watches_all = None in names
        self.watched = frozenset().union(*[each for each in names if each is not None])

    def _refresh(self) -> None:
        """Follow the open connections if there is a reason to, and leave them if there is none any more."""
        self._watch()
        for peer in list(self._peers.values()):
            if self._wanted:
                if peer.session is None:
                    fresh = sum(peer.connection.received_bytes()) == 0
                    peer.session = RedisSession(self, peer.connection, peer.number, fresh=fresh)
                else:
                    peer.session.stay()
            elif peer.session is not None:
                peer.session.leave()

    def keep_journal(self, enabled: bool, about: Captures | None = None) -> None:
        """Begin, or end, to write down the commands of all connections; or only those in which this finds something."""
        for peer in list(self._peers.values()):
            if peer.session is not None:
                peer.session.catch_up()
        self.journal, self.about = enabled, about
        self._refresh()

    def toxic_changed(self, kind: str, toxic: str) -> None:
        """For the events: a toxic was added, changed or removed."""
        self.server_state.publish(kind, proxy=self.proxy, toxic=toxic)

    # Rules.

    def get(self, name: str) -> CommandRule:
        """Raises ApiError 404."""
        for rule in self.rules:
            if rule.spec.name == name:
                return rule
        raise rule_not_found()

    def add(self, spec: RuleSpec) -> CommandRule:
        """Raises ApiError 409. A rule without a name gets one."""
        if not spec.name:
            self._named += 1
            spec = replace(spec, name=f"rule_{self._named}")
        if any(rule.spec.name == spec.name for rule in self.rules):
            raise ApiError("rule already exists", 409)
        group = self.server_state.join(spec.group) if spec.scope is Scope.GROUP else Group()
        rule = CommandRule(spec, group.tally, group.meeting)
        self.rules.append(rule)
        self._set_window(rule)
        self._refresh()
        self.server_state.publish("rule_added", proxy=self.proxy, rule=spec.name)
        return rule

    def update(self, rule: CommandRule, spec: RuleSpec) -> None:
        """Counts and firings are kept; the window begins again if it was given again."""
        moved = (spec.after_ms, spec.for_ms) != (rule.spec.after_ms, rule.spec.for_ms)
        rule.become(spec)
        self._watch()
        if moved:
            self._set_window(rule)
        self.server_state.publish("rule_changed", proxy=self.proxy, rule=spec.name)

    def remove(self, name: str) -> CommandRule:
        """What it holds goes on; connections that it has muted are closed. Returns it. Raises ApiError 404."""
        rule = self.get(name)
        self.rules.remove(rule)
        self._timers.cancel(name)
        if rule.spec.scope is Scope.GROUP:
            self.server_state.leave(rule.spec.group)
        self._retire(rule)
        self._refresh()
        self.server_state.publish("rule_removed", proxy=self.proxy, rule=name)
        return rule

    def clear(self) -> None:
        """Remove all rules."""
        for rule in list(self.rules):
            self.remove(rule.spec.name)

    def close(self) -> None:
        """The proxy is gone."""
        self._timers.clear()
        self.clear()

    def fired(self, rule: CommandRule, exchange: Exchange, met: int) -> None:
        """A rule acts on a command. met: the index of the one that it goes with, or 0."""
        now_ns = time.monotonic_ns()
        who, spec = exchange.who, rule.spec
        command = exchange.command.decode("utf-8", "backslashreplace")
        rule.fired += 1
        peer = self._peers.get(who.number)
        client = "" if peer is None else peer.client
        what = (exchange.index, self.proxy, who.number, client, command, now_ns, exchange.captured)
        rule.firings.append(Firing(*what, met))
        facts = {"proxy": self.proxy, "rule": spec.name, "at": spec.at.value, "action": spec.action.value}
        facts |= {"name": who.name, "command": command}
        self.server_state.publish("rule_fired", **facts, connection=who.number, command_index=exchange.index)

    def _set_window(self, rule: CommandRule) -> None:
        name, spec = rule.spec.name, rule.spec
        rule.over = False
        self._timers.cancel(name)
        if spec.after_ms:
            rule.active = False
            self._timers.at(name, spec.after_ms, lambda: self._begin(rule))
        else:
            self._begin(rule)

    def _begin(self, rule: CommandRule) -> None:
        rule.active = True
        if rule.spec.for_ms:
            self._timers.at(rule.spec.name, rule.spec.for_ms, lambda: self._end(rule))

    def _end(self, rule: CommandRule) -> None:
        rule.over = True
        self._retire(rule)
        self.server_state.publish("rule_over", proxy=self.proxy, rule=rule.spec.name)

    def _retire(self, rule: CommandRule) -> None:
        rule.active = False
        rule.release()
        for peer in list(self._peers.values()):
            if peer.session is not None:
                peer.session.disarm(rule)
