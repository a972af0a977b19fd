"""What is known of Redis commands: where their keys are, which scripts they call, what they do to a connection."""

import zlib
from collections.abc import Sequence

#: What a client sends before it starts to work; the first command after these tells what the connection is for.
HANDSHAKE = frozenset({b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"PING", b"COMMAND", b"INFO"})

#: Commands that change how the connection is read, or what later commands mean.
_SCRIPTED = (b"EVAL", b"EVAL_RO", b"EVALSHA", b"EVALSHA_RO", b"FCALL", b"FCALL_RO")
_SUBSCRIBING = (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE")
_UNSUBSCRIBING = (b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE")
ENDS = frozenset({b"EXEC", b"DISCARD"})  # of a MULTI block
_SESSION = (b"MULTI", b"EXEC", b"DISCARD", b"CLIENT", b"HELLO", b"SCRIPT", b"MONITOR", b"SYNC", b"PSYNC", b"RESET")
SCRIPTS = frozenset(_SCRIPTED)
SUBSCRIBES = frozenset(_SUBSCRIBING)
UNSUBSCRIBES = frozenset(_UNSUBSCRIBING)

#: Commands that change how the connection is read, or what later commands mean.
STATEFUL = frozenset({*_SESSION, *_SCRIPTED, *_SUBSCRIBING, *_UNSUBSCRIBING})

_NO_KEYS = HANDSHAKE | {
    *(b"MULTI", b"EXEC", b"DISCARD", b"UNWATCH", b"SCRIPT", b"FUNCTION", b"CONFIG", b"ACL", b"MONITOR", b"QUIT"),
    *(b"ECHO", b"TIME", b"DBSIZE", b"FLUSHALL", b"FLUSHDB", b"KEYS", b"SCAN", b"RANDOMKEY", b"WAIT", b"CLUSTER"),
    *(b"SYNC", b"PSYNC", b"RESET", b"SAVE", b"BGSAVE", b"LASTSAVE", b"SLOWLOG", b"LATENCY", b"SHUTDOWN", b"ROLE"),
    *(b"DEBUG", b"SWAPDB", b"BGREWRITEAOF", b"REPLICAOF", b"READONLY", b"READWRITE"),
}
_ALL = {
    *(b"DEL", b"UNLINK", b"EXISTS", b"TOUCH", b"MGET", b"WATCH", b"SINTER", b"SUNION", b"SDIFF", b"SINTERSTORE"),
    *(b"SUNIONSTORE", b"SDIFFSTORE", b"PFCOUNT", b"PFMERGE"),
    *SUBSCRIBES,
    *UNSUBSCRIBES,
}
_ALL_BUT_LAST = {b"BRPOP", b"BLPOP", b"BZPOPMIN", b"BZPOPMAX"}
_PAIRS = {b"MSET", b"MSETNX"}
_TWO = {b"RPOPLPUSH", b"BRPOPLPUSH", b"LMOVE", b"BLMOVE", b"SMOVE", b"RENAME", b"RENAMENX", b"COPY", b"ZRANGESTORE"}
_SECOND = {b"OBJECT", b"MEMORY", b"XGROUP", b"XINFO"}
# Where the number of keys stands; the keys follow it.
_NUMBERED = {
    **dict.fromkeys(SCRIPTS, 2),
    **dict.fromkeys((b"ZUNION", b"ZINTER", b"ZDIFF", b"LMPOP", b"ZMPOP", b"SINTERCARD", b"ZINTERCARD"), 1),
    **dict.fromkeys((b"BLMPOP", b"BZMPOP"), 2),
    **dict.fromkeys((b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE"), 2),
}
_DESTINATION = {b"ZUNIONSTORE", b"ZINTERSTORE", b"ZDIFFSTORE"}
_STREAMS = {b"XREAD", b"XREADGROUP"}
_OTHERS = frozenset({*_NO_KEYS, *_ALL, *_ALL_BUT_LAST, *_PAIRS, *_TWO, *_SECOND, *_NUMBERED, *_STREAMS, b"BITOP"})

_SHOWN_ARGUMENTS = 12
_SHOWN_BYTES = 128


def key_positions(name: bytes, arguments: Sequence[bytes]) -> Sequence[int]:
    """The indexes of the keys (for pub/sub: the channels) of a command. Unknown commands: the first argument."""
    size = len(arguments)
    if name not in _OTHERS:
        return range(1, min(2, size))
    if name in _NO_KEYS:
        return ()
    if name in _ALL:
        return range(1, size)
    if name in _ALL_BUT_LAST:
        return range(1, size - 1)
    if name in _PAIRS:
        return range(1, size, 2)
    if name in _TWO:
        return range(1, min(3, size))
    if name in _SECOND:
        return range(2, min(3, size))
    if name == b"BITOP":
        return range(2, size)
    if name in _STREAMS:
        return _stream_positions(arguments)
    at = _NUMBERED[name]
    count = int(arguments[at]) if at < size and arguments[at].isdigit() and len(arguments[at]) < 7 else 0
    keys = range(at + 1, min(at + 1 + count, size))
    return [1, *keys] if name in _DESTINATION else keys


def _stream_positions(arguments: Sequence[bytes]) -> Sequence[int]:
    for index, argument in enumerate(arguments):
        if argument.upper() == b"STREAMS":
            first = index + 1
            return range(first, first + (len(arguments) - first) // 2)
    return ()


def keys_of(name: bytes, arguments: Sequence[bytes]) -> list[bytes]:
    """The keys of a command."""
    return [arguments[index] for index in key_positions(name, arguments)]


Parts = tuple[bytes | int, ...]


def parts_of(name: bytes, arguments: list[bytes]) -> Parts:
    """A command for the journal: keys and the script's sha as they are, checksums (CRC-32) for all other values."""
    if name not in _OTHERS and 1 < len(arguments) <= _SHOWN_ARGUMENTS and len(arguments[1]) <= _SHOWN_BYTES:
        return (arguments[1], *map(zlib.crc32, arguments[2:]))
    shown = arguments[: _SHOWN_ARGUMENTS + 1]
    keys = set(key_positions(name, arguments))
    if name in SCRIPTS:
        keys.add(2)
        if not name.startswith(b"EVAL") or name.startswith(b"EVALSHA"):
            keys.add(1)
    return tuple(
        argument[:_SHOWN_BYTES] if index in keys else zlib.crc32(argument)
        for index, argument in enumerate(shown)
        if index
    )


def text(data: bytes) -> str:
    """Bytes for people and JSON; what is not UTF-8 is escaped."""
    return data.decode("utf-8", "backslashreplace")


def inline_arguments(line: bytes) -> list[bytes]:
    """The words of an inline command; quotes as the server reads them, near enough to name the command."""
    if b'"' not in line and b"'" not in line:
        return line.split()
    words, word, quote = [], bytearray(), 0
    begun = False
    for byte in line.rstrip(b"\r"):
        if quote:
            if byte == quote:
                quote = 0
            else:
                word.append(byte)
        elif byte in b"\"'":
            quote, begun = byte, True
        elif byte in b" \t":
            if word or begun:
                words.append(bytes(word))
            word, begun = bytearray(), False
        else:
            word.append(byte)
    if word or begun:
        words.append(bytes(word))
    return words
