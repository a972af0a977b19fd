"""Known histories: what is in use before and after the load, where the case counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checker_histories import HistoryBuilder, ns
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known

from taskchaos.harness.record.history import Usage
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
BEFORE = Usage(ns(0), connections=20, memory_bytes=1_000_000, keys=5, files={"worker-1": 60, "worker-2": 60})
_MEMORY = (2 << 20) + 100 * (4 << 10)


def _counted(tasks: int = 100, **changes: Any) -> H:
    """So many tasks after the first count, of which all are done; `changes` of what is in use after them."""
    now = {"connections": 20, "memory_bytes": 1_000_000, "keys": 5, "files": BEFORE.files, **changes}
    builder = (
        H().slo(growth=True).done(*range(1, tasks + 1), at=300).planned(tasks + 1).ack(0, at=0).attempt(0).effect(0)
    )
    return builder.final(usage_before=BEFORE, usage=Usage(at_ns=ns(9000), **now))


def _told(connections: int = 20, keys: int = 5, memory: int = 1_000_000, files: int = 60, tasks: int = 100) -> str:
    return (
        f"after {tasks} tasks: connections 20 to {connections}, keys 5 to {keys}, "
        f"bytes of memory 1,000,000 to {memory:,}, files of worker-1 60 to {files}, files of worker-2 60 to 60"
    )


@known("back to where it was", Rule.GROWTH, PASS, 0, _told())
def _() -> H:
    return _counted()


for _name, _changes, _says in (
    ("as many more as there may be: connections", {"connections": 50}, {"connections": 50}),
    ("as many more as there may be: keys", {"keys": 15}, {"keys": 15}),
    ("as many more as there may be: bytes", {"memory_bytes": 1_000_000 + _MEMORY}, {"memory": 1_000_000 + _MEMORY}),
    ("as many more as there may be: files", {"files": {"worker-1": 90, "worker-2": 60}}, {"files": 90}),
):

    @known(_name, Rule.GROWTH, PASS, 0, _told(**_says))
    def _(changes: dict[str, Any] = _changes) -> H:
        return _counted(**changes)


for _name, _changes, _says, _note in (
    ("connections", {"connections": 51}, {"connections": 51}, "connections: 20 before, 51 after"),
    ("keys", {"keys": 16}, {"keys": 16}, "keys: 5 before, 16 after"),
    (
        "bytes",
        {"memory_bytes": 1_000_001 + _MEMORY},
        {"memory": 1_000_001 + _MEMORY},
        f"bytes of memory: 1,000,000 before, {1_000_001 + _MEMORY:,} after",
    ),
    ("files", {"files": {"worker-1": 91, "worker-2": 60}}, {"files": 91}, "files of worker-1: 60 before, 91 after"),
):

    @known(f"one more than there may be: {_name}", Rule.GROWTH, FAIL, 1, _told(**_says), (None, _note))
    def _(changes: dict[str, Any] = _changes) -> H:
        return _counted(**changes)


@known("keys of dead letters are kept on purpose", Rule.GROWTH, PASS, 0, _told(keys=23), others=(Rule.FALSE_FAILURE,))
def _() -> H:
    return _counted(keys=23).final(dead=frozenset({1, 2}))


@known(
    "one key more than dead letters have",
    Rule.GROWTH,
    FAIL,
    1,
    _told(keys=24),
    (None, "keys: 5 before, 24 after"),
    others=(Rule.FALSE_FAILURE,),
)
def _() -> H:
    return _counted(keys=24).final(dead=frozenset({1, 2}))


@known(
    "files cannot be counted",
    Rule.GROWTH,
    PASS,
    0,
    "after 100 tasks: connections 20 to 20, keys 5 to 5, bytes of memory 1,000,000 to 1,000,000 "
    "(files cannot be counted here)",
)
def _() -> H:
    return _counted(files={})


@known("not asked for", Rule.GROWTH, NOT_CLAIMED, None, "the case does not count what grows")
def _() -> H:
    return _counted(connections=500).slo(growth=False)


_NOT_COUNTED = "what grows was not counted before and after; run the case again"
_UNREST = "the case did not come to rest, so what is there may still be in use; drain for longer"
for _name, _build, _why in (
    ("not counted before", lambda: _counted().final(usage_before=None), _NOT_COUNTED),
    ("not counted after", lambda: _counted().final(usage=None), _NOT_COUNTED),
    ("not at rest", lambda: _counted(keys=99).not_converged(), _UNREST),
    ("not healed", lambda: _counted(keys=99).final(healed=False), _UNREST),
    ("too few", lambda: _counted(99, keys=999), "only 99 tasks after the first count, 100 are needed; send more"),
):

    @known(_name, Rule.GROWTH, UNKNOWN, None, _why, others=(Rule.CONVERGED, Rule.LEAK, Rule.LOST, Rule.STUCK))
    def _(build: Callable[[], H] = _build) -> H:
        return build()
