"""A repository of somebody else: its packages are called as ours are, and it needs packages that we do not."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: What no test of ours, and no run of theirs, may trip over.
FILES = {
    "pyproject.toml": """
[project]
name = "shop"
version = "1"

[project.optional-dependencies]
docker = ["no-such-package-anywhere>=1"]

[tool.pytest.ini_options]
addopts = "--strict-markers --of-their-own"
testpaths = ["suites"]
""",
    "requirements.txt": "./vendor/tariff\n",
    "vendor/tariff/pyproject.toml": """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "tariff"
version = "1.0"

[tool.setuptools]
py-modules = ["tariff"]
""",
    "vendor/tariff/tariff.py": "PRICE = 3\n",
    "conftest.py": """
import pytest

def pytest_addoption(parser):
    parser.addoption("--of-their-own", action="store_true")
    parser.addoption("--subject")

@pytest.fixture
def subject():
    return "theirs"
""",
    "harness/__init__.py": "here = True\n",
    "harness/subject.py": "PRICES = [1, 2, 3]\n",
    "faults/__init__.py": "here = True\n",
    "suites/__init__.py": "here = True\n",
    "suites/test_theirs.py": "def test_theirs(subject):\n    assert subject == 'theirs'\n",
    "shop/__init__.py": "",
    "shop/retry.py": """
from harness.subject import PRICES
from tariff import PRICE

from taskchaos.suites.subjects.locked_retry import LockedRetry
from taskchaos.harness.subject import CelerySubject

assert PRICE in PRICES


class Subject(LockedRetry):
    name = "shop"


class Forgets(CelerySubject):
    name = "forgets"

    def register(self, app, body):
        @app.task(name="shop.forgets")
        def order(payload):
            try:
                return body(payload)
            except Exception:
                return None

        return order
""",
    "my shop.py": "from shop.retry import Subject as Theirs\n\n\nclass Subject(Theirs):\n    name = 'my_shop'\n",
}


def foreign_project(folder: Path) -> Path:
    """Write it, as a git repository."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    """Make a folder a git repository with all that is in it, on branch main."""
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-q", "-m", "all of it")):
        subprocess.run(["git", *words], cwd=folder, check=True, stdin=subprocess.DEVNULL)
