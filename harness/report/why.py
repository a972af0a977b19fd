"""What each kind of cause means, and what helps: for the report, and for docs/explanation/causes.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taskchaos.harness.record.result import CauseKind


@dataclass(frozen=True, slots=True)
class Why:
    """title: a few words; why: how it comes about; mend: what an implementation has to do instead."""

    title: str
    why: str
    mend: str


K = CauseKind
WHY: Mapping[CauseKind, Why] = {
    K.REPLY_UNSEEN: Why(
        "Redis gave it away, and nobody got it",
        "A pop removes the message as soon as Redis executes it. When the reply is lost, no copy is left anywhere.",
        "Take a message and note who has it in one step (LMOVE, or a script), and give back what nobody reports on.",
    ),
    K.GIVEN_TO_THE_DEAD: Why(
        "Who got it was killed before it began",
        "The reply had left Redis, and the process died with the message in its memory.",
        "As above: what a process has must stay known to Redis until it is done, with an expiry that nobody renews.",
    ),
    K.TAKEN_OFF: Why(
        "It was acknowledged, and never begun",
        "The message was taken off Redis although no body ran: a lock was not free, or a guard was wrong.",
        "Acknowledge after the effect. Who may not run a task now has to hand it back with a delay.",
    ),
    K.NEVER_SENT: Why(
        "It was never sent to Redis",
        "The caller was told that the task was submitted, and no command carried it: an error was swallowed.",
        "Let submit raise, and let the caller decide.",
    ),
    K.PUBLISH_UNHEARD: Why(
        "Its publish was cut, and said to have succeeded",
        "The command that publishes did not get through, or its answer did not, and the caller was told otherwise.",
        "Repeat it under the same id until Redis has answered, and make the repeat harmless.",
    ),
    K.NEVER_GIVEN: Why(
        "Redis had it, and gave it to nobody",
        "It went into Redis and never came out: Redis forgot it, or it went where nobody looks.",
        "See what Redis was made to forget, and whether keys expire or are overwritten.",
    ),
    K.KILLED: Why(
        "Its process was killed, and nobody took it over",
        "The attempt was cut short, and no other process was given the message.",
        "Lease what is taken, renew the lease while it is worked on, and give back what has run out.",
    ),
    K.KILLED_WHEN_ACKNOWLEDGED: Why(
        "It was acknowledged before it was done",
        "The message was taken off Redis when the task began (acks_late off), so a kill in between loses it.",
        "Acknowledge after the effect (acks_late, and reject_on_worker_lost), or hold a lease until then.",
    ),
    K.TAKEN_OFF_FOR_THE_DEAD: Why(
        "A task whose process died was acknowledged as done",
        "The parent of a killed pool process acknowledged its task as if it had failed for good.",
        "Give back what a killed process had (reject_on_worker_lost), and count the crash.",
    ),
    K.RETRY_CUT: Why(
        "The command that hands on the retry did not get through",
        "The failed attempt was acknowledged although its retry had not been published.",
        "Publish the retry and acknowledge the attempt in one script, and repeat that until it is answered.",
    ),
    K.RETRY_IN_MEMORY: Why(
        "Its retry waited in a worker's memory",
        "The back-off was a sleep or a timer of the process, and the process died.",
        "Keep what waits in Redis, in a sorted set by the time at which it is due.",
    ),
    K.RETRY_GONE: Why(
        "Its retry was handed on, and is gone",
        "Redis heard of the retry, and nothing was given to a worker afterwards.",
        "Look at the last command of its story: what it wrote, and who was to read it.",
    ),
    K.ENDED: Why(
        "It ended without an effect, and was acknowledged",
        "The attempt was interrupted, and its message was taken off as if it had been done.",
        "Acknowledge what has had its effect, and hand back the rest.",
    ),
    K.SENT_TWICE: Why(
        "It was sent twice",
        "The reply to the first publish was lost and it was sent again, or the caller submitted it again.",
        "Give each submit an id of its own, and let Redis refuse the second of one id.",
    ),
    K.TAKEN_OVER: Why(
        "It was executed again after its process had died",
        "The attempt had taken effect, or was about to, when its process was killed; Redis could not know.",
        "Note the effect and the end together, or make the effect refuse a second time (a fence, a unique key).",
    ),
    K.LEASE_ENDED: Why(
        "Its lease ended while it was still worked on",
        "The task ran, or its worker stood still, for longer than the visibility timeout, so another got it too.",
        "Renew the lease while the task runs, and fence its effects for when the renewer stands still as well.",
    ),
    K.TOLD_TOO_LATE: Why(
        "It was done, and Redis did not know",
        "The acknowledgement was lost or late, and Redis gave the message away again.",
        "Repeat the acknowledgement until it is answered, and drop what comes for a task that is done.",
    ),
    K.WENT_ON: Why(
        "It went on after the last word",
        "The subject had said what became of the task, and an older attempt still took effect.",
        "Fence: an effect has to carry a token that the newest attempt has raised.",
    ),
    K.NEVER_FREED: Why(
        "What it waits for is never freed",
        "A lock or a state was left by a process that is dead, and nobody after it can go on with the task.",
        "Let locks expire, renew them while they are used, and free only what is still one's own.",
    ),
    K.WAITED_OTHERWISE: Why(
        "Its retry waited otherwise than claimed",
        "The time between two attempts does not follow the back-off that the subject claims.",
        "Reckon the wait where it is kept, cap it, draw its jitter anew each time, and do not poll sooner.",
    ),
    K.TRIED_TOO_OFTEN: Why(
        "It was tried more often than allowed",
        "Nobody counted the attempts, or the count was lost on the way to the next one.",
        "Keep the count in Redis with the task, and raise it in the step that hands the task out.",
    ),
    K.GIVEN_UP: Why(
        "It was given up although it could have succeeded",
        "The task became a dead letter before its attempts were used up.",
        "Count attempts where they end, apart from redeliveries, and give up only when all have failed.",
    ),
    K.SAID_OTHERWISE: Why(
        "What was said of it is not what happened",
        "The result backend, or a signal, was told another end than the attempt had.",
        "Say what became of a task once, from the process that knows, after it is settled in Redis.",
    ),
    K.TOO_SLOW: Why(
        "It waits for Redis more than it works",
        "Each task needs several commands one after the other, and every one of them takes a round trip.",
        "Do for many tasks at once what is done for each: claim and settle in batches, in scripts or pipelines.",
    ),
    K.HELD: Why(
        "A process takes longer for a task than the task does",
        "It sleeps, or waits for an answer, between two tasks, and nothing else runs in it meanwhile.",
        "Put what waits into Redis by its time, and let the process go on; ask Redis for several tasks at once.",
    ),
    K.NOT_KNOWN: Why(
        "The records do not tell",
        "Which commands carried the task was not noted: they are noted behind the embedded proxy, at up to 200 tasks a "
        "second, since taskchaos 0.2.",
        "Run it with --proxy embedded, and read the task's story.",
    ),
}
