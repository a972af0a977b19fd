"""All of Celery's own integration tests that a Redis can be asked, file by file, on every pool, and on stock Celery.

`tox -e celery-integration` runs this file; the rest of the tests does not, as it takes too long.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery_suite_support import FILES, POOLS, Call, Unobtainable, run


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("transport", ["locked_retry", "stock"])
def test_a_file_of_celerys_tests_passes(
    require: Callable[[str, bool, str], None],
    source: Path | Unobtainable,
    server: Any,
    transport: str,
    pool: str,
    file: str,
) -> None:
    if isinstance(source, Unobtainable):
        require("celery-suite", False, str(source))
    outcome = run(source, server, Call(transport, pool, (file,), 1800))
    print(outcome)
    assert not outcome.faults(), "\n".join((str(outcome), *outcome.faults(), outcome.output))
