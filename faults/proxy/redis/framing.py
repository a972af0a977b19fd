"""Where the frames of a Redis connection begin and end: RESP2, RESP3, inline commands, pipelines.

A framer is fed what a socket read and answers with *pieces*: spans of its `buffer`, one after the other from offset 0,
that together are exactly the bytes it was fed. Nothing is decoded that a rule or the journal does not need, bulk
strings are skipped by their length, and no byte is ever changed. What is not a whole frame yet is kept, up to
HOLD_BYTES; a larger frame is handed on in several pieces, so a bulk of any size costs bounded memory.

A stream that is not RESP sets `broken` to the reason. The pieces before the damage are still right; `rest` gives the
bytes from the damage on, and the framer must not be fed again.
"""

from taskchaos.faults.proxy.redis.commands import inline_arguments

HOLD_BYTES = 1024 * 1024
LINE_BYTES = 64 * 1024  # of an inline command, as in the server
_HEADER_BYTES = 32
_MOST_ELEMENTS = 1 << 31
_LARGEST_BULK = 1 << 32
_CRLF = b"\r\n"
_NUMBERS = {b"%d" % number: number for number in range(1024)}
_COUNTS = {b"*%d" % number: number for number in range(1, 64)}
_HEADS = [b"$%d" % number for number in range(1024)]

#: Arguments and end of a request. Arguments None: a large request goes on. Empty: nothing that the server answers.
#: The flag says that the frame ends with this piece; of a large one the first piece has the arguments seen so far.
RequestPiece = tuple[list[bytes] | None, int, bool]
#: End of a piece of a reply, whether a frame begins with it, and whether it ends with it.
ReplyPiece = tuple[int, bool, bool]

_STAR, _DOLLAR = b"*$"
_LINES = frozenset(b"+-:_,#(")  # one line: strings, errors, numbers, null, double, boolean, big number
_BULKS = frozenset(b"$=!")  # a length and so many bytes: bulk string, verbatim string, bulk error
_SINGLES = frozenset(b"*~>")  # a number of elements: array, set, push
_MAP, _ATTRIBUTE = b"%|"
_KINDS = _LINES | _BULKS | _SINGLES | frozenset(b"%|")


def _number(text: bytes) -> int:
    """A length or count; -1 for null and -2 for what is neither."""
    number = _NUMBERS.get(text)
    if number is not None:
        return number
    if text.isdigit() and len(text) <= 10:
        return int(text)
    return -1 if text == b"-1" else -2


class _Framer:
    """What both directions share: the bytes kept until there are enough of them."""

    def __init__(self) -> None:
        self.buffer = b""
        self.broken = ""
        self._kept: list[bytes] = []
        self._have = 0
        self._want = 0  # no use to look again before so many bytes are there
        self._left = 0  # elements that the current frame still lacks
        self._at = 0  # offset in the kept bytes at which the next element begins
        self._large = False  # the current frame is handed on in pieces
        self._skip = 0  # bytes of the current bulk of a large frame that are still to come

    @property
    def within(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._have or self._left or self._large)

    def rest(self) -> bytes:
        """What has been kept back; nothing is kept afterwards."""
        kept, self._kept, self._have = b"".join(self._kept), [], 0
        return kept

    def _gather(self, data: bytes) -> bool:
        """Put `data` behind what was kept; whether it is worth to look at the `buffer`."""
        if not self._have:
            self.buffer = data
            return True
        self._kept.append(data)
        self._have += len(data)
        if self._have < self._want and self._have <= HOLD_BYTES:
            self.buffer = b""
            return False
        self.buffer = self.rest()
        return True

    def _keep(self, start: int, position: int, want: int) -> None:
        """Keep the buffer from `start` on; the next element begins at `position` and ends at `want` at the earliest."""
        kept = self.buffer[start:] if start else self.buffer
        self._kept = [kept] if kept else []
        self._have = len(kept)
        self._at = position - start
        self._want = want - start

    def _break(self, start: int, reason: str) -> None:
        self.broken = reason
        self._keep(start, start, start)


