"""Known-bad implementations, one bug each, and their twins: the same with just that bug mended.

Each has a file of its own: what the bug is, the fault that exposes it, the symptom, where people met it. Those of locks
break one thing of the lock around a task (under_lock.py), those of waits and growth one thing of a task of plain
Celery's (lawful.py), the others one thing of the small queue (mini_queue.py).
"""

from __future__ import annotations

from taskchaos.harness.case.subject_names import ControlInfo, SubjectInfo

#: Those that a quick run has time for.
_QUICK = ("swallows_errors", "waits_in_memory")

#: Those whose rules need more waits than a quick case has.
_LONG = ("no_jitter", "cap_ignored", "no_backoff", "late_promotion", "hot_loop", "client_kept")

#: The control of each file; its twin's class is called the same, and Mended. Locks first, then queues, then waits.
_CLASSES = {
    "setnx_forever": "SetnxForever",
    "setnx_skips": "SetnxSkips",
    "fixed_expiry": "FixedExpiry",
    "blind_release": "BlindRelease",
    "get_then_set": "GetThenSet",
    "own_lock": "OwnLock",
    "contention_fails": "ContentionFails",
    "state_table": "StateTable",
    "success_first": "SuccessFirst",
    "bare_counter": "BareCounter",
    "counter_key": "CounterKey",
    "counter_expires": "CounterExpires",
    "no_limit": "NoLimit",
    "sleep_backoff": "SleepingBackoff",
    "ack_early": "AckEarly",
    "child_lost_acked": "ChildLostAcked",
    "pop_then_record": "PopThenRecord",
    "due_popped_first": "DuePoppedFirst",
    "retry_publish_lost": "RetryPublishLost",
    "publish_then_ack": "PublishThenAck",
    "release_in_try": "ReleaseInTry",
    "submit_twice": "SubmitTwice",
    "eta_in_seconds": "EtaInSeconds",
    "eta_in_memory": "EtaInMemory",
    "priority_upside_down": "PriorityUpsideDown",
    "revoke_in_memory": "RevokeInMemory",
    "row_first": "RowFirst",
    "seen_forgotten": "SeenForgotten",
    "fire_and_forget": "FireAndForget",
    "scripts_once": "ScriptsOnce",
    "payload_expires": "PayloadExpires",
    "lease_too_short": "LeaseTooShort",
    "renewer_dies": "RenewerDies",
    "works_on": "WorksOn",
    "sweeps_at_start": "SweepsAtStart",
    "leader_immortal": "LeaderImmortal",
    "fence_random": "FenceRandom",
    "crash_loop": "CrashLoop",
    "crashes_in_memory": "CrashesInMemory",
    "letter_without_payload": "LetterWithoutPayload",
    "swallows_errors": "SwallowsErrors",
    "chord_by_begin": "ChordByBegin",
    "refusal_final": "RefusalFinal",
    "torn_script": "TornScript",
    "due_by_client": "DueByClient",
    "client_clock": "ClientClock",
    "no_jitter": "NoJitter",
    "cap_ignored": "CapIgnored",
    "no_backoff": "NoBackoff",
    "late_promotion": "LatePromotion",
    "hot_loop": "HotLoop",
    "client_kept": "ClientKept",
    "waits_in_memory": "WaitsInMemory",
}

CONTROLS = tuple(
    ControlInfo(
        SubjectInfo(name, f"{__name__}.{name}:{kind}"),
        SubjectInfo(f"{name}_mended", f"{__name__}.{name}:{kind}Mended"),
        quick=name in _QUICK,
        profile="default" if name in _LONG else "quick",
    )
    for name, kind in _CLASSES.items()
)
