"""The process: arguments in, one line of JSON out when the API listens, signals, exit codes.

Unlike the real server it says which port it got, and does not stay behind without an API when it could not get one.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.api.bodies import read_specs
from taskchaos.faults.proxy.api.http import ApiProtocol
from taskchaos.faults.proxy.api.redis_routes import RedisRoutes
from taskchaos.faults.proxy.api.routes import Api
from taskchaos.faults.proxy.collection import Collection
from taskchaos.faults.proxy.errors import ApiError
from taskchaos.faults.proxy.lag import LoopLag
from taskchaos.faults.proxy.metrics import Metrics
from taskchaos.faults.proxy.options import Options, parse
from taskchaos.faults.proxy.redis.server_state import ServerState
from taskchaos.faults.proxy.tcp.dice import Dice

EXIT_FAILED = 1
_SWITCH_S = 0.0005  # the only threads read long bodies and look up names; the traffic must not wait for them


class StartError(Exception):
    """Why the server cannot start, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    options = parse(arguments)
    _allow_connections()
    sys.setswitchinterval(_SWITCH_S)
    try:
        loop = _new_loop(options.loop)
        try:
            loop.run_until_complete(_serve(options))
        finally:
            loop.close()
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    if threading.active_count() > 1:
        # Someone still waits for a name server, and Python would wait for that. Nothing is left to be written.
        os._exit(0)
    return 0


async def _serve(options: Options) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server_state = _server_state(options)
    collection = Collection(Dice.seeded(options.seed), dial_timeout_s=options.dial_timeout_s, server_state=server_state)
    sock = _listen(options.host, options.port)
    if options.config is not None:
        await _load(options.config, collection)
    metrics = None
    lag = LoopLag(loop) if options.runtime_metrics else None
    if options.proxy_metrics or lag is not None:
        metrics = Metrics(collection.traffic, proxies=options.proxy_metrics, lag=lag)
    api = Api(collection, options.version, metrics)
    api.extend(RedisRoutes(collection).routes())
    server = await loop.create_server(lambda: ApiProtocol(api), sock=sock)
    host, port = sock.getsockname()[:2]
    sys.stdout.write(f'{{"host": {gojson.encode(host).decode()}, "port": {port}}}\n')
    sys.stdout.flush()
    gc.freeze()  # what is there now stays: collections need not look at it
    await stop.wait()
    server.close()
    await collection.close()
    if lag is not None:
        lag.stop()
    server_state.close()
    await asyncio.sleep(0)  # for those who follow the events to be told


def _server_state(options: Options) -> ServerState:
    try:
        return ServerState(options.journal, journal_everything=options.journal_everything)
    except OSError as error:
        raise StartError(f"cannot write the journal {options.journal}: {error.strerror}") from None


async def _load(path: Path, collection: Collection) -> None:
    """Create the proxies of a config file, which has the form of a populate body."""
    try:
        populated = await collection.populate(read_specs(path.read_bytes()))
    except OSError as error:
        raise StartError(f"cannot read the config {path}: {error.strerror}") from None
    except ApiError as error:
        raise StartError(f"the config {path} is not valid: {error.message}") from None
    if populated.error is not None:
        raise StartError(f"the config {path} cannot be applied: {populated.error.message}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # As Go does: a host that has both is reached by IPv4.
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"the API cannot listen on {host}:{port}: {reason.lower()}") from None
    sock.setblocking(False)
    return sock


def _allow_connections() -> None:
    """As many as the system lets us have: each takes two file descriptors, and shells tend to start with 1024."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # some systems name a limit that they do not grant


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise StartError("uvloop is not installed; use --loop asyncio, or install taskchaos[fast]") from None
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
