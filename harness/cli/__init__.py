"""The `taskchaos` command. Its commands import what they need when they are called: a help text waits for nothing."""

from __future__ import annotations

from taskchaos.harness.cli.group import main

__all__ = ["main"]
