"""Priorities that are read the other way round.

Bug: the larger number is taken first, and whoever sends means the smaller one.
Exposed by: more tasks than the workers hold.
Symptom: what is urgent waits for all that is not.
Met by: kombu 4.0 (kombu #444), which read them so on Redis until 4.0.2; celery #4028, on which of 0 and 9 comes first.
"""

from __future__ import annotations

import time

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

#: ARGV: lease in ms, and which of two numbers comes first.
_TAKE = scripts.TAKE.replace(
    "local raw = redis.call('LPOP', 'mini:ready')",
    """
local raw, best
for _, each in ipairs(redis.call('LRANGE', 'mini:ready', 0, -1)) do
  local number = cjson.decode(cjson.decode(each).message).properties.priority
  if ARGV[2] == 'larger' then number = -number end
  if not best or number < best then raw, best = each, number end
end
if raw then redis.call('LREM', 'mini:ready', 1, raw) end
""",
)


class PriorityUpsideDown(MiniQueue):
    """Of those that are alike, the first."""

    name = "priority_upside_down"
    only_in = "priorities.quiet"
    contract = MiniQueue.contract.claiming(Claim.PRIORITY)
    symptom = fails(Rule.PRIORITY)
    first = "larger"

    def take(self) -> Job | None:
        """The most urgent entry, leased."""
        begun_s = time.monotonic()
        found = self.hashed(_TAKE, int(1000 * self.lease_s), self.first)
        if not found:
            return None
        token, task_id, message, failures = found
        return Job(token, task_id.decode(), message.decode(), failures, begun_s + self.lease_s)


class PriorityUpsideDownMended(PriorityUpsideDown):
    """As Celery's priorities on Redis: 0 is the most urgent."""

    name = "priority_upside_down_mended"
    symptom = PASS
    first = "smaller"
