"""The wire record: operations by task id and by delivery tag, and what cannot be read is no record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskchaos.faults.proxy.redis.journal import KEPT_ENTRIES
from taskchaos.harness.record import wire
from taskchaos.harness.record.layout import WIRE

TAG, OTHER, SHARED = "a" * 8 + "-" + "b" * 27, "c" * 36, "d" * 36


def _entry(index: int, command: str, *, sent: list[str] = [], given: list[str] = [], **more: Any) -> dict[str, Any]:  # noqa: B006
    entry = {
        "index": index,
        "proxy": "worker-1",
        "connection": 3,
        "request_ns": 1000 * index,
        "reply_ns": 1000 * index + 500,
        "command": command,
        "keys": ["unacked"],
        "script": None,
        "outcome": "ok",
        "rule": None,
        "sent": sent,
        "given": given,
    }
    return {**entry, **more}


def test_an_operation_is_known_by_its_id_and_by_the_tag_of_its_delivery() -> None:
    entries = [
        _entry(1, "BRPOP", given=["7", TAG, SHARED], keys=["celery"]),
        _entry(2, "BRPOP", given=["8", OTHER, SHARED], keys=["celery"]),
        _entry(3, "HDEL", sent=[TAG]),
        _entry(4, "HDEL", sent=[SHARED]),  # of two operations: a tag of neither
        _entry(5, "HDEL", sent=["e" * 36]),
        _entry(6, "EVALSHA", sent=["8", OTHER], script="turn", keys=[]),
        _entry(7, "BRPOP", outcome="no reply", reply_ns=None, keys=["celery"]),
    ]
    found = [(c.text, c.sent, c.given, c.unheard) for c in wire.commands_of(entries)]
    assert found == [
        ("BRPOP celery", (), (7,), False),
        ("BRPOP celery", (), (8,), False),
        ("HDEL unacked", (7,), (), False),
        ("script turn", (8,), (), False),
        ("BRPOP celery", (), (), True),
    ]


def test_a_block_is_what_its_exec_is() -> None:
    """Its commands are queued at once; without an answer to the EXEC nobody knows that they were executed."""
    block = [_entry(n, "HDEL", sent=["7"], request_ns=5, outcome="queued") for n in (1, 2)]
    other = _entry(3, "HDEL", sent=["7"], request_ns=6, outcome="queued")
    end = _entry(4, "EXEC", request_ns=5, reply_ns=None, outcome="cut", keys=[])
    found = [(c.command, c.outcome, c.failed) for c in wire.commands_of([*block, other, end])]
    assert found == [("HDEL", "cut", True), ("HDEL", "cut", True), ("HDEL", "queued", False), ("EXEC", "cut", True)]


def test_a_journal_that_is_full_is_no_record() -> None:
    """Its first entries are gone: what they sent would seem never to have been sent."""
    assert wire.MOST_ENTRIES == KEPT_ENTRIES
    entries = [_entry(1, "LPUSH", sent=["7"])] * (KEPT_ENTRIES - 1)
    assert len(wire.record_of(entries) or ()) == KEPT_ENTRIES - 1
    assert wire.record_of([*entries, _entry(2, "BRPOP", given=["7"])]) is None


def test_a_text_is_cut_short() -> None:
    (command,) = wire.commands_of([_entry(1, "X" * 1_000_000, sent=["7"], keys=["k" * 1_000_000])])
    assert len(command.text) < 300


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = [_entry(2, "BRPOP", given=["7"], rule="fault-0", outcome="cut"), _entry(1, "LPUSH", sent=["7"])]
    commands = list(wire.commands_of(entries))
    wire.write(tmp_path, commands)
    assert wire.read(tmp_path) == (commands[1], commands[0])
    assert wire.read(tmp_path / "nowhere") is None


def test_what_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full does not end the case, and half a record would seem a whole one."""

    def half(path: Path, text: str, **_: Any) -> None:
        path.write_bytes(text.encode()[: text.index("\n") + 1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    wire.write(tmp_path, wire.commands_of([_entry(1, "LPUSH", sent=["7"]), _entry(2, "BRPOP", given=["7"])]))
    assert wire.read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "[1,2",
        "[]",
        "{}",
        "7",
        '[1,2,"worker-1",1,"BRPOP","celery","ok","",[],["7"]]',
        '["1",2,"worker-1",1,"BRPOP","celery","ok","",[],[7]]',
        '[1,2,7,1,"BRPOP","celery","ok","",[],[7]]',
        '[1,2,"worker-1",1,"BRPOP","celery","ok","",7,[7]]',
        '[1,2,"worker-1",true,"BRPOP","celery","ok","",[],[7]]',
        '[1,"","worker-1",1,"BRPOP","celery","ok","",[],[7]]',
        '[1,0.0,"worker-1",1,"BRPOP","celery","ok","",[],[7]]',
        '[1,2,"worker-1",1,"BRPOP","half \\ud800","ok","",[],[7]]',
        f'[1{"0" * 400},2,"worker-1",1,"BRPOP","celery","ok","",[],[7]]',
        '[-1,2,"worker-1",1,"BRPOP","celery","ok","",[],[7]]',
        '[1,2,"worker-1",1,"BRPOP","celery","ok","",[],[-7]]',
        "[" * 100_000,
    ],
)
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / WIRE).write_text(text)
    assert wire.read(tmp_path) is None
