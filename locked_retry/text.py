"""Text that is certain to get through: to Redis, to a log, and through the script's JSON; and JSON read fast."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from kombu.utils import json as kombu_json

#: How json.dumps writes one half of a surrogate pair. Whole pairs are two of them; lone ones only Python reads.
_SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def encodable(text: str) -> str:
    """The text with what UTF-8 cannot carry written as escapes, such as a file name that was no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    """`str` of anything, also of what raises when it is asked."""
    try:
        return encodable(str(value))
    except Exception as error:
        return f"(no text: {type(error).__name__})"


def describe(error: BaseException) -> str:
    """`ValueError: what it says`."""
    return f"{type(error).__name__}: {shown(error)}"


def value_of(raw: str | bytes | memoryview) -> Any:
    """JSON as kombu reads it. Most texts have none of kombu's own types in them: the standard decoder reads those.

    Raises what kombu raises.
    """
    text = raw if isinstance(raw, str) else bytes(raw).decode()
    if "__type__" in text or "\\u" in text:  # which may spell it, too
        return kombu_json.loads(text)  # type: ignore[no-untyped-call]
    return json.loads(text)


def message_text(payload: Any) -> str:
    """A message as JSON that the script reads too.

    Its decoder refuses half a surrogate pair; NaN and Infinity are no JSON at all. Raises ValueError and TypeError for
    what is no JSON value.
    """
    try:
        text = json.dumps(payload, allow_nan=False)
    except ValueError:
        text = ""
    if not text or _SURROGATE.search(text):
        text = json.dumps(_plain(payload), allow_nan=False)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
