"""HTTP/1.1 for the API, by h11 over an asyncio protocol.

One request at a time per connection, keep-alive, and the header quirks of Go's server that clients can see.
"""

import asyncio
import base64
import os
import posixpath
import re
import sys
import time
import traceback
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import cast

import h11

from taskchaos.faults.proxy.api.routes import Api, Request, Response

_READ_LIMIT_S = 15.0
_IDLE_LIMIT_S = 60.0
_BODY_LIMIT_BYTES = 128 * 1024  # a thousand proxies, and no more than can be read without holding up the rest
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")


class ApiProtocol(asyncio.Protocol):
    """One client of the API."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._http = h11.Connection(h11.SERVER)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._streaming = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._set_limit(_READ_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._set_limit(None)
        self._stop_stream()
        # A request that is being answered is finished anyway: half of a change would be worse.

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._read_events()

    def eof_received(self) -> bool:
        self._http.receive_data(b"")
        self._read_events()
        self._stop_stream()
        return self._answering is not None and not self._streaming  # keep the socket open for the answer

    def _read_events(self) -> None:
        while self._answering is None and self._transport is not None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return
            match event:
                case h11.Request():
                    self._request = event
                    self._body.clear()
                    self._set_limit(_READ_LIMIT_S)
                    if self._http.they_are_waiting_for_100_continue:
                        self._send(h11.InformationalResponse(status_code=100, headers=[]))
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > _BODY_LIMIT_BYTES:
                        self._refuse(413)
                        return
                case h11.EndOfMessage():
                    self._set_limit(None)
                    self._answering = self._loop.create_task(self._answer())
                case h11.ConnectionClosed():
                    self._close()
                    return
                case _:  # NEED_DATA or PAUSED
                    return

    async def _answer(self) -> None:
        assert self._request is not None
        try:
            response = await self._respond(self._request, bytes(self._body))
        except Exception:  # a defect of this server; the client is told, and the server goes on
            traceback.print_exc(file=sys.stderr)
            response = Response(500, b"internal error, see stderr of the proxy\n", "text/plain; charset=utf-8")
        if response.stream is not None:
            self._send_head(response)
            await self._send_stream(response.stream)
        self._answering = None
        self._send_response(response)

    async def _respond(self, request: h11.Request, body: bytes) -> Response:
        path = _decoded_path(request.target)
        if path is None:
            return Response(400, b"400 Bad Request", "text/plain; charset=utf-8", matched=False)
        clean = _clean_path(path)
        if clean != path:
            return Response(301, headers=(("Location", _quoted(clean)),), matched=False)
        query = request.target.partition(b"?")[2].decode("latin-1")
        agent = next((value for name, value in request.headers if name == b"user-agent"), b"")
        return await self._api.handle(Request(request.method.decode(), path, body, agent.decode("latin-1"), query))

    def _send_response(self, response: Response) -> None:
        if self._transport is None:
            return
        if response.stream is None:
            self._send_head(response)
        if response.body:
            self._send(h11.Data(data=response.body))
        self._send(h11.EndOfMessage())
        if self._http.our_state is h11.MUST_CLOSE:
            self._close()
            return
        self._http.start_next_cycle()
        self._set_limit(_IDLE_LIMIT_S)
        self._read_events()

    async def _send_stream(self, stream: AsyncIterator[bytes]) -> None:
        """A body whose length nobody knows, as fast as the client reads it; cancelled when the client is gone."""
        self._streaming = True
        try:
            async for data in stream:
                self._send(h11.Data(data=data))
                await self._writable.wait()
        finally:
            self._streaming = False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _stop_stream(self) -> None:
        if self._streaming and self._answering is not None:
            self._answering.cancel()

    def _send_head(self, response: Response) -> None:
        headers = [("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))]
        if response.content_type:
            headers.append(("Content-Type", response.content_type))
        if response.matched:
            headers.append(("X-Toxiproxy-Request-Id", _request_id()))
        if response.status != 204 and response.stream is None:
            headers.append(("Content-Length", str(len(response.body))))
        headers.extend(response.headers)
        self._send(h11.Response(status_code=response.status, headers=headers, reason=_reason(response.status)))

    def _refuse(self, status: int) -> None:
        """Answer something that is not a request we can read, and close."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f"{status} Bad Request".encode()
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
            headers.append(("Content-Length", str(len(body))))
            self._send(h11.Response(status_code=status, headers=headers, reason=_reason(status)))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._close()

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if self._transport is not None and data:
            self._transport.write(data)

    def _close(self) -> None:
        self._set_limit(None)
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _set_limit(self, seconds: float | None) -> None:
        """Close the connection if nothing more has come after this time."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None if seconds is None else self._loop.call_later(seconds, self._close)


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase


def _decoded_path(target: bytes) -> str | None:
    """The path of a request target without its query and escapes; None if it is malformed."""
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):  # the absolute form, as sent to proxies
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    if path.count(b"%") != len(_ESCAPE.findall(path)):
        return None
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), path).decode("utf-8", "replace")


def _clean_path(path: str) -> str:
    """Without empty and dot segments; a slash at the end stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))  # it would keep two slashes at the start
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _quoted(path: str) -> str:
    from urllib.parse import quote  # only redirects need it, and it is slow to import

    return quote(path, safe="/:@!$&'()*+,;=~")


def _request_id() -> str:
    """20 characters of the alphabet that the real server's ids have."""
    return base64.b32hexencode(os.urandom(13)).decode()[:20].lower()
