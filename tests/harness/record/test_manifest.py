"""What was sealed is told from what is there now, for every file and every way to change one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from taskchaos.harness.record.history import FinalState, Redrive
from taskchaos.harness.record.layout import EVENTS, FINAL, LEDGER, MANIFEST
from taskchaos.harness.record.manifest import DamagedError, run_differences, seal_case, seal_run, unseal_case

STATE = FinalState(reads=3, dead=frozenset({4}), results={4: 2}, redrive=Redrive(4, 9, True))
FILES = {"plan.json": "{}\n", EVENTS: "one\ntwo\n", "undo.jsonl": "x\n", f"{LEDGER}/a.1.ledger": "E 1 2 3 4\n" * 3}


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A sealed case folder."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    seal_case(tmp_path, STATE)
    return tmp_path


def test_what_was_sealed_comes_back(case: Path) -> None:
    assert unseal_case(case) == (STATE, ())


def test_events_may_grow_after_the_seal_and_nothing_else_may(case: Path) -> None:
    for name in FILES:
        with (case / name).open("a") as file:
            file.write("more\n")
        damage = unseal_case(case)[1]
        assert bool(damage) == (name != EVENTS), name
        (case / name).write_text(FILES[name])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a byte changed": lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]),
    "a line gone": lambda path: path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[1:])),
    "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_every_damage_of_every_file_is_named(case: Path, name: str, damage: str) -> None:
    DAMAGE[damage](case / name)
    (found,) = unseal_case(case)[1]
    assert name in found


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_seal_is_named(case: Path, damage: str) -> None:
    DAMAGE[damage](case / FINAL)
    with pytest.raises(DamagedError, match=FINAL):
        unseal_case(case)


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "1", '"x"', "{}", '{"crc": null}', "[" * 100_000, '{"state": {}, "manifest": {}, "crc": 1}', "\xff"],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_no_seal_is_named(case: Path, text: str) -> None:
    (case / FINAL).write_text(text, encoding="latin-1")
    with pytest.raises(DamagedError, match=FINAL):
        unseal_case(case)


def test_a_field_of_the_seal_cannot_be_edited(case: Path) -> None:
    data = json.loads((case / FINAL).read_text())
    data["state"]["converged"] = True
    (case / FINAL).write_text(json.dumps(data))
    with pytest.raises(DamagedError, match="not as it was written"):
        unseal_case(case)


def test_a_file_that_was_added_is_named(case: Path) -> None:
    (case / LEDGER / "b.2.ledger").write_text("E 1 2 3 4\n")
    assert unseal_case(case)[1] == ("ledger/b.2.ledger is not in the manifest",)


def test_a_run_knows_its_cases(tmp_path: Path) -> None:
    for name in ("one", "two", "two~1"):
        (tmp_path / "cases" / name).mkdir(parents=True)
        (tmp_path / "cases" / name / "plan.json").write_text(name)
        seal_case(tmp_path / "cases" / name, STATE)
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / EVENTS).write_text("{}\n")
    seal_run(tmp_path)
    assert run_differences(tmp_path) == ()
    (tmp_path / "cases" / "two~1" / FINAL).unlink()
    assert run_differences(tmp_path) == (), "an earlier try is no evidence"
    (tmp_path / "cases" / "two" / FINAL).unlink()
    assert run_differences(tmp_path) == ("cases/two/final.json cannot be read: No such file or directory",)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(DamagedError, match=r"manifest\.json is missing"):
        run_differences(tmp_path)
