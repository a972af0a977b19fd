"""What a message has to look like: each field with values of each wrong type, and with those that are right."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kombu import serialization
from kombu.exceptions import ContentDisallowed
from kombu.message import Message
from kombu.utils import json as kombu_json

from locked_retry.adapter.request import _body
from locked_retry.adapter.wellformed import fault_in, fault_in_body, without_faults
from locked_retry.text import describe, encodable, message_text, shown, value_of

GOOD: dict[str, Any] = {
    "body": "W10=",
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "headers": {
        "lang": "py",
        "task": "t",
        "id": "i",
        "shadow": None,
        "eta": "2026-11-26T12:00:00+00:00",
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, 3.5],
        "root_id": "i",
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "gen1@host",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
        "a header of the user's": {"anything": 1},
    },
    "properties": {
        "correlation_id": "i",
        "reply_to": "r",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": "d",
    },
}
TEXT: tuple[Any, ...] = (1, 1.5, True, [], {})
NUMBER: tuple[Any, ...] = ("", "1", [], {}, True)
WRONG: dict[tuple[str, ...], tuple[Any, ...]] = {
    **{
        ("headers", name): TEXT
        for name in ("lang", "shadow", "group", "root_id", "parent_id", "argsrepr", "kwargsrepr")
    },
    **{("headers", name): TEXT for name in ("origin", "meth", "compression", "lr", "lr_lock", "lr_job", "lr_new")},
    **{("headers", name): (*TEXT, None, "") for name in ("task", "id")},
    **{("headers", name): (*NUMBER, -1, 1.5) for name in ("retries", "replaced_task_nesting", "group_index")},
    **{("headers", name): (*TEXT, "", "soon", "2026-13-01T00:00:00") for name in ("eta", "expires")},
    ("headers", "timelimit"): (5, "", [1], [1, 2, 3], ["1", None], {}, [True, None]),
    ("headers", "ignore_result"): (0, "", [], {}),
    ("headers", "stamped_headers"): ("", 1, {}, [1]),
    ("headers", "stamps"): ("", 1, [], True),
    ("headers", "lr_previous_s"): NUMBER,
    **{("properties", name): TEXT for name in ("correlation_id", "reply_to", "body_encoding", "delivery_tag")},
    ("properties", "delivery_info"): ("", 1, [], True),
    ("properties", "priority"): NUMBER,
    **{("properties", "delivery_info", name): TEXT for name in ("exchange", "routing_key")},
    **{(name,): TEXT for name in ("content-type", "content-encoding")},
    ("body",): (*TEXT, None),
    **{(name,): (1, "", [], True, None) for name in ("headers", "properties")},
}


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    payload = copy.deepcopy(GOOD)
    place = payload
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return payload


def test_a_good_message_has_no_fault() -> None:
    assert fault_in(GOOD) == ""


@pytest.mark.parametrize("path", WRONG)
def test_a_field_of_a_wrong_type_is_named(path: tuple[str, ...]) -> None:
    for value in WRONG[path]:
        fault = fault_in(changed(path, value))
        assert path[-1] in fault, (path, value)


@pytest.mark.parametrize("path", [path for path in WRONG if path[0] in ("headers", "properties") and len(path) > 1])
def test_a_field_may_be_null_unless_it_says_what_to_run(path: tuple[str, ...]) -> None:
    assert bool(fault_in(changed(path, None))) == (path[-1] in ("task", "id"))


def test_a_message_without_its_faults_is_wellformed() -> None:
    for path, values in WRONG.items():
        if path[0] in ("headers", "properties") and len(path) == 2 and path[1] not in ("task", "id"):
            for value in values:
                left = without_faults(changed(path, value))
                assert fault_in(left) == "" and path[1] not in left[path[0]]
    assert without_faults(GOOD) == GOOD


@pytest.mark.parametrize("payload", [None, 1, "text", [], [1], True])
def test_a_value_that_is_no_mapping_is_no_message(payload: Any) -> None:
    assert "has to be a mapping" in fault_in(payload)


EMBED: dict[str, Any] = {"callbacks": None, "errbacks": [{"task": "e"}], "chain": [], "chord": {"task": "c"}}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (([1], {"a": 2}, EMBED), ""),
        (([], {}, None), ""),
        (((), {}, {}), ""),
        ("text", "not args, kwargs and options"),
        ([], "not args, kwargs and options"),
        ([[], {}], "not args, kwargs and options"),
        (None, "not args, kwargs and options"),
        ((1, {}, {}), "args"),
        (("text", {}, {}), "args"),
        (([], [], {}), "kwargs"),
        (([], None, {}), "kwargs"),
        (([], {}, [1]), "embed"),
        (([], {}, {"callbacks": {}}), "callbacks"),
        (([], {}, {"callbacks": ["name"]}), "callbacks"),
        (([], {}, {"errbacks": [{"task": 1}]}), "errbacks"),
        (([], {}, {"chain": "ab"}), "chain"),
        (([], {}, {"chord": [1]}), "chord"),
    ],
)
def test_a_fault_in_a_body_is_named(body: Any, fault: str) -> None:
    found = fault_in_body(body, GOOD["headers"])
    assert fault in found and bool(found) == bool(fault)


OLD: dict[str, Any] = {"task": "t", "id": "i", "args": [], "kwargs": {}, "retries": 0, "eta": None, "utc": True}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"task": None}, "task"),
        ({"id": 5}, "id"),
        ({"args": 1}, "args"),
        ({"kwargs": []}, "kwargs"),
        ({"eta": ""}, "eta"),
        ({"timelimit": 5}, "timelimit"),
        ({"callbacks": [1]}, "callbacks"),
    ],
)
def test_a_fault_in_a_body_of_protocol_1_is_named(change: dict[str, Any], fault: str) -> None:
    found = fault_in_body({**OLD, **change}, {})
    assert fault in found and bool(found) == bool(fault)


# --- text


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("text", ["", "plain", "Größe", "\udce9", "a\ud800b\udfff", "\U0001f600", "\x00"])
def test_any_text_is_made_encodable(text: str) -> None:
    made = encodable(text)
    made.encode()
    assert made == text or "\\ud" in made


def test_anything_can_be_shown() -> None:
    assert shown(Mute()) == "(no text: RuntimeError)"
    assert describe(Mute()) == "Mute: (no text: RuntimeError)"
    assert describe(ValueError("file \udce9")) == "ValueError: file \\udce9"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\udce9", {"\ud800": ["\udfff", float("-inf")]}])
def test_a_message_is_json_for_others_too(value: Any) -> None:
    text = message_text({"headers": {"x": value}})
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    json.dumps(read, ensure_ascii=False).encode()  # no half of a pair is left in it


def test_a_whole_surrogate_pair_stays() -> None:
    assert message_text({"x": "\U0001f600"}) == '{"x": "\\ud83d\\ude00"}'


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["__type__", "uuid", "bytes", "\\u"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["__type__", "__value__"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def _read(read: Any, text: str) -> Any:
    try:
        return read(text)
    except Exception as error:
        return type(error)


@given(_JSON, st.booleans(), st.booleans())
@example({"__type__": "uuid", "__value__": "0" * 32}, True, False)
@example({"__type__": "nonsense", "__value__": 1}, True, False)
def test_json_is_read_as_kombu_reads_it(value: Any, ascii_only: bool, spelled: bool) -> None:
    """However its own types are spelled, and whatever is no JSON."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    if spelled:
        text = text.replace("__type__", "\\u005f_type\\u005F_")
    for one in (text, text[:-1], f"\ufeff{text}"):
        assert _read(value_of, one) == _read(kombu_json.loads, one)


def test_the_applications_own_json_is_used() -> None:
    """Its bodies may look like nothing that Celery knows until they are decoded."""
    known = serialization.registry._encoders["json"], serialization.registry._decoders["application/json"]
    serialization.register("json", lambda value: "", lambda text: [[], {}, {"own": text}], "application/json", "utf-8")
    try:
        message = Message(body=b'"packed"', content_type="application/json", accept={"application/json"})
        assert _body(message) == [[], {}, {"own": b'"packed"'}]
    finally:
        serialization.registry._encoders["json"], serialization.registry._decoders["application/json"] = known
    assert _body(Message(body=b"[[],{},{}]", content_type="application/json", accept={"application/json"})) == [
        [],
        {},
        {},
    ]
    with pytest.raises(ContentDisallowed):
        _body(Message(body=b"[[],{},{}]", content_type="application/json", accept={"application/x-yaml"}))
