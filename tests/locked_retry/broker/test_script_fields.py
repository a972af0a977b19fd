"""The fields of state rows, jobs and locks: what the scripts write is what they read and what lib.lua says there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import locked_retry
from locked_retry.broker.turns import RowState

PACKAGE = Path(locked_retry.__file__).parent
SCRIPTS = {path.name: path.read_text("utf-8") for path in (PACKAGE / "broker" / "scripts").rglob("*.lua")}
#: By the word that lib.lua's header begins with: how the scripts name such a key, and where they call it `key`.
KINDS = {
    "state row": ("row_key(", ("turn.lua", "claim.lua")),
    "job": ("job_key(", ("jobs.lua", "job.lua", "shard.lua")),
    "lock": ("lock_key(", ()),
}
#: Written, and not read by any script, with the reason.
NOT_READ = {
    "state row": {"at": "for `dead list`; the scripts go by the score in the index"},
    "job": {},
    "lock": {"f": "for people: which execution holds it"},
}
CALL = re.compile(r"\b(?:redis\.call|redis\.pcall|on_ours|read_row|peek|add)\(")


def arguments(text: str, begin: int) -> list[str]:
    """Those of the call whose opening parenthesis is just before `begin`."""
    found, depth, quoted, one = [], 0, False, ""
    for char in text[begin:]:
        if char == "'":
            quoted = not quoted
        if not quoted and char in "({[":
            depth += 1
        if not quoted and char in ")}]":
            depth -= 1
        if depth < 0:
            break
        if char == "," and not depth and not quoted:
            found.append(one.strip())
            one = ""
        else:
            one += char
    return [*found, one.strip()]


def uses(kind: str) -> Iterator[tuple[str, list[str]]]:
    """Each command on a key of this kind, with its arguments behind the key."""
    beginning, files = KINDS[kind]
    for name, text in SCRIPTS.items():
        for call in CALL.finditer(text):
            given = arguments(text, call.end())
            if call[0] == "read_row(":
                given = ["'HMGET'", "row_key(row)", *given[1:]]
            if call[0] == "peek(":
                given = ["'HMGET'", *given]
            if call[0] == "add(":
                given = ["'HINCRBY'", *given]
            if len(given) > 1 and (given[1].startswith(beginning) or (given[1] == "key" and name in files)):
                yield given[0].strip("'"), given[2:]


def names(*given: str) -> set[str]:
    return {name for one in given for name in re.findall(r"'(\w+)'", one)}


def written(kind: str) -> set[str]:
    fields = {"HSET": lambda given: names(*given[::2]), "HINCRBY": lambda given: names(given[0])}
    return {name for command, given in uses(kind) if command in fields for name in fields[command](given)}


def read(kind: str) -> set[str]:
    return {name for command, given in uses(kind) if command in ("HGET", "HMGET") for name in names(*given)}


def documented(kind: str) -> set[str]:
    header = re.search(rf"-- A {kind} [^\n]*?is a hash: (.*?)\n--\n", SCRIPTS["lib.lua"], re.DOTALL)
    assert header is not None
    text = re.sub(r"\n-- ", " ", header[1])
    while "(" in text:
        text = re.sub(r"\([^()]*\)", "", text)
    return set(re.findall(r"\w+", re.sub(r"\band\b", "", text.partition(".")[0])))


def read_in_python(kind: str) -> set[str]:
    """The fields that redis-py is asked for, of keys that `Keys` names as the scripts do."""
    found: set[str] = set()
    key_of = KINDS[kind][0].replace("_key(", "")
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("hget", "hmget"):
                key, *fields = (ast.unparse(argument) for argument in node.args)
                if f"keys.{key_of}(" in key:
                    found |= names(*fields)
    return found


def test_states_are_those_of_the_scripts() -> None:
    line = re.search(r"local (QUEUED.*?) = (.*)\n", SCRIPTS["lib.lua"])
    assert line is not None
    states = dict(zip(line[1].split(", "), re.findall(r"'(\w)'", line[2]), strict=True))
    assert states == {state.name: state.value.decode() for state in RowState}


@pytest.mark.parametrize(("kind", "one_of_them"), [("state row", "err"), ("job", "joined")])
def test_python_reads_what_scripts_write(kind: str, one_of_them: str) -> None:
    assert one_of_them in read_in_python(kind)
    assert read_in_python(kind) <= written(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_that_is_written_is_read_and_documented(kind: str) -> None:
    assert written(kind) and read(kind) <= written(kind), "read, and never written"
    assert written(kind) - read(kind) == set(NOT_READ[kind]), "written, and never read"
    assert documented(kind) == written(kind)
