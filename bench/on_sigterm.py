"""SIGTERM (`timeout`, a CI job that is cancelled) ends a benchmark as Ctrl-C does: what it started ends with it."""

from __future__ import annotations

import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
