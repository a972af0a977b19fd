"""Addresses as Go's net package writes and refuses them: ``host:port``, ``[v6]:port``, ``:port``, names, services."""

import asyncio
import socket
from dataclasses import dataclass

from taskchaos.faults.proxy.errors import ListenError

WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Address:
    """A numeric host (or "" for all) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split(text: str) -> tuple[str, str]:
    """Host and port of `text`, both unchecked. Raises ListenError with Go's text."""
    host, colon, port = text.rpartition(":")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ListenError(f"address {text}: missing port in address")
        return host[1:-1], port
    if not colon or text.endswith("]"):
        raise ListenError(f"address {text}: missing port in address")
    if ":" in host:
        raise ListenError(f"address {text}: too many colons in address")
    return host, port


async def resolve(text: str) -> Address:
    """The numeric address of `text`, IPv4 first; an empty text is any port on all interfaces.

    Raises ListenError with Go's text, without the "listen tcp" before it.
    """
    if not text:
        return Address("", 0)
    host, service = split(text)
    port = port_number(service)
    if host in WILDCARDS or _numeric(host):
        return Address(host, port)
    if host == "localhost":
        return Address("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise ListenError(f"lookup {host}: no such host") from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return Address(str(found[0][4][0]), port)


def port_number(service: str) -> int:
    """The number of a port, or of a service by name; 0 if empty. Raises ListenError with Go's text."""
    if not service:
        return 0
    if service.isascii() and service.isdigit():
        if len(service) > 5 or int(service) > 65535:
            raise ListenError(f"address {service}: invalid port")
        return int(service)
    try:
        return socket.getservbyname(service, "tcp")
    except OSError:
        raise ListenError(f"lookup tcp/{service}: unknown port") from None


def _numeric(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
