"""Another Python environment with another release of locked_retry in it, made of this one: no network is needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import locked_retry

VERSION = "0.1.9"
#: The other release leaves this beside itself when it is imported.
USED = "used"


def bare(folder: Path) -> Path:
    """The interpreter of an environment with nothing in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def packages(python: Path) -> Path:
    """Where its packages are."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def with_our_packages(python: Path) -> Path:
    """It sees what is installed here, but nothing that is installed editable."""
    (packages(python) / "their.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def with_other_release(python: Path) -> Path:
    """A copy of locked_retry that calls itself older, and says when it is used."""
    site, source = packages(python), Path(locked_retry.__file__).parent
    shutil.copytree(source, site / "locked_retry", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    with (site / "locked_retry" / "__init__.py").open("a", encoding="utf-8") as code:
        code.write(f"\nfrom pathlib import Path\nPath(__file__).with_name({USED!r}).touch()\n")
    told = site / f"locked_retry-{VERSION}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: locked-retry\nVersion: {VERSION}\n")
    return python
