"""`[tool.taskchaos]`: found where it belongs, strict about what is in it, beaten by the command line; its schema."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT

from taskchaos.harness.errors import UsageError
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.run.project import KEYS, RunChoices, read_project, with_project

WHOLE = """
[tool.taskchaos]
subject = ["mine.py:Mine", "locked_retry"]
suites = "partition"
profile = "default"
target = 50
seed = 7
stack = "compose"
"""


def project(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def test_every_key_is_taken_and_paths_are_those_of_its_folder(tmp_path: Path) -> None:
    found = with_project(RunChoices(), project(tmp_path, WHOLE))
    assert found == RunChoices(
        subject=(f"{tmp_path / 'mine.py'}:Mine", "locked_retry"),
        suites=("partition",),
        profile="default",
        target=50.0,
        seed=7,
        stack="compose",
        configured=tuple(KEYS),
        file=tmp_path / "pyproject.toml",
    )


@pytest.mark.parametrize("key", KEYS)
def test_the_command_line_wins_key_by_key(tmp_path: Path, key: str) -> None:
    values: dict[str, Any] = {
        "subject": ("theirs",), "suites": ("eta",), "profile": "nightly", "target": 1.0, "seed": 0, "stack": "local",
    }  # fmt: skip
    found = with_project(RunChoices(**{key: values[key]}), project(tmp_path, WHOLE))
    assert getattr(found, key) == values[key]
    assert found.configured == tuple(other for other in KEYS if other != key)


def test_it_is_looked_for_up_to_the_root_of_the_repository(tmp_path: Path) -> None:
    project(tmp_path, "[tool.taskchaos]\nseed = 1\n")
    root = project(tmp_path / "root", "[tool.taskchaos]\nseed = 2\n")
    (below := root / "a" / "b").mkdir(parents=True)
    assert read_project(below) is None, "in no repository only the folder itself counts"
    (root / ".git").mkdir()
    for place in (root, root / "a", below):
        found = read_project(place)
        assert found is not None and found.seed == 2
    project(root / "a", "[project]\nname = 'x'\n")
    assert (found := read_project(below)) is not None and found.seed == 2, "a package without the table is passed"
    project(root / "a", "[tool.taskchaos]\nseed = 3\n")
    assert (found := read_project(below)) is not None and found.seed == 3
    (root / "pyproject.toml").unlink()
    (root / "a" / "pyproject.toml").unlink()
    assert read_project(below) is None, "what is above the root is somebody else's"


@pytest.mark.parametrize("text", ["", "[tool]\n", "[tool.other]\nx = 1\n", "tool = 1\n"])
def test_no_table_says_nothing(tmp_path: Path, text: str) -> None:
    assert with_project(RunChoices(seed=3), project(tmp_path, text)) == RunChoices(seed=3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.taskchaos]\nprofil = 'quick'", "has no key 'profil': did you mean profile?"),
        ("[tool.taskchaos]\nfoo = 1", "has no key 'foo': there are subject, suites, profile, target, seed, stack"),
        ("[tool.taskchaos]\nprofile = 'huge'", "profile = 'huge': choose from quick, default, nightly"),
        ("[tool.taskchaos]\nprofile = ['quick']", "profile = ['quick']: choose from"),
        ("[tool.taskchaos]\nstack = 'swarm'", "stack = 'swarm': choose from local, compose"),
        ("[tool.taskchaos]\nseed = '1'", "seed = '1': has to be a whole number"),
        ("[tool.taskchaos]\nseed = true", "seed = True: has to be a whole number"),
        ("[tool.taskchaos]\nseed = 1.0", "seed = 1.0: has to be a whole number"),
        ("[tool.taskchaos]\nseed = 99999999999999999999", "has to be a whole number"),
        (f"[tool.taskchaos]\ntarget = 1{'0' * 400}", "target = 1000"),
        (
            f"[tool.taskchaos]\nseed = 0x{'f' * 6000}",
            "seed = a number of thousands of digits: has to be",
        ),
        ('[tool.taskchaos]\nsubject = "a\\u0000b.py:X"', "has to be a name"),
        ("[tool.taskchaos]\ntarget = 0", "target = 0: has to be above 0"),
        ("[tool.taskchaos]\ntarget = nan", "target = nan: has to be a number"),
        ("[tool.taskchaos]\ntarget = inf", "target = inf: has to be a number"),
        ("[tool.taskchaos]\ntarget = 1e9", "has to be above 0 and at most 1,000,000"),
        ("[tool.taskchaos]\nsubject = 3", "subject = 3: has to be a name, or a list of names"),
        ("[tool.taskchaos]\nsubject = ''", "subject = '': has to be a name"),
        ("[tool.taskchaos]\nsuites = ['a', 1]", "suites = ['a', 1]: has to be a name"),
        ("[tool]\ntaskchaos = 1", "tool.taskchaos has to be a table"),
        ("[tool.taskchaos", "cannot be read: "),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "cannot be read: "),
    ],
)
def test_what_is_wrong_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    file = project(tmp_path, text) / "pyproject.toml"
    with pytest.raises(UsageError) as error:
        read_project(tmp_path)
    assert says in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value).strip()


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(UsageError, match=r"pyproject\.toml: is no regular file"):
        read_project(tmp_path)


# --- the schema ------------------------------------------------------------------------------------------------------

SCHEMA: dict[str, Any] = json.loads((files("taskchaos.harness") / "templates" / "pyproject.schema.json").read_text())


def _fits(rule: dict[str, Any], value: object) -> bool:
    """Whether a value is as this schema has it: what of JSON Schema it uses, and nothing else."""
    known = {"description", "examples", "default", "oneOf", "type", "pattern", "items", "enum", "minimum", "maximum",
             "exclusiveMinimum"}  # fmt: skip
    assert rule.keys() <= known
    if "oneOf" in rule:
        return sum(_fits(one, value) for one in rule["oneOf"]) == 1
    kinds: dict[str, tuple[type, ...]] = {"string": (str,), "array": (list,), "number": (int, float), "integer": (int,)}
    if not isinstance(value, kinds[rule["type"]]) or isinstance(value, bool):
        return False
    if isinstance(value, list):
        return all(_fits(rule["items"], one) for one in value)
    if isinstance(value, str):
        return value in rule.get("enum", [value]) and (not rule.get("pattern") or bool(value.strip()))
    assert isinstance(value, int | float)
    return rule.get("minimum", value) <= value <= rule.get("maximum", value) and not (
        "exclusiveMinimum" in rule and value <= rule["exclusiveMinimum"]
    )


def test_the_schema_has_every_key_that_is_read_and_no_other() -> None:
    assert list(SCHEMA["properties"]) == list(KEYS)
    assert SCHEMA["additionalProperties"] is False and SCHEMA["type"] == "object"
    assert SCHEMA["properties"]["profile"]["enum"] == list(PROFILES)
    assert all(rule["description"] for rule in SCHEMA["properties"].values())


VALUES = st.one_of(
    st.sampled_from(
        ["quick", "nightly", "local", "compose", "", " ", "x", True, 0, 1, 1.5, -3, 10**6, 10**6 + 1, 1 << 63]
    ),
    st.lists(st.sampled_from(["a", "", 1]), max_size=3),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.sampled_from(list(KEYS)), VALUES)
def test_the_schema_takes_what_the_code_takes(key: str, value: object) -> None:
    try:
        KEYS[key](value)
    except ValueError:
        taken = False
    else:
        taken = True
    if key == "seed" and isinstance(value, float):
        return  # JSON Schema takes 1.0 for an integer
    assert _fits(SCHEMA["properties"][key], value) is taken, (key, value)


def test_the_documented_schema_is_the_one_that_ships() -> None:
    assert json.loads((ROOT / "docs" / "reference" / "pyproject.schema.json").read_text()) == SCHEMA
    told = (ROOT / "docs" / "reference" / "pyproject.md").read_text()
    assert all(f"| `{key}` |" in told for key in KEYS)
