"""Where the suites are, by the names that the commands take."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from taskchaos.harness.errors import UsageError


def suites_folder() -> Path:
    """Where the suites are installed. Raises UsageError if they are not."""
    spec = importlib.util.find_spec("taskchaos.suites")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise UsageError("the suites are not installed: install taskchaos with `pip install -e ./locked_retry -e .`")
    return Path(places[0])


def suite_names() -> tuple[str, ...]:
    """The suites there are."""
    return tuple(sorted(p.stem.removeprefix("test_") for p in suites_folder().glob("test_*.py")))


def own(name: str) -> bool:
    """Whether what was named is a path of the user's own and no suite that ships."""
    return not (suites_folder() / f"test_{name}.py").is_file()


def suite_paths(names: Sequence[str]) -> list[str]:
    """Test paths for suite names or for paths of a person's own; all suites for none. Raises UsageError."""
    folder = suites_folder()
    paths = []
    for name in names or suite_names():
        own = Path(name.partition("::")[0])
        known = folder / f"test_{name}.py"
        if known.is_file():
            paths.append(str(known))
        elif own.exists():
            paths.append(name)
        else:
            close = get_close_matches(name, suite_names(), 1)
            there = f"did you mean {close[0]}?" if close else f"there are {', '.join(suite_names())}, or give a path"
            raise UsageError(f"no suite {name!r}; {there}")
    return paths
