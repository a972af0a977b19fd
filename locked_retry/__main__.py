"""`python -m locked_retry --broker URL dead list|show|requeue|purge`, `audit`, `stats`."""

from __future__ import annotations

from locked_retry.operator.commands import main

if __name__ == "__main__":
    main(prog_name="python -m locked_retry")
