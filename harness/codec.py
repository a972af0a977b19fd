"""Dataclasses to plain JSON values and back, with errors that name the place.

Plans, events and verdicts are frozen dataclasses; files hold their JSON. Decoding is strict about types and
lenient about unknown keys, so that a newer file can still be read.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast

from taskchaos.faults.bounds import shown

T = TypeVar("T")
#: JSON knows no bounds (in Python not even that of finite numbers); what reads the values does.
_LONGEST_NUMBER = 20
_LARGEST = 1e300


class CodecError(ValueError):
    """A value does not fit its type; the message starts with the path to it, such as `schedule[0].at_s`."""


def encode(value: Any) -> Any:
    """The JSON value of a dataclass, enum, collection or scalar. Sets are sorted, so that output is stable."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(encode(k)): encode(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(encode(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return value


def decode(cls: type[T], data: Any, path: str = "") -> T:
    """A `cls` from its JSON value. Raises CodecError naming the path of what does not fit."""
    return cast(T, _decode(cls, data, path))


def _decode(kind: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        return _decode_optional(kind, data, path)
    if origin in (tuple, list, frozenset, set):
        return _decode_sequence(origin, typing.get_args(kind), data, path)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        _expect(isinstance(data, dict), path, "an object", data)
        key, item = typing.get_args(kind)
        return {_decode_key(key, k, path): _decode(item, v, f"{path}.{k}") for k, v in data.items()}
    if is_dataclass(kind):
        return _decode_dataclass(cast(type, kind), data, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except (ValueError, TypeError):
            raise CodecError(f"{path}: {shown(data)} is none of {', '.join(str(m.value) for m in kind)}") from None
    return _decode_scalar(kind, data, path)


def _decode_key(kind: Any, text: str, path: str) -> Any:
    if kind is not int:
        return _decode(kind, text, path)
    _expect(text.isascii() and text.isdecimal() and len(text) < _LONGEST_NUMBER, path, "whole numbers as keys", text)
    return int(text)


def _decode_optional(kind: Any, data: Any, path: str) -> Any:
    options = [a for a in typing.get_args(kind) if a is not type(None)]
    if data is None:
        _expect(len(options) < len(typing.get_args(kind)), path, "a value", data)
        return None
    if type(data) in options:
        return data  # 0 stays 0 where both int and float are allowed
    error: CodecError | None = None
    for option in options:
        try:
            return _decode(option, data, path)
        except CodecError as failed:
            error = error or failed
    raise error or CodecError(f"{path}: cannot be read")


def _decode_sequence(origin: Any, args: tuple[Any, ...], data: Any, path: str) -> Any:
    _expect(isinstance(data, list), path, "a list", data)
    return origin(_decode(args[0], v, f"{path}[{i}]") for i, v in enumerate(data))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode_dataclass(kind: type, data: Any, path: str) -> Any:
    _expect(isinstance(data, dict), path, "an object", data)
    values: dict[str, Any] = {}
    for f in fields(kind):
        where = f"{path}.{f.name}" if path else f.name
        if f.name in data:
            values[f.name] = _decode(_hints(kind)[f.name], data[f.name], where)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise CodecError(f"{where}: missing")
    try:
        return kind(**values)
    except CodecError:
        raise
    except ValueError as error:  # a bound that the type itself keeps
        raise CodecError(f"{path}: {error}" if path else str(error)) from None


def _decode_scalar(kind: Any, data: Any, path: str) -> Any:
    if kind is float:
        _expect(isinstance(data, (int, float)) and not isinstance(data, bool), path, "a number", data)
        _expect(abs(data) < _LARGEST, path, "a finite number", data)
        return float(data)
    if kind is int:
        _expect(isinstance(data, int) and not isinstance(data, bool), path, "a whole number", data)
        _expect(abs(data) < 1 << 63, path, "a number of 64 bits", data)
    elif isinstance(kind, type):
        _expect(isinstance(data, kind), path, f"a {kind.__name__}", data)
    return data


def _expect(holds: bool, path: str, wanted: str, data: Any) -> None:
    if not holds:
        raise CodecError(f"{path or 'value'}: wanted {wanted}, got {shown(data)}")
