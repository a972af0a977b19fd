"""A script that takes an entry first and writes down who has it afterwards.

Bug: a script is atomic until one of its commands is refused; what it did before that stays done.
Exposed by: a permission (HSET) that is taken from the user under load.
Symptom: each attempt to fetch removes one more entry, and keeps none.
Met by: ACLs that are "hardened" command by command; keys of another type in the middle of a script; `redis.call` of a
  command that a proxy or a managed service does not know.
"""

from __future__ import annotations

import time

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

#: The same step, its write that may be refused before the one that takes something away.
_TAKE_LAST = scripts.TAKE.replace("redis.call('LPOP', 'mini:ready')", "redis.call('LINDEX', 'mini:ready', 0)").replace(
    "redis.call('ZADD', 'mini:deadlines', now + ARGV[1], token)",
    "redis.call('ZADD', 'mini:deadlines', now + ARGV[1], token)\nredis.call('LPOP', 'mini:ready')",
)


class TornScript(MiniQueue):
    """LPOP, then HSET."""

    name = "torn_script"
    only_in = "redis_answers.acl--hset"
    symptom = fails(Rule.LOST)
    script = scripts.TAKE

    def take(self) -> Job | None:
        """The next entry, leased."""
        begun_s = time.monotonic()
        found = self.hashed(self.script, int(1000 * self.lease_s))
        if not found:
            return None
        token, task_id, message, failures = found
        return Job(token, task_id.decode(), message.decode(), failures, begun_s + self.lease_s)


class TornScriptMended(TornScript):
    """HSET, then LPOP: what is refused has changed nothing."""

    name = "torn_script_mended"
    symptom = PASS
    script = _TAKE_LAST
