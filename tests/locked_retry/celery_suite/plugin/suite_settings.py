"""What a run of Celery's own integration tests is told, by the environment, for the plugin and for its worker."""

from __future__ import annotations

import os

#: "locked_retry", or "stock" for the same on Celery's own transport.
TRANSPORT = os.environ.get("SUITE_TRANSPORT", "locked_retry")
#: A pool for a worker that is a process of its own; "embedded" for Celery's way: prefork, from a thread of the tests'.
POOL = os.environ.get("SUITE_POOL", "embedded")
#: Where the worker writes what it says.
WORKER_LOG = os.environ.get("SUITE_WORKER_LOG", os.devnull)
#: Where the outcome of each test is written when all have ended.
OUTCOMES = os.environ.get("SUITE_OUTCOMES", os.devnull)
#: "2/5": every fifth test, from the third on. Nothing: all.
SHARE = os.environ.get("SUITE_SHARE", "")
#: Tests that are left out, one a line; a name stands for all below it.
WITHOUT = tuple(os.environ.get("SUITE_WITHOUT", "").splitlines())
OURS = TRANSPORT == "locked_retry"
