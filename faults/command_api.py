"""The client of what the embedded proxy has beyond Toxiproxy: rules at Redis commands, journal, events, connections.

A `CommandClient` is a `ToxiproxyClient`, so one object drives both. A real Toxiproxy answers these calls with NotFound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from taskchaos.faults.toxiproxy import (
    _NO_PROXIES,
    NotFound,
    ToxiproxyClient,
    ToxiproxyError,
    Unreachable,
    _mapping,
    _member,
    _path,
)


@dataclass(frozen=True, slots=True)
class FiringReport:
    """One time that a rule acted: on the command with this index in the journal. `time_ns` is CLOCK_MONOTONIC.

    client: the address of its connection, "host:port". captured: what the rule's `capture` found in it and its reply.
    met: the index of the command that it was let go with; 0: none.
    """

    index: int
    connection: int
    client: str
    command: str
    time_ns: int
    captured: tuple[str, ...] = ()
    met: int = 0


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule as the server has it. `members` are those of its JSON; `state` is waiting, active or over."""

    name: str
    state: str
    seen: int
    fired: int
    held: int
    firings: tuple[FiringReport, ...] = ()
    members: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passed:
    """One connection of a proxy, and the bytes that the proxy has received on it, whatever became of them.

    closed_ns: None while it is open. cut: it was the proxy that ended it. met: the bytes that have come to each toxic,
    by its name; of a connection that has ended, to those that were there then.
    """

    number: int
    client: str
    opened_ns: int
    closed_ns: int | None
    cut: bool
    upstream_bytes: int
    downstream_bytes: int
    met: Mapping[str, int] = field(default_factory=dict)


