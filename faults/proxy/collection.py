"""All proxies of the server, by name, and the operations that concern several of them."""

import asyncio
from dataclasses import dataclass, field

from taskchaos.faults.proxy.errors import ApiError, ListenError, listen_failed, proxy_exists, proxy_not_found
from taskchaos.faults.proxy.metrics import TrafficCounts
from taskchaos.faults.proxy.proxy import Proxy
from taskchaos.faults.proxy.redis.server_state import ServerState
from taskchaos.faults.proxy.tcp.address import Address, resolve
from taskchaos.faults.proxy.tcp.chain import ToxicSpec
from taskchaos.faults.proxy.tcp.dice import Dice


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A proxy as a client asks for it."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[ToxicSpec, ...] = ()


@dataclass(slots=True)
class Populated:
    """The answer to populate: what has been applied, and what stopped it."""

    proxies: list[Proxy] = field(default_factory=list)
    error: ApiError | None = None


class Collection:
    """Names are unique. Nothing here survives the process."""

    def __init__(self, dice: Dice, *, dial_timeout_s: float, server_state: ServerState | None = None) -> None:
        self.server_state = server_state or ServerState()
        self._dice = dice
        self._dial_timeout_s = dial_timeout_s
        self.traffic = TrafficCounts()
        self._proxies: dict[str, Proxy] = {}

    def all(self) -> list[Proxy]:
        return [self._proxies[name] for name in sorted(self._proxies)]

    def get(self, name: str) -> Proxy:
        """Raises ApiError 404."""
        try:
            return self._proxies[name]
        except KeyError:
            raise proxy_not_found() from None

    async def create(self, spec: ProxySpec) -> Proxy:
        """Raises ApiError 409 for a name in use, before anything is bound, and 500 for an address that cannot be."""
        self._refuse_duplicate(spec.name)
        try:
            # A proxy created disabled keeps its text unread until it is enabled.
            address = await resolve(spec.listen) if spec.enabled else None
        except ListenError as error:
            raise ApiError(f"listen tcp: {error}", 500) from None
        self._refuse_duplicate(spec.name)  # someone else may have come while a name was being resolved
        return self._add(spec, address)

    async def delete(self, name: str) -> None:
        """Raises ApiError 404."""
        proxy = self.get(name)
        del self._proxies[name]
        proxy.retire()
        await proxy.settled()

    async def populate(self, specs: list[ProxySpec]) -> Populated:
        """Create or replace, in order, up to the first that fails. One that is the same already is left as it is."""
        result = Populated()
        for spec in specs:
            await asyncio.sleep(0)  # the traffic goes on during a long list
            try:
                result.proxies.append(await self._put(spec))
            except ApiError as error:
                result.error = error
                break
        return result

    async def reset(self) -> None:
        """Enable every proxy and remove every toxic; all that can be, even if some cannot be enabled.

        Raises ApiError 500 with the first reason.
        """
        failure: ApiError | None = None
        for proxy in self.all():
            proxy.remove_toxics()
            proxy.inspector.clear()
            try:
                if not proxy.enabled:
                    await proxy.update(proxy.listen, proxy.upstream, True)
            except ListenError as error:
                failure = failure or listen_failed(error)
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Stop all proxies for good."""
        proxies, self._proxies = self.all(), {}
        for proxy in proxies:
            proxy.retire()
        for proxy in proxies:
            await proxy.settled()

    async def _put(self, spec: ProxySpec) -> Proxy:
        existing = self._proxies.get(spec.name)
        if existing is not None:
            try:
                if not await existing.differs(spec.listen, spec.upstream):
                    return existing
            except ListenError as error:
                raise listen_failed(error) from None
            if self._proxies.get(spec.name) is existing:
                await self.delete(spec.name)
        return await self.create(spec)

    def _add(self, spec: ProxySpec, address: Address | None) -> Proxy:
        proxy = Proxy(
            spec.name,
            spec.listen,
            spec.upstream,
            self._dice,
            dial_timeout_s=self._dial_timeout_s,
            server_state=self.server_state,
            traffic=self.traffic,
        )
        for entry in spec.toxics:  # before the first client can come
            proxy.add_toxic(entry)
        if address is not None:
            try:
                proxy.start(address)
            except ListenError as error:
                proxy.retire()
                raise listen_failed(error) from None
        self._proxies[spec.name] = proxy
        return proxy

    def _refuse_duplicate(self, name: str) -> None:
        if name in self._proxies:
            raise proxy_exists()
