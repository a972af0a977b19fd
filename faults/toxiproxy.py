"""The one way by which the harness drives a Toxiproxy, the embedded one or the real one.

It stands on toxiproxy-python for the calls and replaces what makes that library unsafe in a test run: its address is
global, it has no timeouts, it obeys HTTP_PROXY even for loopback, most errors pass unnoticed, and it would send
floats, which the server refuses. Whoever talks to a proxy, talks through `ToxiproxyClient`.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import requests  # with the library a third of a second, which commands that talk to no proxy do not take

_RECEIVED = "toxiproxy_proxy_received_bytes_total{"
# None for both: requests would otherwise take the proxy for "all" from the environment.
_NO_PROXIES: Mapping[str, str | None] = {"http": None, "all": None}


class Stream(StrEnum):
    """The direction that a toxic works on: UPSTREAM is client to server, DOWNSTREAM is server to client."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class Toxic:
    """A toxic as the server has it. Times in `attributes` are ms, rates KB/s; `toxicity` is a probability."""

    name: str
    type: str
    stream: Stream
    attributes: Mapping[str, int]
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy as the server has it. Clients connect to `host` and `port`; port 0 is one that never listened yet.

    A proxy that listens on all interfaces has the host "::".
    """

    name: str
    host: str
    port: int
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...] = field(default=())


class ToxiproxyError(Exception):
    """The server refused, or gave an answer that is none. `status` is the HTTP status, None if there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status)  # the default would lose the status between xdist processes


class NotFound(ToxiproxyError):
    """No proxy, or no toxic, of that name."""


class AlreadyExists(ToxiproxyError):
    """A proxy, or a toxic of that proxy, has that name already."""


class Unreachable(ToxiproxyError):
    """The server did not answer in time, or not at all."""


_BY_STATUS: Mapping[int, type[ToxiproxyError]] = {404: NotFound, 409: AlreadyExists}


class ToxiproxyClient:
    """Drives one server. Instances are independent of each other and may be used from several threads.

    `timeout_s` bounds the wait for a connection and for each piece of an answer. All methods raise `Unreachable` when
    that passes without an answer, `NotFound` for an unknown proxy or toxic, `ToxiproxyError` for all other refusals.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 3.0) -> None:
        self.timeout_s = timeout_s
        self._point_at(host, port)

    def _point_at(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._address = address(host, port)
        from toxiproxy.api import APIConsumer

        # The library keeps the address on the class, so each client has a class of its own.
        self._api: Any = type("Api", (APIConsumer,), {"host": self._address.rpartition(":")[0], "port": port})

    def version(self) -> str:
        """What the server says it is, for example "2.12.0"; the real one says "git" when built from source."""
        answer = self._call(self._api.get, "/version")
        return _text(_member(answer, "version"))

    def proxies(self) -> dict[str, ProxyState]:
        """All proxies by name."""
        answer = _mapping(self._call(self._api.get, "/proxies"))
        return {name: _proxy(state) for name, state in answer.items()}

    def proxy(self, name: str) -> ProxyState:
        """The state of one proxy."""
        return _proxy(self._call(self._api.get, _path("proxies", name)))

    def create(self, name: str, upstream: str, *, listen: str = "127.0.0.1:0", enabled: bool = True) -> ProxyState:
        """A new proxy to `upstream` ("host:port"); when this returns, an enabled one listens on the port it reports.

        Raises AlreadyExists, and ToxiproxyError (500) for an address that cannot be bound.
        """
        body = {"name": name, "listen": listen, "upstream": upstream, "enabled": enabled}
        return _proxy(self._call(self._api.post, "/proxies", body))

    def set_enabled(self, name: str, enabled: bool) -> ProxyState:
        """Disabled: all connections are closed and new ones refused. Enabled: listens on the same port, toxics kept."""
        return _proxy(self._call(self._api.post, _path("proxies", name), {"enabled": enabled}))

    def set_upstream(self, name: str, upstream: str) -> ProxyState:
        """Lead it somewhere else: all connections are closed, new ones go there. Toxics are kept."""
        return _proxy(self._call(self._api.post, _path("proxies", name), {"upstream": upstream}))

    def add_toxic(
        self, proxy: str, type: str, *, stream: Stream, attributes: Mapping[str, int], name: str | None = None
    ) -> Toxic:
        """Put a toxic at the end of the proxy's chain, effective on live connections too. Its toxicity is 1.

        Without a name the server calls it "<type>_<stream>". Raises AlreadyExists for a name in use in either stream,
        ValueError for an attribute that is not a whole number.
        """
        body: dict[str, object] = {"type": type, "stream": Stream(stream).value, "attributes": _integers(attributes)}
        body["toxicity"] = 1
        if name is not None:
            body["name"] = name
        return _toxic(self._call(self._api.post, _path("proxies", proxy, "toxics"), body))

    def update_toxic(self, proxy: str, toxic: str, attributes: Mapping[str, int]) -> Toxic:
        """Change these attributes and keep the others. Raises ValueError for one that is not a whole number."""
        body = {"attributes": _integers(attributes)}
        return _toxic(self._call(self._api.post, _path("proxies", proxy, "toxics", toxic), body))

    def remove_toxic(self, proxy: str, toxic: str) -> bool:
        """Whether it was there; it is not any more. A `timeout` toxic closes the connections that it starved."""
        return self._delete(_path("proxies", proxy, "toxics", toxic))

    def remove_toxics(self, proxy: str, toxics: Iterable[str]) -> None:
        """Remove these; those that are not there are fine."""
        for toxic in toxics:
            self.remove_toxic(proxy, toxic)

    def delete(self, name: str) -> bool:
        """Whether it was there; it is not any more, nor are its connections."""
        return self._delete(_path("proxies", name))

    def reset(self) -> None:
        """Enable every proxy and remove every toxic of the server. Raises ToxiproxyError if one cannot be enabled."""
        self._call(self._api.post, "/reset")

    def received_bytes(self, proxy: str) -> int:
        """What the clients of a proxy have sent, on connections that have ended (the embedded server: on all).

        Raises NotFound when the server serves no metrics of its proxies.
        """
        of_proxy, upstream = f'proxy="{proxy}"', 'direction="upstream"'
        for line in self._send(self._api.get, "/metrics").text.splitlines():
            if line.startswith(_RECEIVED) and of_proxy in line and upstream in line:
                return int(float(line.rpartition(" ")[2]))
        return 0

    def _delete(self, path: str) -> bool:
        try:
            self._call(self._api.delete, path)
        except NotFound:
            return False
        return True

    def _call(self, verb: Callable[..., "requests.Response"], path: str, body: object = None) -> object:
        """The JSON of a successful answer, None if it is empty."""
        response = self._send(verb, path) if body is None else self._send(verb, path, json=body)
        if not response.content:
            return None
        try:
            return json.loads(response.content)
        except ValueError:
            raise ToxiproxyError(
                f"what answers at {self._address} is no Toxiproxy: {_excerpt(response.content)}", response.status_code
            ) from None

    def _send(self, verb: Callable[..., "requests.Response"], path: str, **given: object) -> "requests.Response":
        """A successful answer."""
        import requests
        from toxiproxy import exceptions as library

        options: dict[str, object] = {"timeout": self.timeout_s, "proxies": _NO_PROXIES, "allow_redirects": False}
        options |= given
        try:
            response = verb(path, **options)
        except library.NotFound as error:
            raise _refusal(404, error.args[0]) from None
        except library.ProxyExists as error:
            raise _refusal(409, error.args[0]) from None
        except library.InvalidToxic as error:  # any 400, also about proxies
            raise _refusal(400, error.args[0]) from None
        except requests.RequestException as error:
            raise Unreachable(f"Toxiproxy at {self._address} did not answer {path}: {error}") from error
        if not 200 <= response.status_code < 300:
            raise _refusal(response.status_code, response.content)
        return response


def address(host: str, port: int) -> str:
    """ "host:port" as the server and URLs write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(status: int, content: bytes) -> ToxiproxyError:
    """The error of an answer: its own message if it has one, else what can be read of it."""
    kind = _BY_STATUS.get(status, ToxiproxyError)
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        return kind(body["error"], status)
    return kind(f"HTTP {status}: {_excerpt(content) or 'no explanation'}", status)


