"""The command line of the server: Toxiproxy's flags, with one dash or two, and a few of its own."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPATIBLE_VERSION = "2.12.0"
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


@dataclass(frozen=True, slots=True)
class Options:
    """`seed` None means dice that differ in each run; `loop` is "auto", "uvloop" or "asyncio"."""

    host: str
    port: int
    config: Path | None
    seed: int | None
    dial_timeout_s: float
    version: str
    loop: str
    journal: Path | None
    journal_everything: bool
    proxy_metrics: bool
    runtime_metrics: bool


def parse(arguments: Sequence[str] | None) -> Options:
    """Ends the process if the arguments make no sense, or ask for help or the version."""
    parser = argparse.ArgumentParser(
        prog="python -m taskchaos.faults.proxy",
        description="A TCP proxy with Toxiproxy's REST API. Prints one line of JSON with its address when it listens.",
        allow_abbrev=False,
    )
    add_toxiproxy_flags(parser)
    parser.add_argument(
        "--dial-timeout", type=float, default=10.0, metavar="S", help="seconds to reach an upstream (default: 10)"
    )
    parser.add_argument("--report-version", default=COMPATIBLE_VERSION, metavar="V", help="what GET /version answers")
    parser.add_argument("--loop", choices=("auto", "uvloop", "asyncio"), default="auto", help="event loop to run on")
    parser.add_argument(
        "--journal",
        nargs="?",
        const="",
        metavar="FILE",
        help="keep a journal of every Redis command, and append it to FILE",
    )
    given = parser.parse_args(arguments)
    return Options(
        host=given.host,
        port=given.port,
        config=given.config,
        seed=given.seed,
        dial_timeout_s=given.dial_timeout,
        version=given.report_version,
        loop=given.loop,
        journal=Path(given.journal) if given.journal else None,
        journal_everything=given.journal is not None,
        proxy_metrics=given.proxy_metrics,
        runtime_metrics=given.runtime_metrics,
    )


def add_toxiproxy_flags(parser: argparse.ArgumentParser) -> None:
    """Go takes one dash and two for the same, so scripts have both."""

    def flag(name: str, **settings: Any) -> None:
        parser.add_argument(f"--{name}", f"-{name}", **settings)

    def switch(name: str, text: str) -> None:
        flag(name, nargs="?", const=True, default=False, type=_truth, metavar="BOOL", help=text)

    flag("host", default="127.0.0.1", metavar="HOST", help="where the API listens (default: %(default)s)")
    flag("port", type=int, default=8474, metavar="PORT", help="port of the API, 0 for any (default: %(default)s)")
    flag("config", type=Path, metavar="FILE", help="proxies to create at start: a JSON array as for POST /populate")
    flag("seed", type=int, metavar="N", help="seed of all dice: toxicity, jitter, slices (default: random)")
    switch("proxy-metrics", "serve the bytes of each proxy under /metrics")
    switch("runtime-metrics", "serve figures of the process under /metrics")
    version = f"toxiproxy-server version {COMPATIBLE_VERSION}"
    flag("version", action="version", version=version, help="print the version of Toxiproxy that this is compatible to")


def _truth(text: str) -> bool:
    """What Go takes for a boolean."""
    try:
        return _TRUTHS[text]
    except KeyError:
        raise argparse.ArgumentTypeError(f"not a boolean: {text}") from None
