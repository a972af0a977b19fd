"""`taskchaos new-subject`: a template for a subject of your own, with a test."""

from __future__ import annotations

from pathlib import Path

from taskchaos.harness.errors import UsageError

TEMPLATES = Path(__file__).with_name("templates")


def write_template(name: str, folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write NAME.py and test_NAME.py into the folder. Raises UsageError for a bad name or a file that exists."""
    if not name.isidentifier():
        raise UsageError(f"new-subject {name}: has to be a Python name, such as my_retry")
    targets = {"subject.py.txt": folder / f"{name}.py", "test_subject.py.txt": folder / f"test_{name}.py"}
    taken = [p.name for p in targets.values() if p.exists()]
    if taken and not force:
        raise UsageError(f"new-subject {name}: {', '.join(taken)} exists; use --force to overwrite")
    for template, target in targets.items():
        text = (TEMPLATES / template).read_text(encoding="utf-8").replace("@NAME@", name)
        target.write_text(text, encoding="utf-8")
    return tuple(targets.values())
