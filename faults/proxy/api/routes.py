"""The REST API of Toxiproxy 2.12: routes, bodies in and out. It knows no HTTP framing; `http` does.

The order of the checks and the order of the members in the answers are part of the contract.
"""

import asyncio
import dataclasses
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.api.bodies import read_attributes, read_milliseconds, read_spec, read_specs, read_toxic
from taskchaos.faults.proxy.collection import Collection, Populated, ProxySpec
from taskchaos.faults.proxy.errors import ApiError, ListenError, listen_failed
from taskchaos.faults.proxy.gojson import Fields
from taskchaos.faults.proxy.metrics import CONTENT_TYPE, Metrics
from taskchaos.faults.proxy.proxy import Proxy
from taskchaos.faults.proxy.tcp.chain import ToxicSpec

_ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LONG_BODY = 16 * 1024  # takes long enough to read to hold up the traffic; only a populate has reason to be longer
_AT_ONCE = 100  # proxies in an answer, likewise
_JSON = "application/json"
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded and has no query."""

    method: str
    path: str
    body: bytes
    user_agent: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """`matched` says that a route was found for the path and the method. With `stream`, the body is what that gives."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    matched: bool = True
    stream: AsyncIterator[bytes] | None = None


Handler = Callable[[Request, list[str]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is the path's segments; "*" is any one of them and becomes an argument."""

    pattern: tuple[str, ...]
    handlers: Mapping[str, Handler] = field(default_factory=dict)

    def arguments(self, segments: list[str]) -> list[str] | None:
        if len(segments) != len(self.pattern):
            return None
        pairs = list(zip(self.pattern, segments, strict=True))
        if any(segment == "" if part == "*" else segment != part for part, segment in pairs):
            return None
        return [segment for part, segment in pairs if part == "*"]


class Api:
    """`handle` never raises; what a client did wrong is in the response."""

    def __init__(self, collection: Collection, version: str, metrics: Metrics | None = None) -> None:
        self._collection = collection
        self._version = version
        self._metrics = metrics
        self._reader = ThreadPoolExecutor(1, "long-bodies")  # one, or they would take turns with the loop
        change_proxy, change_toxic = self._update_proxy, self._update_toxic
        self._routes: tuple[Route, ...] = (
            Route(("proxies",), {"GET": self._list_proxies, "POST": self._create_proxy}),
            Route(
                ("proxies", "*"),
                {"GET": self._get_proxy, "POST": change_proxy, "PATCH": change_proxy, "DELETE": self._delete_proxy},
            ),
            Route(("proxies", "*", "toxics"), {"GET": self._list_toxics, "POST": self._add_toxic}),
            Route(
                ("proxies", "*", "toxics", "*"),
                {"GET": self._get_toxic, "POST": change_toxic, "PATCH": change_toxic, "DELETE": self._remove_toxic},
            ),
            Route(("reset",), {"POST": self._reset}),
            Route(("populate",), {"POST": self._populate}),
            Route(("version",), {"GET": self._get_version}),
        )
        if metrics is not None:
            self._routes += (Route(("metrics",), dict.fromkeys(_ANY_METHOD, self._get_metrics)),)

    def extend(self, routes: tuple[Route, ...]) -> None:
        """Serve more than Toxiproxy does."""
        self._routes += routes

    async def handle(self, request: Request) -> Response:
        segments = request.path.split("/")[1:]
        known = False
        for route in self._routes:
            arguments = route.arguments(segments)
            if arguments is None:
                continue
            known = True
            handler = route.handlers.get(request.method)
            if handler is not None:
                if len(request.body) > _LONG_BODY and handler != self._populate:
                    return failure(ApiError(f"body longer than {_LONG_BODY} bytes", 413))
                return await self._run(handler, request, arguments)
        if known:
            return Response(405, matched=False)
        return _plain(404, "404 page not found\n", matched=False)

    async def _run(self, handler: Handler, request: Request, arguments: list[str]) -> Response:
        # A web page must not be able to drive a proxy on its reader's machine.
        if request.user_agent.startswith("Mozilla/"):
            return _plain(403, "User agent not allowed\n")
        try:
            return await handler(request, arguments)
        except ApiError as error:
            return failure(error)

    # Proxies.

    async def _list_proxies(self, request: Request, arguments: list[str]) -> Response:
        members = await _encoded(self._collection.all(), lambda proxy: {proxy.name: proxy_json(proxy)})
        return Response(200, b"{" + b",".join([member[1:-1] for member in members]) + b"}", _JSON)

    async def _create_proxy(self, request: Request, arguments: list[str]) -> Response:
        return _json(201, proxy_json(await self._collection.create(read_spec(request.body))))

    async def _get_proxy(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, proxy_json(self._collection.get(arguments[0])))

    async def _update_proxy(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        fields = Fields(gojson.decode(request.body), "Proxy", whole="toxiproxy.Proxy")
        fields.string("name")  # read for its type only; a proxy keeps its name
        back_after_ms = read_milliseconds(fields, "for")
        listen, upstream, enabled = fields.string("listen"), fields.string("upstream"), fields.boolean("enabled")
        try:
            await proxy.update(
                proxy.listen if listen is None else listen,
                proxy.upstream if upstream is None else upstream,
                proxy.enabled if enabled is None else enabled,
            )
        except ListenError as error:
            raise listen_failed(error) from None
        if back_after_ms is not None and not proxy.enabled:
            proxy.enable_after(back_after_ms)
        await proxy.settled()
        return _json(200, proxy_json(proxy))

    async def _delete_proxy(self, request: Request, arguments: list[str]) -> Response:
        await self._collection.delete(arguments[0])
        return Response(204)

    # Toxics.

    async def _list_toxics(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        return _json(200, [toxic_json(entry) for entry in proxy.chain.all()])

    async def _add_toxic(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        fields = Fields(gojson.decode(request.body), "ToxicWrapper", whole="toxics.ToxicWrapper")
        entry = read_toxic(fields, proxy.chain)
        proxy.add_toxic(entry)
        return _json(200, toxic_json(entry))

    async def _get_toxic(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, toxic_json(self._collection.get(arguments[0]).chain.get(arguments[1])))

    async def _update_toxic(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        present = proxy.chain.get(arguments[1])
        fields = Fields(gojson.decode(request.body), "", whole="toxics.ToxicWrapper")
        # All of the body is read before any of it takes effect; in the real server its first part may.
        attributes = read_attributes(fields, present.stage.go_name, present.stage.go_integer, present.attributes)
        toxicity = fields.float32("toxicity")
        entry = proxy.update_toxic(present.name, attributes, present.toxicity if toxicity is None else toxicity)
        return _json(200, toxic_json(entry))

    async def _remove_toxic(self, request: Request, arguments: list[str]) -> Response:
        self._collection.get(arguments[0]).remove_toxic(arguments[1])
        return Response(204)

    # The whole server.

    async def _reset(self, request: Request, arguments: list[str]) -> Response:
        await self._collection.reset()
        return Response(204)

    async def _populate(self, request: Request, arguments: list[str]) -> Response:
        try:
            result = await self._collection.populate(await self._specs(request.body))
        except ApiError as error:
            result = Populated(error=error)
        status, begin = 201, b"{"
        if result.error is not None:
            status = result.error.status
            begin = gojson.encode({"error": result.error.message, "status": status})[:-1] + b","
        # Go prints an empty slice that was never made as null, and clients have come to expect it.
        made = b"[" + b",".join(await _encoded(result.proxies, proxy_json)) + b"]" if result.proxies else b"null"
        return Response(status, begin + b'"proxies":' + made + b"}", _JSON)

    async def _specs(self, body: bytes) -> list[ProxySpec]:
        if len(body) <= _LONG_BODY:
            return read_specs(body)
        read = await asyncio.get_running_loop().run_in_executor(self._reader, _read_long, body)
        if isinstance(read, ApiError):
            raise read
        return read

    async def _get_metrics(self, request: Request, arguments: list[str]) -> Response:
        assert self._metrics is not None, "the route is there only with them"
        text = "" if request.method == "HEAD" else self._metrics.text()
        return Response(200, text.encode(), CONTENT_TYPE)

    async def _get_version(self, request: Request, arguments: list[str]) -> Response:
        text = gojson.encode(self._version).decode()
        return Response(200, f'{{"version": {text}}}\n'.encode(), "application/json;charset=utf-8")


def _read_long(body: bytes) -> list[ProxySpec] | ApiError:
    """Beside the loop, which can interrupt it, but not the garbage collector, which would find nothing but work.

    A refusal is returned, for its traceback would keep all that was read until the collector finds it.
    """
    gc.disable()
    try:
        return read_specs(body)
    except ApiError as error:
        return error.with_traceback(None)
    finally:
        gc.enable()


def failure(error: ApiError) -> Response:
    """The JSON of an error, under the content type that Go's http.Error leaves."""
    return Response(
        error.status,
        gojson.encode({"error": error.message, "status": error.status}) + b"\n",
        _PLAIN,
        (("X-Content-Type-Options", "nosniff"),),
    )


def proxy_json(proxy: Proxy) -> dict[str, Any]:
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "Logger": {},  # an accident of the real server that some clients compare
        "toxics": [toxic_json(entry) for entry in proxy.chain.all()],
    }


def toxic_json(entry: ToxicSpec) -> dict[str, Any]:
    """Without a window, byte for byte what the real server sends."""
    window = {"after": entry.window.after, "for": entry.window.lasting}
    return {
        "attributes": dataclasses.asdict(entry.attributes),
        "name": entry.name,
        "type": entry.stage.kind,
        "stream": entry.stream,
        "toxicity": gojson.float32(entry.toxicity),
        **{name: value for name, value in window.items() if value is not None},
    }


async def _encoded(proxies: list[Proxy], describe: Callable[[Proxy], object]) -> list[bytes]:
    """The JSON of each. The traffic goes on during a long list."""
    encoded = []
    for number, proxy in enumerate(proxies, start=1):
        encoded.append(gojson.encode(describe(proxy)))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return encoded


def _json(status: int, value: object) -> Response:
    return Response(status, gojson.encode(value), _JSON)


def _plain(status: int, text: str, *, matched: bool = True) -> Response:
    return Response(status, text.encode(), _PLAIN, (("X-Content-Type-Options", "nosniff"),), matched)
