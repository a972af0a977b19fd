"""docker/cli: taskchaos in an image, run as whoever has no installation runs it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker_support import docker, missing
from foreign_project import foreign_project
from repository import ROOT

DOCKERFILE = ROOT / "docker" / "cli" / "Dockerfile"
PYTHON_BASE = "python:3.11-slim-bookworm"


def test_everything_that_is_built_from_is_copied_and_nothing_else() -> None:
    """A room that pyproject.toml names and the image lacks would be found out only where there is an engine."""
    lines = re.findall(r"^COPY (.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    rooms = set(re.findall(r'^"taskchaos\.(\w+)" = "\w+"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert copied == rooms | {"LICENSE", "README.md", "pyproject.toml", "taskchaos_pytest.py", "locked_retry"}
    assert all((ROOT / name).exists() for name in copied)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image, built; or why it cannot be."""
    lacking = missing(PYTHON_BASE)
    if lacking:
        yield f"! {lacking}"
        return
    name = f"taskchaos-test-{uuid4().hex[:10]}"
    index = ["--build-arg", "PIP_INDEX_URL"] if "PIP_INDEX_URL" in os.environ else []
    docker("build", "--quiet", "--tag", name, *index, "--file", str(DOCKERFILE), str(ROOT), timeout_s=600)
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def built(image: str, require: Callable[[str, bool, str], None]) -> str:
    require("docker", not image.startswith("!"), image.removeprefix("! "))
    return image


def _run(image: str, project: Path, *words: str) -> str:
    """As its first lines say, without a network."""
    mine = ("--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{project}:/work")
    return docker("run", "--rm", "--init", "--network", "none", *mine, image, *words, timeout_s=300)


def test_the_image_judges_a_subject_that_ships(built: str, tmp_path: Path) -> None:
    said = _run(built, tmp_path, "run", "transient_error", "--subject", "locked_retry", "--out", "run")
    assert "PASS" in said
    assert json.loads((tmp_path / "run" / "verdict.json").read_text())["outcome"] == "pass"
    assert (tmp_path / "run" / "report.html").stat().st_uid == os.getuid(), "the files are the caller's"


def test_without_a_command_it_says_what_there_is(built: str, tmp_path: Path) -> None:
    assert _run(built, tmp_path).startswith("Usage: taskchaos")


def test_the_image_judges_a_subject_of_a_foreign_repository(built: str, tmp_path: Path) -> None:
    """In an image of its own, for what it needs; as its Dockerfile says."""
    project = foreign_project(tmp_path / "project")
    recipe = re.findall(r"^#        (FROM taskchaos\n(?:#        .*\n)+)", DOCKERFILE.read_text(), re.MULTILINE)
    text = recipe[0].replace("#        ", "").replace("FROM taskchaos", f"FROM {built}")
    # Its requirement is a folder of the project.
    text = text.replace("COPY requirements.txt /", "COPY requirements.txt /\nCOPY vendor /vendor\nWORKDIR /")
    (project / "Dockerfile").write_text(text + "WORKDIR /work\n")
    mine = f"{built}-mine"
    docker("build", "--quiet", "--tag", mine, str(project), timeout_s=300)
    try:
        words = ("run", "transient_error", "-k", "once", "--subject", "shop.retry:Subject", "--out", "run")
        said = _run(mine, project, *words)
    finally:
        docker("image", "rm", "--force", mine)
    assert "PASS" in said
