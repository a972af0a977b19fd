"""`python -m taskchaos.harness.cli`."""

from __future__ import annotations

import threading

from taskchaos.harness.cli import main

if __name__ == "__main__":
    threading.current_thread().name = "taskchaos"
    main()
