"""What an operator should know of a turn, said in the log."""

from __future__ import annotations

from locked_retry.broker.turns import Answer, SettlementKind, Turn
from locked_retry.log import Event, say


def say_answer(turn: Turn, answer: Answer) -> None:
    """What an operator should know of a turn. Nothing, for most."""
    for settle, code in zip(turn.settles, answer.codes, strict=False):
        if code == "s":
            say(Event.SETTLE_REFUSED, row=settle.row, fence=settle.fence, kind=settle.kind.value)
        elif code == "h":
            say(Event.HELD_BACK, row=settle.row, reason=settle.reason)
        elif settle.kind is SettlementKind.DEAD:
            say(Event.DEAD_LETTER, row=settle.row, reason=settle.reason)
        elif settle.kind is SettlementKind.CRASH and code != "x":
            say(Event.CRASHED, row=settle.row, reason=settle.reason.partition(" ")[2])
    for buried in answer.buried:
        say(Event.DEAD_LETTER, row=buried.row, reason=buried.reason)
    for row in answer.lost:
        say(Event.LEASE_LOST, row=row)
    if answer.reaped:
        say(Event.REAPED, rows=answer.reaped)
    if answer.trimmed:
        say(Event.DEAD_TRIMMED, rows=answer.trimmed)
    if answer.dropped:
        say(Event.DUPLICATE_DROPPED, rows=answer.dropped)