def _excerpt(content: bytes) -> str:
    return " ".join(content.decode("utf-8", "replace").split())[:200]


def _path(*segments: str) -> str:
    return "".join("/" + quote(segment, safe="") for segment in segments)


def _integers(attributes: Mapping[str, int]) -> dict[str, int]:
    """The attributes as the server takes them. A float without a fraction is meant as an integer; true is not."""
    return {name: _integer(name, value) for name, value in attributes.items()}


def _integer(name: str, value: object) -> int:
    if not isinstance(value, bool):
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            return int(value)
        index = getattr(value, "__index__", None)
        if index is not None:
            return int(index())
    raise ValueError(f"attribute {name} must be a whole number, not {value!r}: Toxiproxy takes integers only")


def _proxy(answer: object) -> ProxyState:
    host, _, port = _text(_member(answer, "listen")).rpartition(":")
    toxics = _member(answer, "toxics") or []
    if not isinstance(toxics, list):
        raise ToxiproxyError(f"the server's toxics are not a list: {toxics!r}")
    return ProxyState(
        name=_text(_member(answer, "name")),
        host=host.removeprefix("[").removesuffix("]"),
        port=int(port) if port.isdigit() else 0,
        upstream=_text(_member(answer, "upstream")),
        enabled=_member(answer, "enabled") is True,
        toxics=tuple(_toxic(each) for each in toxics),
    )


def _toxic(answer: object) -> Toxic:
    attributes = _mapping(_member(answer, "attributes"))
    toxicity = _member(answer, "toxicity")
    if not isinstance(toxicity, int | float):
        raise ToxiproxyError(f"the server's toxicity is not a number: {toxicity!r}")
    return Toxic(
        name=_text(_member(answer, "name")),
        type=_text(_member(answer, "type")),
        stream=Stream(_text(_member(answer, "stream")).lower()),
        attributes={name: value for name, value in attributes.items() if isinstance(value, int)},
        toxicity=float(toxicity),
    )


def _member(answer: object, name: str) -> object:
    members = _mapping(answer)
    if name not in members:
        raise ToxiproxyError(f"the server's answer has no {name!r}: {answer!r:.200}")
    return members[name]


def _mapping(answer: object) -> Mapping[str, object]:
    if not isinstance(answer, dict):
        raise ToxiproxyError(f"the server's answer is not an object: {answer!r:.200}")
    return answer


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ToxiproxyError(f"the server's answer has {value!r:.200} where a text should be")
    return value
