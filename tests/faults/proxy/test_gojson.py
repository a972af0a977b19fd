"""JSON as Go reads it, for bodies that nobody thought of."""

import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskchaos.faults.proxy import gojson
from taskchaos.faults.proxy.errors import ApiError

# A busy machine is no defect of the code.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def refused(body: bytes) -> ApiError | None:
    """Why `body` is not JSON; any other exception fails the test."""
    try:
        gojson.decode(body)
    except ApiError as error:
        return error
    return None


@patient
@given(st.binary() | st.text(alphabet='{}[]":,\\0123456789.eE-+truefalsnN \n').map(str.encode))
def test_anything_is_read_or_refused(body: bytes) -> None:
    refusal = refused(body)
    assert refusal is None or (refusal.status == 400 and refusal.message.startswith("bad request body: "))


@patient
@given(VALUES, st.integers(min_value=1))
def test_cut_off_bodies_are_refused(value: object, cut: int) -> None:
    body = json.dumps([value]).encode()
    gojson.decode(body)
    with pytest.raises(ApiError):
        gojson.decode(body[: cut % len(body)])


@patient
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_reads_back_the_same(value: float) -> None:
    shown = float(json.loads(gojson.encode(gojson.float32(value))))
    assert struct.pack("f", shown) == struct.pack("f", value) or value == 0


@patient
@given(VALUES)
def test_encoded_text_is_json_without_html(value: object) -> None:
    text = gojson.encode(value)
    assert not set(b"<>&") & set(text)
    json.loads(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ApiError):
        gojson.decode(b"[" * 200_000)
