"""Messages as no producer should send them, made from a good one: wrong types, sizes, encodings, cut and flipped."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hostile:
    """One message, and how it was made."""

    how: str
    raw: bytes


VALUES: tuple[Any, ...] = (
    None,
    "",
    " ",
    "\udce9",
    "\x00",
    "x" * 20_000,
    "2026-13-45",
    "2020-01-01T00:00:00",
    "9999-12-31T23:59:59+00:00",
    0,
    -1,
    1,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    True,
    False,
    [],
    [1],
    [None, None],
    ["a", {"b": 1}],
    {},
    {"a": 1},
    {"__type__": "nonsense", "__value__": 1},
    {"__type__": "datetime", "__value__": "2026-11-26T12:00:00+00:00"},
)
#: In a good message of Celery's they are all there, or may be.
HEADERS = (
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    *("stamps", "compression", "meth", "lr", "lr_lock", "lr_job", "lr_new", "lr_previous_s", "lr_fence", "anything"),
)
PROPERTIES = (
    *("correlation_id", "reply_to", "delivery_mode", "delivery_info", "priority", "body_encoding", "delivery_tag"),
    *("expiration", "headers"),
)
PATHS: tuple[tuple[str, ...], ...] = (
    *(("headers", name) for name in HEADERS),
    *(("properties", name) for name in PROPERTIES),
    *(("properties", "delivery_info", name) for name in ("exchange", "routing_key", "redelivered")),
    *((name,) for name in ("body", "content-type", "content-encoding", "headers", "properties", "more")),
)
BODY_PATHS: tuple[tuple[str, ...], ...] = (
    *((name,) for name in ("args", "kwargs", "embed")),
    *(("embed", name) for name in ("callbacks", "errbacks", "chain", "chord", "more")),
)


def good(number: int, task: str = "add") -> dict[str, Any]:
    """A message as Celery publishes it, with an id and a tag of its own."""
    body = base64.b64encode(json.dumps([[number, 1], {}, {}]).encode()).decode()
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": f"hostile-{number}", "retries": 0, "eta": None, "expires": None}
        | {"timelimit": [None, None], "root_id": f"hostile-{number}", "argsrepr": "(1, 1)", "kwargsrepr": "{}"},
        "properties": {
            "correlation_id": f"hostile-{number}",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": f"tag-{number}",
            "body_encoding": "base64",
            "priority": 0,
        },
    }


def _put(payload: Any, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        payload = payload.setdefault(name, {})
        if not isinstance(payload, dict):
            return
    payload[path[-1]] = copy.deepcopy(value)


def _written(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def _with_body(number: int, path: tuple[str, ...], value: Any) -> bytes:
    payload, parts = good(number), {"args": [number, 1], "kwargs": {}, "embed": {}}
    _put(parts, path, value)
    payload["body"] = base64.b64encode(json.dumps(list(parts.values())).encode()).decode()
    return _written(payload)


def _old(number: int, name: str, value: Any) -> bytes:
    """Protocol 1: everything in the body."""
    body = {"task": "add", "id": f"hostile-{number}", "args": [number, 1], "kwargs": {}, "retries": 0, name: value}
    payload = good(number)
    payload["headers"] = {}
    payload["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return _written(payload)


def _bytes(rng: random.Random, number: int) -> Hostile:
    raw = bytearray(_written(good(number)))
    kind = rng.choice(["cut", "flip", "insert", "repeat", "utf-8", "deep", "bare", "bom"])
    at = rng.randrange(len(raw))
    if kind == "cut":
        del raw[at:]
    elif kind == "flip":
        raw[at] ^= 1 << rng.randrange(8)
    elif kind == "insert":
        raw[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
    elif kind == "repeat":
        raw += bytes(raw)
    elif kind == "utf-8":
        raw = bytearray(bytes(raw).replace(b"hostile-", b"\xe9\xff-"))
    elif kind == "deep":
        raw = bytearray(b"[" * 1500 + b"]" * 1500) if at % 2 else raw
        raw = bytearray(bytes(raw).replace(b'"eta": null', b'"x": ' + b'{"a":' * 990 + b"1" + b"}" * 990))
    elif kind == "bare":
        raw = bytearray(rng.choice([b"", b"null", b"1", b'"text"', b"[]", b"{}", b"NaN", b"\x00"]))
    else:
        raw = bytearray(b"\xef\xbb\xbf") + raw
    return Hostile(f"{kind} at {at}", bytes(raw))


def hostile(seed: int, count: int) -> Iterator[Hostile]:
    """So many, the same for the same seed: single changes, pairs of them, bodies, protocol 1, bytes."""
    rng = random.Random(seed)
    single = [(path, value) for path in PATHS for value in VALUES]
    for number in range(count):
        kind = rng.choice(["one", "one", "one", "two", "missing", "body", "old", "bytes"])
        payload = good(number)
        if kind in ("one", "two"):
            changes = [rng.choice(single) for _ in range(1 if kind == "one" else 2)]
            for path, value in changes:
                _put(payload, path, value)
            yield Hostile(f"{changes!r:.200}", _written(payload))
        elif kind == "missing":
            path = rng.choice(PATHS)
            place = payload
            for name in path[:-1]:
                place = place[name]
            place.pop(path[-1], None)
            yield Hostile(f"without {path}", _written(payload))
        elif kind == "body":
            path, value = rng.choice(BODY_PATHS), rng.choice(VALUES)
            yield Hostile(f"body {path} {value!r:.50}", _with_body(number, path, value))
        elif kind == "old":
            name, value = rng.choice([*HEADERS, "args", "kwargs", "callbacks", "chord", "utc"]), rng.choice(VALUES)
            yield Hostile(f"old {name} {value!r:.50}", _old(number, name, value))
        else:
            yield _bytes(rng, number)