class CommandClient(ToxiproxyClient):
    """Drives one embedded proxy server. See docs/reference/commands.md for the members of a rule."""

    @classmethod
    def beside(cls, client: ToxiproxyClient) -> CommandClient:
        """One for the server that `client` drives."""
        if isinstance(client, cls):
            return client
        return cls(client.host, client.port, timeout_s=client.timeout_s)

    def add_rule(
        self,
        proxy: str,
        *,
        at: str,
        action: str,
        command: str | Sequence[str] = (),
        script: str = "",
        key: str = "",
        argument: str = "",
        connection: str = "",
        name: str = "",
        **members: int | str | bool,
    ) -> RuleState:
        """A new rule, in force when this returns. Raises ToxiproxyError (400) with what is wrong with it.

        `members`: delay, error, mute, nth, every, first, times, scope, group, after_ms, for_ms, capture.
        """
        commands = [command] if isinstance(command, str) else list(command)
        match = {"command": commands, "script": script, "key": key, "argument": argument, "connection": connection}
        for member, meant in (("after_ms", "after"), ("for_ms", "for")):
            if member in members:
                members[meant] = members.pop(member)
        body = {"name": name, "match": match, "at": at, "action": action, **members}
        return _rule(self._call(self._api.post, _path("proxies", proxy, "rules"), body))

    def rules(self, proxy: str) -> tuple[RuleState, ...]:
        """The rules of a proxy in the order in which they are asked."""
        answer = self._call(self._api.get, _path("proxies", proxy, "rules"))
        if not isinstance(answer, list):
            raise ToxiproxyError(f"the server's rules are not a list: {answer!r:.200}")
        return tuple(_rule(each) for each in answer)

    def rule(self, proxy: str, name: str) -> RuleState:
        """The state of one rule."""
        return _rule(self._call(self._api.get, _path("proxies", proxy, "rules", name)))

    def change_rule(self, proxy: str, name: str, /, **members: Any) -> RuleState:
        """Change these members, named as in the JSON; counts and firings are kept."""
        return _rule(self._call(self._api.post, _path("proxies", proxy, "rules", name), members))

    def remove_rule(self, proxy: str, name: str) -> bool:
        """Whether it was there; it is not any more. What it held goes on, connections that it muted are closed."""
        return self.end_rule(proxy, name) is not None

    def end_rule(self, proxy: str, name: str) -> RuleState | None:
        """The same; how the rule stood in the end, with its last firings. None if it was not there."""
        try:
            return _rule(self._call(self._api.delete, _path("proxies", proxy, "rules", name)))
        except NotFound:
            return None

    def release(self, proxy: str, name: str) -> int:
        """Let go of what the rule holds; how many requests and replies that was."""
        answer = self._call(self._api.post, _path("proxies", proxy, "rules", name, "release"))
        return int(_member(answer, "released"))  # type: ignore[call-overload, no-any-return]

    def name_script(self, sha: str, name: str) -> None:
        """Call the script of this SHA1 by a name, in rules and in the journal."""
        self._call(self._api.post, "/scripts", {"sha": sha, "name": name})

    def keep_journal(self, proxy: str, enabled: bool = True, about: Sequence[str] = ()) -> None:
        """Begin, or end, to note every command of a proxy. about: only those in which one of these is found."""
        more = {"about": list(about)} if about else {}
        self._call(self._api.post, _path("proxies", proxy, "journal"), {"enabled": enabled, **more})

    def journal(self, proxy: str = "", since: int = 0) -> list[dict[str, Any]]:
        """The kept entries from index `since` on, in the order of the requests; of one proxy if it is named."""
        return list(self._lines("/journal?" + urlencode({"proxy": proxy, "since": since})))

    def traffic(self, proxy: str, since_ns: int = 0) -> tuple[int, tuple[Passed, ...]]:
        """How many connections the proxy has had, and those that are open or ended at this moment or later.

        Of those that have ended the last 1024 are known.
        """
        answer = self._call(self._api.get, _path("proxies", proxy, "traffic") + f"?since={since_ns}")
        try:
            return int(answer["opened"]), tuple(_passed(each) for each in answer["connections"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError) as error:
            raise ToxiproxyError(f"the server's traffic is none: {answer!r:.200}") from error

    def connections(self) -> list[dict[str, Any]]:
        """The open connections of all proxies."""
        answer = self._call(self._api.get, "/connections")
        if not isinstance(answer, list):
            raise ToxiproxyError(f"the server's connections are not a list: {answer!r:.200}")
        return [dict(_mapping(each)) for each in answer]

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The kept events from index `since` on."""
        return list(self._lines("/events?" + urlencode({"since": since, "follow": "false"})))

    def follow_events(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        """Each event as it happens, until the server ends; first the kept ones from `since` on."""
        query = "" if since is None else f"?since={since}"
        import requests

        # Not through the library, which would read to the end before it gives anything.
        no_proxies: Any = _NO_PROXIES
        url, timeout = f"http://{self._address}/events{query}", (self.timeout_s, None)
        try:
            with requests.get(url, stream=True, timeout=timeout, proxies=no_proxies) as response:
                for line in response.iter_lines(chunk_size=65536):
                    yield json.loads(line)
        except requests.RequestException as error:
            raise Unreachable(f"the events of {self._address} broke off: {error}") from error

    def _lines(self, path: str) -> Iterator[dict[str, Any]]:
        for line in self._send(self._api.get, path).iter_lines():
            yield json.loads(line)


def _rule(answer: object) -> RuleState:
    members = _mapping(answer)
    try:
        firings = tuple(_firing(each) for each in members["firings"])  # type: ignore[attr-defined]
        return RuleState(
            name=str(members["name"]),
            state=str(members["state"]),
            seen=int(members["seen"]),  # type: ignore[call-overload]
            fired=int(members["fired"]),  # type: ignore[call-overload]
            held=int(members["held"]),  # type: ignore[call-overload]
            firings=firings,
            members=members,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ToxiproxyError(f"the server's rule is none: {answer!r:.200}") from error


def _firing(members: Mapping[str, Any]) -> FiringReport:
    return FiringReport(
        members["index"],
        members["connection"],
        _plain(members["client"]),
        members["command"],
        members["time_ns"],
        tuple(members["captured"]),
        members["met"],
    )


def _passed(members: Mapping[str, Any]) -> Passed:
    return Passed(
        members["connection"],
        _plain(members["client"]),
        members["opened_ns"],
        members["closed_ns"],
        members["cut"],
        members["upstream_bytes"],
        members["downstream_bytes"],
        dict(members["met"]),
    )


def _plain(address: str) -> str:
    """An address as IPv4 writes it, if it is one: a socket that takes both kinds puts something in front."""
    return address.removeprefix("::ffff:")