class RequestFramer(_Framer):
    """What a client sends."""

    def __init__(self) -> None:
        super().__init__()
        self._arguments: list[bytes] = []

    def feed(self, data: bytes) -> list[RequestPiece]:
        """The pieces that `data` completes."""
        pieces: list[RequestPiece] = []
        if not self._gather(data):
            return pieces
        start, position = 0, self._at
        self._at = 0
        if self._large:
            start = position = self._go_on(pieces)
        size = len(self.buffer)
        looked = False
        while not self.broken and not self._have and not self._large:
            if self._left == 0:
                if not looked:
                    looked = True
                    start = position = self._plain(start, pieces)
                if position == size:
                    break
                position = self._begin(start, pieces)
                if position <= start:
                    break  # not a whole line yet, or broken
                if self._left == 0:
                    start = position
                    continue
            position = self._bulks(start, position)
            if position < 0:
                if self._have > HOLD_BYTES and not self.broken:
                    self._hand_on_head(pieces)
                break
            pieces.append((self._arguments, position, True))
            start = position
        return pieces

    def _plain(self, start: int, pieces: list[RequestPiece]) -> int:
        """Read the whole frames of short arguments from `start` on, at several times the speed; where they end."""
        parts = (self.buffer[start:] if start else self.buffer).split(_CRLF)
        last, index = len(parts) - 1, 0
        counts, heads = _COUNTS, _HEADS
        try:
            while index < last:
                end = index + 1 + 2 * counts[parts[index]]
                arguments = parts[index + 2 : end : 2]
                if end > last or parts[index + 1 : end : 2] != [heads[len(argument)] for argument in arguments]:
                    break
                start += len(b"  ".join(parts[index:end])) + 2
                pieces.append((arguments, start, True))
                index = end
        except (KeyError, IndexError):
            pass  # an inline command, a long argument, or one with a line end in it: those are read step by step
        return start

    def _begin(self, start: int, pieces: list[RequestPiece]) -> int:
        """Read the head of an array, or an inline command, and return where it ends; `start` if it is not whole."""
        buffer = self.buffer
        if buffer[start] != _STAR:
            return self._inline(start, pieces)
        end = buffer.find(_CRLF, start, start + _HEADER_BYTES)
        if end < 0:
            return self._short(start, start)
        count = _number(buffer[start + 1 : end])
        negative = buffer[start + 1 : start + 2] == b"-" and buffer[start + 2 : end].isdigit()  # the server skips it
        if (count == -2 and not negative) or count > _MOST_ELEMENTS:
            self._break(start, "invalid multibulk length")
            return start
        if count <= 0:
            pieces.append(([], end + 2, True))
        else:
            self._left = count
            self._arguments = []
        return end + 2

    def _inline(self, start: int, pieces: list[RequestPiece]) -> int:
        end = self.buffer.find(b"\n", start, start + LINE_BYTES)
        if end < 0:
            if len(self.buffer) - start >= LINE_BYTES:
                self._break(start, "too big inline request")
            else:
                self._keep(start, start, len(self.buffer) + 1)
            return start
        pieces.append((inline_arguments(self.buffer[start:end]), end + 1, True))
        return end + 1

    def _bulks(self, start: int, position: int) -> int:
        """Read the arguments of the frame that began at `start` and return where it ends; -1 if it is not whole."""
        buffer, arguments, left = self.buffer, self._arguments, self._left
        size, find, numbers = len(buffer), buffer.find, _NUMBERS
        while left:
            end = find(_CRLF, position, position + _HEADER_BYTES)
            if end < 0:
                self._left = left
                self._short(start, position)
                return -1
            length = numbers.get(buffer[position + 1 : end], -1)
            if length < 0:
                length = _number(buffer[position + 1 : end])
            if buffer[position] != _DOLLAR or not 0 <= length <= _LARGEST_BULK:
                self._break(start, "expected a bulk string")
                return -1
            stop = end + 2 + length
            if stop + 2 > size:
                self._left = left
                self._keep(start, position, stop + 2)
                return -1
            if buffer[stop : stop + 2] != _CRLF:
                self._break(start, "a bulk string does not end where it should")
                return -1
            arguments.append(buffer[end + 2 : stop])
            position = stop + 2
            left -= 1
        self._left = 0
        return position

    def _short(self, start: int, position: int) -> int:
        """The header line at `position` has no end yet."""
        strange = start != position and position < len(self.buffer) and self.buffer[position] != _DOLLAR
        if strange or len(self.buffer) - position >= _HEADER_BYTES:
            self._break(start, "expected a bulk string")
        else:
            self._keep(start, position, len(self.buffer) + 1)
        return start

    def _hand_on_head(self, pieces: list[RequestPiece]) -> None:
        """The frame is larger than what is kept: hand on what there is, and remember where its elements are."""
        kept, at, want = self._have, self._at, self._want
        offset = len(self.buffer) - kept
        header = self.buffer.find(_CRLF, offset + at, offset + at + _HEADER_BYTES)
        arguments = [*self._arguments]
        self._large = True
        if header >= 0:
            arguments.append(self.buffer[header + 2 :])
            self.rest()
            self._skip = want - kept
            pieces.append((arguments, len(self.buffer), False))
        else:
            self._keep(offset + at, offset + at, offset + want)
            pieces.append((arguments, offset + at, False))
        self._arguments = []

    def _go_on(self, pieces: list[RequestPiece]) -> int:
        """Walk on through a large frame; where it ends, or the end of the buffer."""
        buffer = self.buffer
        size, position = len(buffer), 0
        while True:
            if self._skip:
                step = min(self._skip, size - position)
                self._skip -= step
                position += step
                if self._skip:
                    pieces.append((None, position, False))
                    return position
                self._left -= 1
            if self._left == 0:
                self._large = False
                pieces.append((None, position, True))
                return position
            end = buffer.find(_CRLF, position, position + _HEADER_BYTES)
            if end < 0:
                if position:
                    pieces.append((None, position, False))
                self._short(position, position)
                return position
            length = _number(buffer[position + 1 : end])
            if buffer[position] != _DOLLAR or not 0 <= length <= _LARGEST_BULK:
                if position:
                    pieces.append((None, position, False))
                self._break(position, "expected a bulk string")
                return position
            self._skip = length + 2
            position = end + 2


