"""A retry that cannot be published, and is acknowledged all the same.

Bug: the error is swallowed, and the acknowledgement does not depend on it.
Exposed by: a reset of the publish.
Symptom: the task is gone after its first transient error.
Met by: dramatiq #545; Celery, whose failed `retry` rejects the message.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from redis.exceptions import RedisError

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class RetryPublishLost(MiniQueue):
    """Publish, twice if need be, then acknowledge."""

    name = "retry_publish_lost"
    only_in = "command.retry_publish_cut"
    symptom = fails(Rule.LOST)
    commands = replace(MiniQueue.commands, retry="ZADD")
    swallows = True

    def retry(self, job: Job) -> None:
        """The same entry, one failure more."""
        entry = self.entry(job.token)
        if entry is None:
            return
        later = json.dumps({**entry, "failures": job.failures + 1})
        due_ms = self.now_ms() + 1000 * self.back_off_s(job)
        for last in (False, True):
            try:
                self.redis.zadd("mini:delayed", {later: due_ms})
                break
            except RedisError as error:
                logging.getLogger(__name__).warning("the retry of %s could not be published: %s", job.id, error)
                if last and not self.swallows:
                    raise
        self.done(job.token)


class RetryPublishLostMended(RetryPublishLost):
    """Not published, not acknowledged."""

    name = "retry_publish_lost_mended"
    symptom = PASS
    swallows = False
