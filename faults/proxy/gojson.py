"""JSON as Go reads and writes it: strict integers, keys in any case, and the error texts that clients know.

Python's decoder would accept ``100.0`` for an integer; a harness that tests against this server must learn of that
mistake here, not on the day it meets the real one. Numbers therefore stay literals until their type is known.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from taskchaos.faults.proxy.errors import ApiError, bad_request

_INT64 = range(-(2**63), 2**63)
_WHITESPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written."""

    literal: str


def decode(body: bytes) -> object:
    """The first JSON value of `body`, keys in lower case, numbers as `Number`; what follows it is ignored, as Go does.

    Raises ApiError (400) with the text of Go's decoder.
    """
    text = body.decode("utf-8", "replace")
    start = 0
    while start < len(text) and text[start] in _WHITESPACE:
        start += 1
    if start == len(text):
        raise bad_request("EOF")
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _syntax_error(text, error) from None
    except RecursionError:
        raise bad_request("exceeded max depth") from None
    return value


def encode(value: object) -> bytes:
    """Compact JSON with Go's escapes of HTML characters."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace")


def float32(value: float) -> int | float:
    """`value` as Go prints a float32: the shortest decimal that reads back as the same float32."""
    single = _as_float32(value)
    if single == int(single):
        return int(single)
    for digits in range(1, 10):
        shortest = float(f"{single:.{digits}g}")
        if _as_float32(shortest) == single:
            return shortest
    return single


def _as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


class Fields:
    """The members of one JSON object, read with Go's strictness.

    `target` names the Go struct in error texts, `path` the members above this object. ``null`` means "absent".
    """

    def __init__(self, value: object, target: str, *, whole: str = "", path: str = "") -> None:
        self._target = target
        self._path = path
        self._members: Mapping[str, object] = {}
        if isinstance(value, dict):
            self._members = value
        elif value is not None:
            raise bad_request(f"json: cannot unmarshal {_kind(value)} into Go value of type {whole or target}")

    def string(self, name: str) -> str | None:
        value = self._members.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._refused(name, _kind(value), "string")

    def boolean(self, name: str) -> bool | None:
        value = self._members.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self._refused(name, _kind(value), "bool")

    def int64(self, name: str, go_type: str = "int64") -> int | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, Number):
            raise self._refused(name, _kind(value), go_type)
        try:
            number = int(value.literal)
        except ValueError:  # a fraction, an exponent, or more digits than Python converts
            number = _INT64.stop
        if number not in _INT64:
            raise self._refused(name, f"number {value.literal}", go_type)
        return number

    def float32(self, name: str) -> float | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, Number):
            raise self._refused(name, _kind(value), "float32")
        try:
            single = _as_float32(float(value.literal))
        except OverflowError:
            single = math.inf
        if math.isinf(single):
            raise self._refused(name, f"number {value.literal}", "float32")
        return single

    def child(self, name: str, go_type: str, target: str) -> "Fields":
        """The object under `name`; an absent one has no members."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._refused(name, _kind(value), go_type)
        return Fields(value, target, path=f"{name}.")

    def children(self, name: str, go_type: str, target: str) -> list["Fields"]:
        """The objects of the array under `name`; an absent one has none."""
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._refused(name, _kind(value), go_type)
        return [Fields(each, target, whole=go_type.removeprefix("[]")) for each in value]

    def _refused(self, name: str, found: str, wanted: str) -> ApiError:
        field = f"{self._target}.{self._path}{name}"
        return bad_request(f"json: cannot unmarshal {found} into Go struct field {field} of type {wanted}")


def elements(value: object, go_type: str) -> list[object]:
    """The elements of a JSON array; ``null`` is an empty one."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise bad_request(f"json: cannot unmarshal {_kind(value)} into Go value of type {go_type}")


def _kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case Number():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.lower(): value for key, value in pairs}


def _constant(name: str) -> NoReturn:
    """Python would accept NaN and Infinity."""
    if name.startswith("-"):
        raise bad_request("invalid character 'I' in numeric literal")
    raise bad_request(f"invalid character '{name[0]}' looking for beginning of value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_constant, strict=True
)

_AFTER = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def _syntax_error(text: str, error: json.JSONDecodeError) -> ApiError:
    position = error.pos
    while position < len(text) and text[position] in _WHITESPACE and not error.msg.startswith("Invalid"):
        position += 1
    if position >= len(text) or error.msg.startswith("Unterminated string"):
        return bad_request("unexpected EOF")
    if error.msg == "Expecting ',' delimiter":
        # The decoder does not say in what it was; the nearest opening bracket before the error is a good guess.
        inside_array = text.rfind("[", 0, position) > text.rfind("{", 0, position)
        where = "after array element" if inside_array else "after object key:value pair"
    else:
        where = _AFTER.get(error.msg, "looking for beginning of value")
    return bad_request(f"invalid character {_quote(text[position])} {where}")


def _quote(character: str) -> str:
    if character == "'":
        return "'\\''"
    escapes = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
    return f"'{escapes.get(character, character)}'"
