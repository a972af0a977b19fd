"""The REST API of Toxiproxy 2.12: routes, bodies in and out. It knows no HTTP framing; `http` does.

The order of the checks and the order of the members in the answers are part of the contract.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import gojson
from .chain import Direction, Entry
from .collection import Collection, Populated, ProxySpec
from .errors import (
    ApiError,
    ListenError,
    bad_request,
    invalid_stream,
    invalid_toxic_type,
    listen_failed,
    missing_field,
    toxic_exists,
)
from .gojson import Fields
from .proxy import Proxy
from .toxics import find

_JSON = "application/json"
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded and has no query."""

    method: str
    path: str
    body: bytes
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """`matched` says that a route was found for the path and the method."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    matched: bool = True


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

    def __init__(self, collection: Collection, version: str) -> None:
        self._collection = collection
        self._version = version
        change_proxy, change_toxic = self._update_proxy, self._update_toxic
        self._routes = (
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
        return _json(200, {proxy.name: proxy_json(proxy) for proxy in self._collection.all()})

    async def _create_proxy(self, request: Request, arguments: list[str]) -> Response:
        fields = Fields(gojson.decode(request.body), "Proxy", whole="toxiproxy.Proxy")
        spec = _read_spec(fields)
        _require(spec)
        return _json(201, proxy_json(await self._collection.create(spec)))

    async def _get_proxy(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, proxy_json(self._collection.get(arguments[0])))

    async def _update_proxy(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        fields = Fields(gojson.decode(request.body), "Proxy", whole="toxiproxy.Proxy")
        fields.string("name")  # read for its type only; a proxy keeps its name
        listen, upstream, enabled = fields.string("listen"), fields.string("upstream"), fields.boolean("enabled")
        try:
            await proxy.update(
                proxy.listen if listen is None else listen,
                proxy.upstream if upstream is None else upstream,
                proxy.enabled if enabled is None else enabled,
            )
        except ListenError as error:
            raise listen_failed(error) from None
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
        entry = _read_toxic(Fields(gojson.decode(request.body), "ToxicWrapper", whole="toxics.ToxicWrapper"), proxy)
        proxy.add_toxic(entry)
        return _json(200, toxic_json(entry))

    async def _get_toxic(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, toxic_json(self._collection.get(arguments[0]).chain.get(arguments[1])))

    async def _update_toxic(self, request: Request, arguments: list[str]) -> Response:
        proxy = self._collection.get(arguments[0])
        present = proxy.chain.get(arguments[1])
        fields = Fields(gojson.decode(request.body), "", whole="toxics.ToxicWrapper")
        # All of the body is read before any of it takes effect; in the real server its first part may.
        attributes = _read_attributes(fields, present.stage.go_name, present.attributes)
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
            result = await self._collection.populate(read_specs(request.body))
        except ApiError as error:
            result = Populated(error=error)
        answer: dict[str, Any] = {}
        if result.error is not None:
            answer = {"error": result.error.message, "status": result.error.status}
        # Go prints an empty slice that was never made as null, and clients have come to expect it.
        answer["proxies"] = [proxy_json(proxy) for proxy in result.proxies] or None
        return _json(result.error.status if result.error is not None else 201, answer)

    async def _get_version(self, request: Request, arguments: list[str]) -> Response:
        text = gojson.encode(self._version).decode()
        return Response(200, f'{{"version": {text}}}\n'.encode(), "application/json;charset=utf-8")


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


def toxic_json(entry: Entry) -> dict[str, Any]:
    return {
        "attributes": dataclasses.asdict(entry.attributes),
        "name": entry.name,
        "type": entry.stage.kind,
        "stream": entry.stream,
        "toxicity": gojson.float32(entry.toxicity),
    }


def read_specs(body: bytes) -> list[ProxySpec]:
    """The proxies of a populate body or a config file, all of them checked. Raises ApiError 400."""
    go_type = "[]toxiproxy.Proxy"
    fields = [Fields(value, "", whole="toxiproxy.Proxy") for value in gojson.elements(gojson.decode(body), go_type)]
    specs = [_read_spec(each) for each in fields]
    for number, spec in enumerate(specs, start=1):
        _require(spec, f" at proxy {number}")
    return specs


def _read_spec(fields: Fields) -> ProxySpec:
    enabled = fields.boolean("enabled")
    return ProxySpec(
        name=fields.string("name") or "",
        listen=fields.string("listen") or "",
        upstream=fields.string("upstream") or "",
        enabled=True if enabled is None else enabled,
    )


def _require(spec: ProxySpec, where: str = "") -> None:
    for name, value in (("name", spec.name), ("upstream", spec.upstream)):
        if not value:
            raise missing_field(f"{name}{where}")


def _read_toxic(fields: Fields, proxy: Proxy) -> Entry:
    name, kind, stream = fields.string("name"), fields.string("type"), fields.string("stream")
    toxicity = fields.float32("toxicity")
    if stream is None:
        stream = Direction.DOWNSTREAM.value
    if stream.lower() not in set(Direction):
        raise invalid_stream()
    stage = find(kind or "")
    if stage is None:
        raise invalid_toxic_type()
    name = name or f"{kind}_{stream}"
    if proxy.chain.has(name):
        raise toxic_exists()
    return Entry(
        name=name,
        stage=stage,
        stream=stream,
        direction=Direction(stream.lower()),
        toxicity=1.0 if toxicity is None else toxicity,
        attributes=_read_attributes(fields, stage.go_name, stage.Attributes()),
    )


def _read_attributes(fields: Fields, go_name: str, present: Any) -> Any:
    """`present` with what the body gives; members that the toxic does not have are ignored."""
    members = fields.child("attributes", f"toxics.{go_name}", go_name)
    given = {each.name: members.int64(each.name) for each in dataclasses.fields(present)}
    try:
        return dataclasses.replace(present, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:  # a value that the toxic refuses
        raise bad_request(str(error)) from None


def _json(status: int, value: object) -> Response:
    return Response(status, gojson.encode(value), _JSON)


def _plain(status: int, text: str, *, matched: bool = True) -> Response:
    return Response(status, text.encode(), _PLAIN, (("X-Content-Type-Options", "nosniff"),), matched)
