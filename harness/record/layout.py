"""The names of what is in a run folder, and in the folder of each of its cases."""

from __future__ import annotations

import shlex
from pathlib import Path

FINAL = "final.json"
EVENTS = "events.jsonl"
MANIFEST = "manifest.json"
CASES = "cases"
PLAN = "plan.json"
UNDO = "undo.jsonl"
WIRE = "wire.jsonl"
MARKS = "marks"
LOGS = "logs"
HOME = Path(".taskchaos")
RUNS = "runs"
#: Present in a run folder once the user wishes the run to end: whoever runs a case of it heals and ends.
STOP = ".stop"
#: How the folder for the temporary files of tests begins, in `logs`.
TEMPORARY = ".tmp-"
LATEST = "latest"
#: The folder of a case that holds its ledger.
LEDGER = "ledger"
SUFFIX = ".ledger"


def at_home(folder: Path) -> bool:
    """Whether a run folder is one of the working directory's own runs (not one given by --out)."""
    return folder.resolve().parent == (HOME / RUNS).resolve()


def replay_command(place: Path, case: str) -> str:
    """The command that runs a case of the stored run in `place` again with the same plan."""
    return (
        f"taskchaos replay {place.name}/{case}"
        if at_home(place)
        else f"taskchaos replay {shlex.quote(str(place / CASES / case))}"
    )
