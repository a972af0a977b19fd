"""Celery's source distribution, with its integration tests."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from celery_suite_support import Unobtainable, obtain


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path | Unobtainable:
    """Celery's tests, once for all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "celery_suite"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return obtain(folder)
        except Unobtainable as error:
            return error
