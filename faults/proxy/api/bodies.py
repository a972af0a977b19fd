"""Request bodies: what clients send, checked and turned into proxies and toxics.

The order of the checks and the texts are part of the contract. Three members are extensions that the real server
ignores: `toxics` of a new proxy, and `after` and `for` of a new toxic.
"""

import dataclasses
from typing import Any

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.collection import ProxySpec
from taskchaos.faults.proxy.errors import (
    ApiError,
    bad_request,
    invalid_stream,
    invalid_toxic_type,
    missing_field,
    toxic_exists,
)
from taskchaos.faults.proxy.gojson import Fields
from taskchaos.faults.proxy.tcp.chain import Direction, ToxicChain, ToxicSpec, ToxicWindow
from taskchaos.faults.proxy.toxics import find

_LONGEST_MS = 30 * 86_400_000  # the event loops refuse timers that are absurdly long


def read_specs(body: bytes) -> list[ProxySpec]:
    """The proxies of a populate body or a config file, all of them checked. Raises ApiError 400 or 409."""
    go_type = "[]toxiproxy.Proxy"
    fields = [Fields(value, "", whole="toxiproxy.Proxy") for value in gojson.elements(gojson.decode(body), go_type)]
    return [
        _complete(spec, each, f" at proxy {number}")
        for number, (spec, each) in enumerate([(_read_spec(each), each) for each in fields], start=1)
    ]


def read_spec(body: bytes) -> ProxySpec:
    """The proxy of a create body. Raises ApiError 400 or 409."""
    fields = Fields(gojson.decode(body), "Proxy", whole="toxiproxy.Proxy")
    return _complete(_read_spec(fields), fields)


def read_toxic(fields: Fields, chain: ToxicChain) -> ToxicSpec:
    """A toxic that is to join `chain`. Raises ApiError 400 or 409."""
    name, kind, stream = fields.string("name"), fields.string("type"), fields.string("stream")
    toxicity = fields.float32("toxicity")
    if stream is None:
        stream = Direction.DOWNSTREAM.value
    if stream.lower() not in set(Direction):
        raise invalid_stream()
    stage = find(kind or "")
    if stage is None:
        raise invalid_toxic_type()
    name = name or f"{kind}_{stream}"
    if chain.has(name):
        raise toxic_exists()
    return ToxicSpec(
        name=name,
        stage=stage,
        stream=stream,
        direction=Direction(stream.lower()),
        toxicity=1.0 if toxicity is None else toxicity,
        attributes=read_attributes(fields, stage.go_name, stage.go_integer, stage.Attributes()),
        window=ToxicWindow(read_milliseconds(fields, "after"), read_milliseconds(fields, "for")),
    )


def read_attributes(fields: Fields, go_name: str, go_integer: str, present: Any) -> Any:
    """`present` with what the body gives; members that the toxic does not have are ignored."""
    members = fields.child("attributes", f"toxics.{go_name}", go_name)
    given = {each.name: members.int64(each.name, go_integer) for each in dataclasses.fields(present)}
    try:
        return dataclasses.replace(present, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:  # a value that the toxic refuses
        raise bad_request(str(error)) from None


def read_milliseconds(fields: Fields, name: str) -> int | None:
    """A time from now, as the extensions take it."""
    value = fields.int64(name)
    if value is not None and not 0 <= value <= _LONGEST_MS:
        raise bad_request(f"{name} must be between 0 and {_LONGEST_MS} ms: {value}")
    return value


def _read_spec(fields: Fields) -> ProxySpec:
    enabled = fields.boolean("enabled")
    return ProxySpec(
        name=fields.string("name") or "",
        listen=fields.string("listen") or "",
        upstream=fields.string("upstream") or "",
        enabled=True if enabled is None else enabled,
    )


def _complete(spec: ProxySpec, fields: Fields, where: str = "") -> ProxySpec:
    """`spec` with its toxics, if it is a proxy that can be made."""
    for name, value in (("name", spec.name), ("upstream", spec.upstream)):
        if not value:
            raise missing_field(f"{name}{where}")
    chain = ToxicChain()
    try:
        for each in fields.children("toxics", "[]toxics.ToxicWrapper", "ToxicWrapper"):
            chain.add(read_toxic(each, chain))
    except ApiError as error:
        raise ApiError(f"{error.message}{where}", error.status) from None
    return dataclasses.replace(spec, toxics=tuple(chain.all()))