class ReplyFramer(_Framer):
    """What a server sends. Nested types are only counted: the frame ends when no element is missing any more."""

    def feed(self, data: bytes) -> list[ReplyPiece]:
        """The pieces that `data` completes."""
        pieces: list[ReplyPiece] = []
        if not self._gather(data):
            return pieces
        start, position, left = self._resume(pieces)
        buffer = self.buffer
        size, find, numbers = len(buffer), buffer.find, _NUMBERS
        while position < size:
            left = left or 1
            kind = buffer[position]
            end = find(_CRLF, position)
            if end < 0 or kind not in _KINDS:
                self._line_without_end(pieces, start, position, left)
                return pieces
            if kind in _LINES:
                position = end + 2
                left -= 1
            else:
                count = numbers.get(buffer[position + 1 : end], -1)
                if count < 0:
                    count = _number(buffer[position + 1 : end])
                if kind in _BULKS:
                    stop = end + 4 + count if count >= 0 else end + 2
                    if count < -1 or count > _LARGEST_BULK or (stop <= size and buffer[stop - 2 : stop] != _CRLF):
                        self._fail(pieces, start, position, "not a bulk string")
                        return pieces
                    if stop > size:
                        self._pause(pieces, start, position, stop, left, bulk=True)
                        return pieces
                    position = stop
                    left -= 1
                else:
                    added = _elements(kind, count)
                    if added < 0:
                        self._fail(pieces, start, position, "not a number of elements")
                        return pieces
                    position = end + 2
                    left += added - 1
            if left == 0:
                pieces.append((position, not self._large, True))
                self._large = False
                start = position
        self._left = left
        if start < size:
            self._pause(pieces, start, position, size + 1, left)
        return pieces

    def _resume(self, pieces: list[ReplyPiece]) -> tuple[int, int, int]:
        """Where the current piece began, where to read on, and how many elements are missing."""
        position, left = self._at, self._left
        self._at = 0
        if not self._skip:
            return 0, position, left
        size = len(self.buffer)
        position = min(self._skip, size)
        self._skip -= position
        if self._skip or left == 0:
            pieces.append((position, False, not self._skip))
            self._large = bool(self._skip)
            return position, position, left
        return 0, position, left

    def _line_without_end(self, pieces: list[ReplyPiece], start: int, position: int, left: int) -> None:
        kind, length = self.buffer[position], len(self.buffer) - position
        if kind not in _KINDS:
            self._fail(pieces, start, position, "not a type of reply")
        elif length > (HOLD_BYTES if kind in _LINES else _HEADER_BYTES):
            self._fail(pieces, start, position, "a line has no end")
        else:
            self._pause(pieces, start, position, len(self.buffer) + 1, left)

    def _pause(
        self, pieces: list[ReplyPiece], start: int, position: int, want: int, left: int, *, bulk: bool = False
    ) -> None:
        """The frame is not whole; its element at `position` ends at `want` at the earliest. Keep it, or hand it on."""
        size = len(self.buffer)
        self._left = left
        if not self._large and size - start <= HOLD_BYTES:
            self._keep(start, position, want)
            return
        if bulk:
            position = size
            self._skip = want - size
            self._left = left - 1
        if position > start:
            pieces.append((position, not self._large, False))
            self._large = True
        self._keep(position, position, want)

    def _fail(self, pieces: list[ReplyPiece], start: int, position: int, reason: str) -> None:
        if self._large and position > start:
            pieces.append((position, False, False))
            start = position
        self._break(start, reason)


def _elements(kind: int, count: int) -> int:
    """How many elements an aggregate brings; -1 if it is none."""
    if count < 0:
        return 0 if count == -1 and kind == _STAR else -1
    if count > _MOST_ELEMENTS:
        return -1
    if kind in _SINGLES:
        return count
    if kind == _MAP:
        return 2 * count
    return 2 * count + 1 if kind == _ATTRIBUTE else -1
