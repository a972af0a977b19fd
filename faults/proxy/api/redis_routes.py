"""The routes that Toxiproxy does not have: rules at Redis commands, the journal, events, connections, script names."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.api.routes import Request, Response, Route
from taskchaos.faults.proxy.api.rule_bodies import members, read_rule, rule_json
from taskchaos.faults.proxy.collection import Collection
from taskchaos.faults.proxy.errors import ApiError
from taskchaos.faults.proxy.redis.capture import Captures, wrong_with

_JSON = "application/json"
_LINES = "application/x-ndjson"
#: That a journal may be about: each is searched for in every command and every reply.
MOST_PATTERNS = 4
_LINES_PER_TURN = 200  # of the event loop: the traffic goes on while someone reads a long journal


class RedisRoutes:
    """Handlers for `Api`; what they refuse they refuse with an ApiError."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._server_state = collection.server_state

    def routes(self) -> tuple[Route, ...]:
        rule = {"GET": self._get_rule, "PATCH": self._change_rule, "POST": self._change_rule}
        return (
            Route(("proxies", "*", "rules"), {"GET": self._list_rules, "POST": self._add_rule}),
            Route(("proxies", "*", "rules", "*"), {**rule, "DELETE": self._remove_rule}),
            Route(("proxies", "*", "rules", "*", "release"), {"POST": self._release}),
            Route(("proxies", "*", "journal"), {"GET": self._get_journaling, "POST": self._set_journaling}),
            Route(("proxies", "*", "traffic"), {"GET": self._traffic}),
            Route(("connections",), {"GET": self._connections}),
            Route(("journal",), {"GET": self._journal}),
            Route(("events",), {"GET": self._events}),
            Route(("scripts",), {"GET": self._list_scripts, "POST": self._name_script}),
        )

    # Rules.

    async def _list_rules(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, [rule_json(rule) for rule in self._collection.get(arguments[0]).inspector.rules])

    async def _add_rule(self, request: Request, arguments: list[str]) -> Response:
        inspector = self._collection.get(arguments[0]).inspector
        return _json(201, rule_json(inspector.add(read_rule(members(request.body)))))

    async def _get_rule(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, rule_json(self._collection.get(arguments[0]).inspector.get(arguments[1])))

    async def _change_rule(self, request: Request, arguments: list[str]) -> Response:
        inspector = self._collection.get(arguments[0]).inspector
        rule = inspector.get(arguments[1])
        inspector.update(rule, read_rule(members(request.body), rule.spec))
        return _json(200, rule_json(rule))

    async def _remove_rule(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, rule_json(self._collection.get(arguments[0]).inspector.remove(arguments[1])))

    async def _release(self, request: Request, arguments: list[str]) -> Response:
        rule = self._collection.get(arguments[0]).inspector.get(arguments[1])
        return _json(200, {"released": rule.release()})

    # What is seen.

    async def _get_journaling(self, request: Request, arguments: list[str]) -> Response:
        inspector = self._collection.get(arguments[0]).inspector
        about = {"about": list(inspector.about.patterns)} if inspector.about is not None else {}
        return _json(200, {"enabled": inspector.journal, **about})

    async def _set_journaling(self, request: Request, arguments: list[str]) -> Response:
        inspector = self._collection.get(arguments[0]).inspector
        given = members(request.body)
        enabled, about = given.get("enabled"), given.get("about", [])
        if not isinstance(enabled, bool):
            raise ApiError("enabled must be true or false", 400)
        inspector.keep_journal(enabled, _captures(about))
        return await self._get_journaling(request, arguments)

    async def _traffic(self, request: Request, arguments: list[str]) -> Response:
        inspector = self._collection.get(arguments[0]).inspector
        return _json(200, inspector.traffic(_since(_query(request)) or 0))

    async def _connections(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, [peer for proxy in self._collection.all() for peer in proxy.inspector.peers()])

    async def _journal(self, request: Request, arguments: list[str]) -> Response:
        query = _query(request)
        return Response(200, content_type=_LINES, stream=self._lines(_since(query) or 0, query.get("proxy", "")))

    async def _lines(self, since: int, proxy: str) -> AsyncIterator[bytes]:
        lines: list[str] = []
        for entry in self._server_state.journal.entries(since, proxy):
            lines.append(entry.line())
            if len(lines) == _LINES_PER_TURN:
                yield "".join(lines).encode()
                lines.clear()
                await asyncio.sleep(0)
        if lines:
            yield "".join(lines).encode()

    async def _events(self, request: Request, arguments: list[str]) -> Response:
        query = _query(request)
        since = _since(query)
        if query.get("follow", "true") in ("false", "0"):
            return Response(200, content_type=_LINES, stream=self._kept_events(since or 0))
        return Response(200, content_type=_LINES, stream=self._server_state.follow(since))

    async def _kept_events(self, since: int) -> AsyncIterator[bytes]:
        events = self._server_state.events(since)
        for first in range(0, len(events), _LINES_PER_TURN):
            yield b"".join([event.line() for event in events[first : first + _LINES_PER_TURN]])
            await asyncio.sleep(0)

    # Script names.

    async def _list_scripts(self, request: Request, arguments: list[str]) -> Response:
        return _json(200, self._server_state.scripts)

    async def _name_script(self, request: Request, arguments: list[str]) -> Response:
        given = members(request.body)
        sha, name = given.get("sha"), given.get("name")
        if not isinstance(sha, str) or len(sha) != 40 or not set(sha.lower()) <= set("0123456789abcdef"):
            raise ApiError("sha must be the 40 hexadecimal digits of a script's SHA1", 400)
        if not isinstance(name, str) or not name:
            raise ApiError("name must be a text", 400)
        self._server_state.scripts[sha.lower()] = name
        return _json(200, {"sha": sha.lower(), "name": name})


def _captures(about: object) -> Captures | None:
    """Raises ApiError 400."""
    if not isinstance(about, list) or not all(isinstance(pattern, str) and pattern for pattern in about):
        raise ApiError("about must be a list of regular expressions", 400)
    if len(about) > MOST_PATTERNS:
        raise ApiError(f"about may have {MOST_PATTERNS} regular expressions", 400)
    for pattern in about:
        if why := wrong_with(pattern):
            raise ApiError(f"about cannot be looked for: {pattern}: {why}", 400)
    return Captures(about) if about else None


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}


def _since(query: dict[str, str]) -> int | None:
    text = query.get("since")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise ApiError("since must be a whole number", 400)
    return int(text)


def _json(status: int, value: Any) -> Response:
    return Response(status, gojson.encode(value), _JSON)
