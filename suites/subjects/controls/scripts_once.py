"""Scripts that are loaded once, when a process begins.

Bug: Redis's cache of scripts is taken for something that lasts.
Exposed by: a restart of Redis.
Symptom: NOSCRIPT from then on, to every worker and producer, until they are restarted too.
Met by: EVALSHA in pipelines, where redis-py cannot load a script again; clients that keep SHA1s in a module.
"""

from __future__ import annotations

import os
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class ScriptsOnce(MiniQueue):
    """SCRIPT LOAD, and EVALSHA ever after."""

    name = "scripts_once"
    only_in = "redis_restart.restart"
    symptom = fails(Rule.STUCK)

    def __init__(self) -> None:
        super().__init__()
        self._loaded: dict[tuple[int, str], str] = {}

    def hashed(self, script: str, *args: int | str) -> Any:
        """By its name alone."""
        known = (os.getpid(), script)
        if known not in self._loaded:
            self._loaded[known] = str(self.redis.script_load(script))
        return self.redis.evalsha(self._loaded[known], 0, *map(str, args))


class ScriptsOnceMended(ScriptsOnce):
    """Loaded again where it is not known."""

    name = "scripts_once_mended"
    symptom = PASS
    hashed = MiniQueue.hashed
