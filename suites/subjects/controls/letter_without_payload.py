"""A dead letter that has kept the id, and not the message.

Bug: what was given up cannot be run again.
Exposed by: a task that fails for good.
Symptom: its dead letter is of no use.
Met by: the interview's `TaskFailedError`; tables of failed task ids.
"""

from __future__ import annotations

import json

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class LetterWithoutPayload(MiniQueue):
    """Given up, and its id written down."""

    name = "letter_without_payload"
    only_in = "transient_error.mixed"
    symptom = fails(Rule.DEAD_LETTER)

    def retry(self, job: Job) -> None:
        """After the last attempt, a line for the record."""
        super().retry(job)
        if job.failures >= self.max_failures:
            self.redis.hset("mini:dead", job.id, json.dumps({"id": job.id, "message": ""}))


class LetterWithoutPayloadMended(LetterWithoutPayload):
    """The whole entry is kept."""

    name = "letter_without_payload_mended"
    symptom = PASS
    retry = MiniQueue.retry
