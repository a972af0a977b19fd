"""The framers: any valid stream, split anywhere, gives its frames and exactly its bytes; garbage gives its bytes."""

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resp_support import request

from taskchaos.faults.proxy.redis import framing as resp
from taskchaos.faults.proxy.redis.commands import inline_arguments
from taskchaos.faults.proxy.redis.framing import ReplyFramer, RequestFramer

TOKENS = [
    b"*",
    b"$",
    b"+",
    b"-",
    b":",
    b"%",
    b">",
    b"|",
    b"\r\n",
    b"1",
    b"3",
    b"-1",
    b"0",
    b"OK",
    b"\r",
    b"\n",
    b"\xff",
]
binary = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(TOKENS), max_size=8).map(b"".join))
line = st.binary(max_size=20).map(lambda data: data.replace(b"\r", b"").replace(b"\n", b""))


def _bulk(kind: bytes, data: bytes) -> bytes:
    return kind + b"%d\r\n%s\r\n" % (len(data), data)


def _aggregate(kind: bytes, items: list[bytes], per_entry: int = 1) -> bytes:
    return kind + b"%d\r\n" % (len(items) // per_entry) + b"".join(items)


scalars = st.one_of(
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(12345678901234567890\r\n"]),
    st.integers().map(lambda number: b":%d\r\n" % number),
    line.map(lambda text: b"+" + text + b"\r\n"),
    line.map(lambda text: b"-ERR " + text + b"\r\n"),
    binary.map(lambda data: _bulk(b"$", data)),
    binary.map(lambda data: _bulk(b"!", data)),
    binary.map(lambda data: _bulk(b"=", b"txt:" + data)),
)
replies = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: _aggregate(b"*", items)),
        st.lists(inner, max_size=4).map(lambda items: _aggregate(b"~", items)),
        st.lists(inner, min_size=1, max_size=4).map(lambda items: _aggregate(b">", items)),
        st.lists(inner, max_size=2).map(lambda items: _aggregate(b"%", [*items, *items], 2)),
        st.tuples(scalars, scalars, inner).map(lambda parts: b"|1\r\n" + b"".join(parts)),
    ),
    max_leaves=12,
)
commands = st.one_of(
    st.lists(binary, min_size=1, max_size=5).map(lambda words: request(*words)),
    st.sampled_from([b"PING\r\n", b"set a 1\n", b"\r\n", b"*0\r\n", b"*-1\r\n", b"*-7\r\n", b"set \"a b\" 'c'\r\n"]),
)
cuts = st.lists(st.integers(1, 30), min_size=1, max_size=30)


def split(stream: bytes, sizes: list[int]) -> list[bytes]:
    parts, position = [], 0
    while position < len(stream):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream[position : position + size])
        position += size
    return parts


def frames_of(framer: RequestFramer | ReplyFramer, parts: list[bytes]) -> tuple[list[bytes], bytes]:
    """The whole frames, and what is left."""
    frames, current = [], b""
    for number, part in enumerate(parts):
        start = 0
        for piece in framer.feed(part):
            if isinstance(framer, RequestFramer):
                first, end, last = piece[0] is not None, piece[1], piece[2]
            else:
                end, first, last = piece
            assert isinstance(end, int)
            assert first is (current == b"")
            current += framer.buffer[start:end]
            start = end
            if last:
                frames.append(current)
                current = b""
        if framer.broken:
            return frames, current + framer.rest() + b"".join(parts[number + 1 :])
    return frames, current + framer.rest()


@pytest.mark.parametrize("hold", [60, resp.HOLD_BYTES])
@given(st.lists(commands, max_size=6), cuts)
@settings(max_examples=300, deadline=None)
def test_requests_may_be_split_anywhere(hold: int, stream: list[bytes], sizes: list[int]) -> None:
    """With little to hold, frames come in pieces; the pieces are the frames all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resp, "HOLD_BYTES", hold)
        assert frames_of(RequestFramer(), split(b"".join(stream), sizes)) == (stream, b"")
        assert frames_of(RequestFramer(), [b"".join(stream)]) == (stream, b"")


@pytest.mark.parametrize("hold", [60, resp.HOLD_BYTES])
@given(st.lists(replies, max_size=6), cuts)
@settings(max_examples=300, deadline=None)
def test_replies_may_be_split_anywhere(hold: int, stream: list[bytes], sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resp, "HOLD_BYTES", hold)
        assert frames_of(ReplyFramer(), split(b"".join(stream), sizes)) == (stream, b"")
        assert frames_of(ReplyFramer(), [b"".join(stream)]) == (stream, b"")


@given(st.lists(st.lists(binary, min_size=1, max_size=5), max_size=5), cuts)
@settings(deadline=None)
def test_arguments_are_read_from_split_requests(stream: list[list[bytes]], sizes: list[int]) -> None:
    framer = RequestFramer()
    found = [
        piece[0] for part in split(b"".join(request(*words) for words in stream), sizes) for piece in framer.feed(part)
    ]
    assert found == stream


@given(st.lists(replies, max_size=5))
@settings(deadline=None)
def test_hiredis_counts_the_same_frames(stream: list[bytes]) -> None:
    if b"|1\r\n" in b"".join(stream):
        return  # hiredis knows no attributes
    oracle = hiredis.Reader(notEnoughData=Ellipsis)
    oracle.feed(b"".join(stream))
    count = 0
    try:
        while oracle.gets() is not Ellipsis:
            count += 1
    except (hiredis.ProtocolError, TypeError):
        return  # maps with keys that Python cannot hash are not for hiredis
    assert len(frames_of(ReplyFramer(), [b"".join(stream)])[0]) == count


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(TOKENS), max_size=60).map(b"".join)), cuts)
@settings(max_examples=500, deadline=None)
def test_garbage_keeps_its_bytes(garbage: bytes, sizes: list[int]) -> None:
    for framer in (RequestFramer(), ReplyFramer()):
        frames, rest = frames_of(framer, split(garbage, sizes))
        assert b"".join(frames) + rest == garbage


@pytest.mark.parametrize(
    ("inline", "words"),
    [
        (b"set a 1", [b"set", b"a", b"1"]),
        (b"  PING\r", [b"PING"]),
        (b"set \"a b\" 'c d'", [b"set", b"a b", b"c d"]),
        (b'set ""', [b"set", b""]),
        (b"", []),
    ],
)
def test_inline_arguments_are_split_and_unquoted(inline: bytes, words: list[bytes]) -> None:
    assert inline_arguments(inline) == words


def test_a_large_frame_costs_no_memory() -> None:
    framer = RequestFramer()
    framer.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4000000000\r\n")
    for _ in range(50):
        framer.feed(b"x" * 100_000)
        assert sum(len(kept) for kept in framer._kept) <= resp.HOLD_BYTES
