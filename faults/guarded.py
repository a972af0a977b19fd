"""Drives a real Toxiproxy safely: its API deadlocks for good when a client dies while a toxic is removed.

Toxiproxy 2.12, https://github.com/Shopify/toxiproxy/issues/558: /version still answers then, /proxies never does. No
call that would undo it gets through, so the way out is a restart, with everything put back as it should be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from taskchaos.faults.toxiproxy import (
    AlreadyExists,
    NotFound,
    ProxyState,
    Stream,
    Toxic,
    ToxiproxyClient,
    ToxiproxyError,
    Unreachable,
    _integers,
    _path,
    address,
)

T = TypeVar("T")

#: A healthy server lists its proxies in milliseconds.
PROBE_TIMEOUT_S = 1.0
#: How often the server is set right for one call, when it hangs again meanwhile.
ATTEMPTS = 3
#: From closing a proxy's connections to removing its toxics. Measured: DELETE at once hung in 18 of 20 tries, after
#: 50 ms in 0 of 20 (docs/reproductions/toxiproxy_deadlock.py).
DRAIN_S = 0.05
#: A disabled proxy of the real server gives its port up, and an outgoing connection may have it for a moment.
PORT_DEADLINE_S = 3.0
#: Toxics that are removed when the connections have been closed, since they break them anyway. Not `timeout`: that hung
#: in 0 of 600 tries, and to close first is to refuse for a moment, after which stock Celery waits for 2 s.
BREAKING = frozenset({"reset_peer"})


class GuardedClient(ToxiproxyClient):
    """A client whose calls survive a server that hangs, dies or loses an answer.

    It knows how the proxies should be: those that it made, adopted or changed. They are its own; nobody else may change
    them. A call that is not answered is looked up: it is not done twice, and not lost. A server that does not answer at
    all is restarted and set right, the interrupted change included, and the call returns as if nothing had happened.

    `restart` ends the server, starts it again and says where its API is now, None for where it was. `restarted` is told
    in one line what has happened: the connections of all links were lost. Both are called from within a call. When the
    server is not as it should be after `restart_deadline_s`, or after three tries, the call raises ToxiproxyError, and
    the change counts as not made. Changes are made one after the other; reads may be made at any time.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        restart: Callable[[], tuple[str, int] | None],
        restarted: Callable[[str], None],
        timeout_s: float = 3.0,
        restart_deadline_s: float = 10.0,
    ) -> None:
        super().__init__(host, port, timeout_s=timeout_s)
        self._restart = restart
        self._restarted = restarted
        self._restart_deadline_s = restart_deadline_s
        self._wanted: dict[str, ProxyState] = {}
        self._lock = threading.RLock()

    def adopt(self) -> dict[str, ProxyState]:
        """Take all proxies of the server, as they are, for its own. Returns what is its own now."""
        there = self.proxies()
        with self._lock:
            self._wanted = there | self._wanted
            return dict(self._wanted)

    def version(self) -> str:
        return self._read("asking for the version", super().version)

    def proxies(self) -> dict[str, ProxyState]:
        return self._read("listing the proxies", super().proxies)

    def proxy(self, name: str) -> ProxyState:
        read = super().proxy
        return self._read(f"reading proxy {name}", lambda: read(name), name)

    def create(self, name: str, upstream: str, *, listen: str = "127.0.0.1:0", enabled: bool = True) -> ProxyState:
        make = super().create
        host, _, port = listen.rpartition(":")
        wanted = ProxyState(name, host.strip("[]"), int(port) if port.isdigit() else 0, upstream, enabled)
        with self._lock:
            if name in self._wanted:
                raise AlreadyExists("proxy already exists", 409)
            made = self._change(
                f"creating proxy {name}",
                {name: wanted},
                lambda: make(name, upstream, listen=listen, enabled=enabled),
                lambda there: there[name],
            )
            return self._learn(made)

    def set_enabled(self, name: str, enabled: bool) -> ProxyState:
        switch = self._enable if enabled else self._disable
        with self._lock:
            state = self._change(
                f"{'enabling' if enabled else 'disabling'} proxy {name}",
                {name: replace(self._known(name), enabled=enabled)},
                lambda: switch(name),
                lambda there: there[name],
            )
            return self._learn(state)

    def add_toxic(
        self, proxy: str, type: str, *, stream: Stream, attributes: Mapping[str, int], name: str | None = None
    ) -> Toxic:
        add = super().add_toxic
        toxic = Toxic(name or f"{type}_{Stream(stream).value}", type, Stream(stream), _integers(attributes))
        with self._lock:
            known = self._known(proxy)
            if _named(known, toxic.name):
                raise AlreadyExists("toxic already exists", 409)
            return self._change(
                f"adding toxic {toxic.name} to proxy {proxy}",
                {proxy: replace(known, toxics=(*known.toxics, toxic))},
                lambda: add(proxy, type, stream=stream, attributes=attributes, name=toxic.name),
                lambda there: _named(there[proxy], toxic.name) or toxic,
            )

    def update_toxic(self, proxy: str, toxic: str, attributes: Mapping[str, int]) -> Toxic:
        update = super().update_toxic
        changes = _integers(attributes)
        with self._lock:
            known = self._known(proxy)
            before = _named(known, toxic)
            if before is None:
                raise NotFound("toxic not found", 404)
            after = replace(before, attributes={**before.attributes, **changes})
            return self._change(
                f"changing toxic {toxic} of proxy {proxy}",
                {proxy: replace(known, toxics=tuple(after if t is before else t for t in known.toxics))},
                lambda: update(proxy, toxic, changes),
                lambda there: _named(there[proxy], toxic) or after,
            )

    def remove_toxic(self, proxy: str, toxic: str) -> bool:
        return toxic in self._remove(proxy, [toxic])

    def remove_toxics(self, proxy: str, toxics: Iterable[str]) -> None:
        """Remove these; those that are not there are fine.

        If one of them is a `reset_peer`, all connections are closed before, and for about 50 ms new ones are refused:
        so the server does not hang.
        """
        self._remove(proxy, list(toxics))

    def delete(self, name: str) -> bool:
        delete = super().delete
        with self._lock:
            try:
                self._known(name)
            except NotFound:
                return False
            return self._change(f"deleting proxy {name}", {name: None}, lambda: delete(name), lambda there: True)

    def reset(self) -> None:
        reset = super().reset
        with self._lock:
            known = self.adopt()

            def send() -> None:
                broken = [s.name for s in known.values() if s.enabled and any(t.type in BREAKING for t in s.toxics)]
                for name in broken:
                    self._disable(name)
                if broken:
                    time.sleep(DRAIN_S)
                reset()

            after = {name: replace(state, enabled=True, toxics=()) for name, state in known.items()}
            self._change("resetting all proxies", after, send, lambda there: None)
            for state in self.proxies().values():  # a proxy that never listened does now
                self._learn(state)

    # -- what is wanted

    def _known(self, name: str) -> ProxyState:
        """How this proxy should be; as it is, if it was not known before."""
        if name not in self._wanted:
            self._wanted[name] = self.proxy(name)
        return self._wanted[name]

    def _learn(self, state: ProxyState) -> ProxyState:
        """Links keep their address: once a port was given, it is the one that is wanted."""
        if state.name in self._wanted:
            self._wanted[state.name] = replace(self._wanted[state.name], host=state.host, port=state.port)
        return state

    def _keep(self, changes: Mapping[str, ProxyState | None]) -> None:
        for name, state in changes.items():
            if state is None:
                self._wanted.pop(name, None)
            else:
                self._wanted[name] = state

    # -- calls under guard

    def _read(self, what: str, send: Callable[[], T], name: str = "") -> T:
        began_s = time.monotonic()
        try:
            return send()
        except (Unreachable, NotFound) as error:
            with self._lock:
                if isinstance(error, NotFound) and name not in self._wanted:
                    raise
                self._set_right(_trouble(error, what), {}, began_s)
                return send()

    def _change(
        self,
        what: str,
        changes: Mapping[str, ProxyState | None],
        send: Callable[[], T],
        result: Callable[[Mapping[str, ProxyState]], T],
    ) -> T:
        """`send`, after which the proxies should be as `changes` says; if it got no answer, the `result` of that."""
        began_s = time.monotonic()
        try:
            answer = send()
        except (Unreachable, NotFound) as error:  # it is there as far as we know, so the server has lost it
            answer = result(self._set_right(_trouble(error, what), changes, began_s))
        else:
            self._keep(changes)
        return answer

    def _remove(self, proxy: str, names: list[str]) -> set[str]:
        """Which of them were there."""
        with self._lock:
            try:
                known = self._known(proxy)
            except NotFound:
                return set()
            mine = {toxic.name for toxic in known.toxics} & set(names)

            def send() -> set[str]:
                were_there = self._take_off(known, names)
                if mine - were_there:
                    raise NotFound(f"the server has lost {', '.join(sorted(mine - were_there))}", 404)
                return were_there

            after = replace(known, toxics=tuple(toxic for toxic in known.toxics if toxic.name not in mine))
            what = f"removing toxic {', '.join(names)} of proxy {proxy}"
            return self._change(what, {proxy: after}, send, lambda there: mine)

    def _take_off(self, state: ProxyState, names: Iterable[str]) -> set[str]:
        """Remove these toxics of a proxy in this state, in the way that does not hang; which were there."""
        going = [toxic for toxic in state.toxics if toxic.name in set(names)]
        closes = state.enabled and any(toxic.type in BREAKING for toxic in going)
        if closes:
            self._disable(state.name)
        if closes or (going and not state.enabled):  # it may have been disabled just now
            time.sleep(DRAIN_S)
        were_there = {name for name in names if super(GuardedClient, self).remove_toxic(state.name, name)}
        if closes:
            self._enable(state.name)
        return were_there

    def _disable(self, name: str) -> ProxyState:
        return super().set_enabled(name, False)

    def _enable(self, name: str) -> ProxyState:
        until_s = time.monotonic() + PORT_DEADLINE_S
        while True:
            try:
                return super().set_enabled(name, True)
            except ToxiproxyError as error:
                if "address already in use" not in str(error) or time.monotonic() > until_s:
                    raise
                time.sleep(0.05)

    # -- setting right

    def _set_right(
        self, trouble: str, changes: Mapping[str, ProxyState | None], began_s: float
    ) -> Mapping[str, ProxyState]:
        """Make the server be as wanted with these changes, by a restart if it must be; how it is then."""
        wanted: dict[str, ProxyState | None] = {**self._wanted, **changes}
        ours = {name for name in self._wanted if wanted[name] is not None}
        restarted = lost = False
        for _ in range(ATTEMPTS):
            there = self._probe()
            if there is None:
                there, restarted = self._start_again(trouble), True
            lost = lost or bool(ours - there.keys())
            try:
                for name, state in wanted.items():
                    self._mend(name, state, there.get(name))
                there = super().proxies()
            except (Unreachable, NotFound):
                continue
            except ToxiproxyError as error:
                if not restarted:
                    raise
                raise ToxiproxyError(f"{trouble}; restarted, but not all could be set again: {error}") from error
            self._keep(wanted)
            for state in there.values():
                self._learn(state)
            if restarted or lost:
                self._tell(trouble, "restarted, " if restarted else "", began_s)
            return there
        raise ToxiproxyError(
            f"{trouble}; it failed {ATTEMPTS} times more while its proxies were set again. Keep the clients of its "
            "links alive while faults are healed, or use the embedded proxy (taskchaos proxy), which does not hang"
        )

    def _probe(self) -> dict[str, ProxyState] | None:
        """The proxies as they are, None if the server does not say so in time. /version would answer in a deadlock."""
        try:
            return ToxiproxyClient(self.host, self.port, timeout_s=PROBE_TIMEOUT_S).proxies()
        except Unreachable:
            return None

    def _start_again(self, trouble: str) -> dict[str, ProxyState]:
        """The proxies of the server that its owner has started again."""
        until_s = time.monotonic() + self._restart_deadline_s
        try:
            moved = self._restart()
        except Exception as error:  # the owner's own kind
            raise ToxiproxyError(f"{trouble}, and it could not be restarted: {error}. Start it by hand") from error
        if moved is not None:
            self._point_at(*moved)
        while (there := self._probe()) is None:
            if time.monotonic() > until_s:
                raise ToxiproxyError(
                    f"{trouble}; restarted, it did not answer at {address(self.host, self.port)} within "
                    f"{self._restart_deadline_s:g} s. Look at its log; end what is left of it, and start it by hand"
                )
            time.sleep(0.02)
        return there

    def _mend(self, name: str, wanted: ProxyState | None, there: ProxyState | None) -> None:
        """Make one proxy be as it should be."""
        if wanted is None:
            if there is not None:
                super().delete(name)
            return
        if there is None:  # disabled at first: no client gets through without the toxics
            there = super().create(name, wanted.upstream, listen=address(wanted.host, wanted.port), enabled=False)
        elif there.upstream != wanted.upstream or wanted.port not in (0, there.port):
            raise AlreadyExists(f"a proxy {name} exists, to {there.upstream} on port {there.port}", 409)
        kept = {toxic.name for toxic in wanted.toxics if _same_kind(toxic, _named(there, toxic.name))}
        self._take_off(there, [toxic.name for toxic in there.toxics if toxic.name not in kept])
        for toxic in wanted.toxics:
            has = _named(there, toxic.name) if toxic.name in kept else None
            if has is None:
                body: dict[str, object] = {"name": toxic.name, "type": toxic.type, "stream": toxic.stream.value}
                body |= {"attributes": dict(toxic.attributes), "toxicity": toxic.toxicity}
                self._call(self._api.post, _path("proxies", name, "toxics"), body)
            elif not toxic.attributes.items() <= has.attributes.items():
                super().update_toxic(name, toxic.name, toxic.attributes)
        if wanted.enabled != there.enabled:
            (self._enable if wanted.enabled else self._disable)(name)

    def _tell(self, trouble: str, means: str, began_s: float) -> None:
        toxics = sum(len(state.toxics) for state in self._wanted.values())
        amount = f"{_count(len(self._wanted), 'proxy', 'proxies')} and {_count(toxics, 'toxic', 'toxics')}"
        self._restarted(f"{trouble}; {means}{amount} set again, took {time.monotonic() - began_s:.1f} s")


def _trouble(error: ToxiproxyError, what: str) -> str:
    if isinstance(error, NotFound):
        return f"the Toxiproxy had lost what it should know while {what}"
    from requests import Timeout

    hung = isinstance(error.__cause__, Timeout)
    return f"the Toxiproxy API {'hung' if hung else 'was gone'} while {what}"


def _named(state: ProxyState, toxic: str) -> Toxic | None:
    return next((each for each in state.toxics if each.name == toxic), None)


def _same_kind(one: Toxic, other: Toxic | None) -> bool:
    return other is not None and (one.type, one.stream) == (other.type, other.stream)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
