"""Subjects that ship with taskchaos: controls that must be caught, and peers to compare with."""

#: The name that --subject accepts, and where the subject is; in the order in which a run shows them.
SHIPPED = {
    "locked_retry": "taskchaos.suites.subjects.locked_retry:LockedRetry",
    "stock_best": "taskchaos.suites.subjects.stock:BestSettings",
    "stock_acks_late": "taskchaos.suites.subjects.stock:AcksLate",
    "stock_defaults": "taskchaos.suites.subjects.stock:Defaults",
    "interview_inside": "taskchaos.suites.subjects.interview:LockInsideTry",
    "interview_before": "taskchaos.suites.subjects.interview:LockBeforeTry",
    "interview_sleep": "taskchaos.suites.subjects.interview:SleepBackoff",
}
