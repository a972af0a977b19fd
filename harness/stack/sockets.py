"""The connections from this network namespace to one port, with the bytes that have passed on each.

The kernel says so over netlink (sock_diag, as `ss -ti` asks it), to anybody and without a privilege. Where it does not
answer, /proc/net/tcp has the connections, and not what passes on them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_ESTABLISHED = 1
_INFO = 2  # the extension with struct tcp_info
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_QUERY = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ID = struct.Struct("!HH16s16s4s8s")  # ports, addresses, interface, cookie
_ANY_COOKIE = b"\xff" * 8
_ID_AT, _ATTRIBUTES_AT = 4, 72  # in struct inet_diag_msg
_BYTES = struct.Struct("=QQ")  # acknowledged by the other side, received from it
_BYTES_AT = 120  # in struct tcp_info
_SYN = 1  # counts as a byte that was acknowledged


@dataclass(frozen=True, slots=True)
class Socket:
    """One established connection. key: no other one ever has it. sent, received: bytes; None: not known."""

    key: str
    local: str
    sent: int | None = None
    received: int | None = None


def connections(host: str, port: int) -> list[Socket]:
    """The established connections from here to this IPv4 address and port. Raises OSError when nothing can be told."""
    try:
        return list(_ask_kernel(socket.inet_aton(host), port))
    except OSError:
        return list(_read_table(socket.inet_aton(host), port))


def _ask_kernel(address: bytes, port: int) -> Iterator[Socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        query = _QUERY.pack(socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, 1 << _ESTABLISHED)
        query += _ID.pack(0, port, b"", b"", b"", _ANY_COOKIE)
        netlink.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + query)
        while True:
            data, at = netlink.recv(1 << 17), 0
            while at < len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("sock_diag is refused")
                found = _socket(data[at + _HEADER.size : at + length], address, port)
                if found is not None:
                    yield found
                at += (length + 3) & ~3


def _socket(message: bytes, address: bytes, port: int) -> Socket | None:
    here, there, source, destination, _, cookie = _ID.unpack_from(message, _ID_AT)
    if there != port or destination[:4] != address:
        return None
    local = f"{socket.inet_ntoa(source[:4])}:{here}"
    at = _ATTRIBUTES_AT
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INFO and length >= 4 + _BYTES_AT + _BYTES.size:
            acknowledged, received = _BYTES.unpack_from(message, at + 4 + _BYTES_AT)
            return Socket(cookie.hex(), local, max(0, acknowledged - _SYN), received)
        at += max(4, (length + 3) & ~3)
    return Socket(cookie.hex(), local)


def _read_table(address: bytes, port: int) -> Iterator[Socket]:
    wanted = f"{int.from_bytes(address, 'little'):08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[2] == wanted and int(columns[3], 16) == _ESTABLISHED:
            here, _, number = columns[1].partition(":")
            local = socket.inet_ntoa(int(here, 16).to_bytes(4, "little"))
            yield Socket(columns[9], f"{local}:{int(number, 16)}")
