"""What a message has to look like before Celery sees it.

Celery believes what headers and properties hold: an empty text for a time or one number for two raises where nobody
catches it, which ends the worker; the next one gets the same message. So all that it will look at is checked first.
The names and types are those of protocol 2: https://docs.celeryq.dev/en/stable/internals/protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery.utils.time import maybe_iso8601

Check = Callable[[Any], bool]
LONGEST = 100


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _time(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = maybe_iso8601(value)
        except (ValueError, TypeError, AttributeError):
            return False
    return isinstance(value, datetime)


def _limits(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(v is None or _number(v) for v in value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_text, value))


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _signature(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("task"), str)


def _signatures(value: Any) -> bool:
    return _sequence(value) and all(map(_signature, value))


_SAID: Mapping[Check, str] = {
    _text: "a text",
    _count: "a whole number from 0",
    _number: "a number",
    _time: "a time in ISO 8601",
    _limits: "two numbers",
    _flag: "true or false",
    _texts: "a list of texts",
    _mapping: "a mapping",
    _sequence: "a list",
    _signature: "a signature",
    _signatures: "a list of signatures",
}

#: Of headers, and of a body in protocol 1. Any of them may be missing or null.
_FIELDS: Mapping[str, Check] = {
    **dict.fromkeys(("lang", "root_id", "parent_id", "group", "argsrepr", "kwargsrepr", "origin", "shadow"), _text),
    **dict.fromkeys(("meth", "compression", "lr", "lr_lock", "lr_job", "lr_new"), _text),
    **dict.fromkeys(("retries", "replaced_task_nesting", "group_index"), _count),
    **dict.fromkeys(("eta", "expires"), _time),
    "lr_previous_s": _number,
    "timelimit": _limits,
    "ignore_result": _flag,
    "stamped_headers": _texts,
    "stamps": _mapping,
}
_PROPERTIES: Mapping[str, Check] = {
    **dict.fromkeys(("correlation_id", "reply_to", "body_encoding", "delivery_tag"), _text),
    "delivery_info": _mapping,
    "priority": _number,
}
_DELIVERY: Mapping[str, Check] = {**dict.fromkeys(("exchange", "routing_key"), _text), "priority": _number}
_TOP: Mapping[str, Check] = {
    **dict.fromkeys(("body", "content-type", "content-encoding"), _text),
    **dict.fromkeys(("headers", "properties"), _mapping),
}
_EMBEDDED: Mapping[str, Check] = {
    **dict.fromkeys(("callbacks", "errbacks", "chain"), _signatures),
    "chord": _signature,
}


def _fault(values: Mapping[Any, Any], checks: Mapping[str, Check], where: str) -> str:
    for name, value in values.items():
        if value is None:
            continue
        check = checks.get(name)
        if check is not None and not check(value):
            return f"{where}{name} has to be {_SAID[check]}, not {_shown(value)}"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def fault_in(payload: Any) -> str:
    """What is wrong with a message as it was queued, its body not looked into; "" for nothing."""
    if not isinstance(payload, dict):
        return f"a message has to be a mapping, not {_shown(payload)}"
    fault = _fault(payload, _TOP, "")
    if fault:
        return fault
    headers, properties = payload.get("headers"), payload.get("properties")
    if headers is None or properties is None:
        return "it has no headers" if headers is None else "it has no properties"
    if payload.get("body") is None:
        return "it has no body"
    fault = _fault(headers, _FIELDS, "header ") or _fault(properties, _PROPERTIES, "property ")
    info = properties.get("delivery_info")
    fault = fault or (_fault(info, _DELIVERY, "delivery_info ") if info else "")
    return fault or ("" if "task" not in headers else _nameless(headers, "header "))


def without_faults(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message's headers and properties can be believed, for whoever waits for its result."""
    kept = dict(payload)
    for name, checks in (("headers", _FIELDS), ("properties", _PROPERTIES)):
        values = payload.get(name)
        found = values.items() if isinstance(values, dict) else ()
        kept[name] = {n: v for n, v in found if v is None or n not in checks or checks[n](v)}
    return kept


def fault_in_body(body: Any, headers: Mapping[str, Any]) -> str:
    """What is wrong with a decoded body; "" for nothing. Without a task in the headers it is one of protocol 1."""
    if "task" in headers and not isinstance(body, dict):
        if not (_sequence(body) and len(body) == 3):
            return "its body is not args, kwargs and options"
        args, kwargs, embedded = body
        parts = {"args": args, "kwargs": kwargs, "embed": embedded or {}}
    elif isinstance(body, dict):
        fault = _fault(body, _FIELDS, "field ") or ("" if "task" in headers else _nameless(body, "field "))
        if fault:
            return fault
        parts = {"args": body.get("args", ()), "kwargs": body.get("kwargs", {}), "embed": body}
    else:
        return "its body is no task"
    for name, check in (("args", _sequence), ("kwargs", _mapping), ("embed", _mapping)):
        if not check(parts[name]):
            return f"{name} has to be {_SAID[check]}, not {_shown(parts[name])}"
    return _fault(parts["embed"], _EMBEDDED, "")


def _nameless(values: Mapping[str, Any], where: str) -> str:
    for name in ("task", "id"):
        if not isinstance(values.get(name), str) or not values[name]:
            return f"{where}{name} has to be a text, not {_shown(values.get(name))}"
    return ""
