"""A run made by hand that holds one case of every standing, with histories, windows and stories that look real."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from plans import plan

from taskchaos.harness import codec
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.judge import story
from taskchaos.harness.record import events
from taskchaos.harness.record.events import (
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    Event,
    FaultChanged,
    PhaseBegan,
    PhaseEnded,
    Problem,
    RunEnded,
    RunStarted,
    StackReady,
    WorkerDied,
)
from taskchaos.harness.record.history import (
    NEVER,
    UNFENCED,
    AttemptOutcome,
    ClaimKind,
    FaultInterval,
    FinalState,
    History,
    Phase,
    SubmitOutcome,
)
from taskchaos.harness.record.manifest import seal_case, seal_run
from taskchaos.harness.record.result import (
    CaseDetail,
    CaseResult,
    Expectation,
    FaultSummary,
    RunResult,
    ServerInfo,
    Trouble,
    Window,
)
from taskchaos.harness.record.verdict import (
    OperationCounts,
    Outcome,
    Rule,
    RuleResult,
    Sample,
    Throughput,
    Verdict,
    merge,
)
from taskchaos.harness.report.phrases import Assessment, standing
from taskchaos.harness.report.run import collect

MS = 1_000_000
T0 = 5_000_000 * MS  # CLOCK_MONOTONIC when the first phase of a history begins
PHASES = ((PhaseName.BASELINE, 0.0, 4.0), (PhaseName.FAULT, 4.0, 11.0), (PhaseName.HEALED, 11.0, 15.0))
DRAIN = (PhaseName.DRAIN, 15.0, 17.1)


def ns(at_s: float) -> int:
    """The monotonic time of a second of the case."""
    return T0 + round(at_s * 1000) * MS


def passing(rule: Rule, reason: str, expression: str = "", observed: float | int | None = 0) -> RuleResult:
    """A rule that holds."""
    return RuleResult(rule, Outcome.PASS, expression or f"{rule.value} = 0", observed, reason)


def base_rules(*, claims_throughput: bool = True) -> dict[Rule, RuleResult]:
    """The rules of a case where all is well."""
    rules = [
        passing(
            Rule.LOST,
            "1,496 acknowledged, all took effect; 4 unknown, 3 recovered. "
            "At most 95.0 % loss per fault (1 fault, 95 %)",
        ),
        passing(Rule.STUCK, "nothing is left on the broker after 3 equal readings"),
        passing(Rule.DUPLICATE, "every operation took effect at most once"),
        passing(Rule.OVERLAP, "no two attempts of one operation ran at the same time"),
        passing(Rule.UNEXPECTED, "no effect without a submit"),
        passing(Rule.FALSE_SUCCESS, "every claimed success took effect"),
        passing(Rule.ZOMBIE, "no effect after the lease was lost"),
        passing(Rule.LEAK, "no key of the subject is left"),
        RuleResult(Rule.RETRIES, Outcome.NOT_CLAIMED, "attempts <= 4", None, "the contract leaves out retries_bounded"),
        passing(Rule.EVIDENCE, "ledger whole: 0 torn records", "torn = 0"),
        passing(Rule.FAULTS, "1 of 1 injected, proven and healed", "proven = injected", 1),
        passing(Rule.CONVERGED, "quiet for 2.0 s, 3 equal readings", "readings >= 3", 3),
        passing(Rule.WORKERS, "no worker died on its own"),
    ]
    if claims_throughput:
        rules += [
            passing(Rule.THROUGHPUT, "baseline 99.8/s, healed 99.4/s", "throughput >= 95/s", 99.4),
            passing(Rule.RECOVERY, "back at 95 % of baseline after the last heal", "recovery <= 15 s", 1.25),
        ]
    else:
        reason = "the contract leaves out throughput"
        rules.append(RuleResult(Rule.THROUGHPUT, Outcome.NOT_CLAIMED, "throughput >= 95/s", None, reason))
    return {r.rule: r for r in rules}


def case(
    name: str,
    *,
    expected: Expectation | None = None,
    changed: tuple[RuleResult, ...] = (),
    control: bool = False,
    error: str = "",
    trouble: Trouble | None = None,
    assertion: str = "",
    baseline: str = "",
    faults: tuple[FaultSummary, ...] = (FaultSummary("process.kill_tree", "worker-1", 1, 1, 1),),
    throughput: Throughput | None = None,
    wall_s: float = 21.4,
    claims_throughput: bool = True,
) -> CaseResult:
    """A judged case from its id and the rules that differ from all-is-well."""
    suite, scenario, subject = name.split(".", 2)
    rules = base_rules(claims_throughput=claims_throughput)
    rules.update({r.rule: r for r in changed})
    ordered = tuple(rules[r] for r in Rule if r in rules) if not error else ()
    failed = frozenset(r.rule for r in ordered if r.outcome is Outcome.FAIL)
    outcome = merge(r.outcome for r in ordered)
    expectation = expected or Expectation()
    return CaseResult(
        id=name,
        suite=suite,
        scenario=scenario,
        subject=subject,
        seed=7,
        expected=expectation,
        outcome=outcome,
        as_expected=not error and not assertion and expectation.met(outcome, failed),
        control=control,
        failed_rules=tuple(r for r in Rule if r in failed),
        rules=ordered,
        operations=OperationCounts() if error else OperationCounts(1500, 1496, 0, 4, 1499, 0, 3),
        faults=() if error else faults,
        throughput=Throughput() if error else throughput or Throughput(99.8, 61.3, 99.4, 1.25, 100.0),
        wall_s=wall_s,
        replay=f"taskchaos replay {name} --seed 7",
        folder=f"cases/{name}",
        nodeid=f"suites/test_{suite}.py::test_{scenario}[{subject}]",
        error=error,
        trouble=trouble,
        assertion=assertion,
        baseline=baseline,
    )


LOST = RuleResult(
    Rule.LOST,
    Outcome.FAIL,
    "lost = 0",
    3,
    "3 acknowledged tasks left no effect, are in no dead letter and not on the broker",
    (
        Sample(507, "acknowledged, delivered to worker-1, then gone"),
        Sample(512, "acknowledged, never delivered"),
        Sample(513, "acknowledged, never delivered"),
    ),
)
DUPLICATE = RuleResult(
    Rule.DUPLICATE,
    Outcome.FAIL,
    "duplicate = 0",
    1,
    "1 task took effect more than once",
    (Sample(421, "2 effects"),),
)
STUCK = RuleResult(
    Rule.STUCK,
    Outcome.FAIL,
    "stuck = 0",
    41,
    "41 operations are still on the broker although every redelivery timeout has passed",
    tuple(Sample(600 + i, "on the broker: unacked") for i in range(32)),
    found=41,
)
#: What is said beside a loss that stock Celery has too.
BASELINE = "stock Celery at its best also loses here: this may be kombu's loss, not yours"
UNPROVEN = RuleResult(
    Rule.FAULTS,
    Outcome.UNKNOWN,
    "proven = injected",
    0,
    "0 of 1 faults proven: no command was in flight on the link of worker-2 while it was black-holed",
    (Sample(None, "network.black_hole worker-2: no packet met it"),),
)
SLOW = RuleResult(
    Rule.THROUGHPUT, Outcome.FAIL, "throughput >= 95/s", 4.9, "baseline 4.9/s, healed 4.8/s at 100 ms round trip"
)


def cases() -> tuple[CaseResult, ...]:
    """One case of every standing, over four suites."""
    black_hole = (FaultSummary("network.black_hole", "worker-2", 1, 0, 1),)
    latency = (
        FaultSummary("network.latency", "worker-1", 1, 1, 1),
        FaultSummary("network.latency", "worker-2", 1, 1, 1),
    )
    return (
        case("worker_kill.tree.locked_retry"),
        case("worker_kill.child.locked_retry", faults=(FaultSummary("process.kill_child", "worker-2", 6, 6, 6),)),
        case("worker_kill.tree.stock_best", changed=(LOST, DUPLICATE)),
        case(
            "worker_kill.tree.interview_inside",
            expected=Expectation(frozenset({Rule.LOST}), frozenset({Rule.STUCK})),
            changed=(LOST, STUCK),
            control=True,
            claims_throughput=False,
        ),
        case("partition.black_hole.locked_retry", changed=(UNPROVEN,), faults=black_hole),
        case(
            "partition.black_hole.interview_inside",
            expected=Expectation(frozenset({Rule.LOST})),
            control=True,
            faults=(FaultSummary("network.black_hole", "worker-2", 1, 1, 1),),
        ),
        case(
            "redis_restart.lost_tail.locked_retry",
            error="valkey did not answer PING within 20 s after its restart",
            trouble=Trouble.STACK,
        ),
        case(
            "redis_restart.everysec.stock_best",
            expected=Expectation(may=frozenset({Rule.DUPLICATE})),
            changed=(DUPLICATE,),
            faults=(FaultSummary("redis.kill_restart", "redis", 1, 1, 1),),
        ),
        case(
            "throughput.rtt_100ms.locked_retry",
            faults=latency,
            throughput=Throughput(2257.0, 2202.4, 2249.1, 0.4, 2000.0),
        ),
        case(
            "throughput.rtt_100ms.stock_acks_late",
            expected=Expectation(frozenset({Rule.THROUGHPUT})),
            changed=(SLOW,),
            control=True,
            faults=latency,
            throughput=Throughput(4.9, 4.9, 4.8, None, 95.0),
        ),
        case(
            "partition.replies_lost.my_queue",
            changed=(LOST,),
            baseline=BASELINE,
            faults=(
                FaultSummary("network.black_hole_replies", "worker-1", 1, 1, 1),
                FaultSummary("network.black_hole_replies", "worker-1-results", 1, 0, 1, unused=1),
                FaultSummary("network.refused", "worker-2", 1, 1, 1, vanished=1),
            ),
        ),
        case(
            "partition.refused.my_queue",
            error="pending() of my_queue.py:41 returned a set, not a Pending",
            trouble=Trouble.SUBJECT,
        ),
        case(
            "throughput.burst.my_queue",
            error="NameError: name 'burts' is not defined (call of suites/test_throughput.py::test_burst[my_queue])",
            trouble=Trouble.SUITE,
        ),
        case(
            "throughput.plain.my_queue",
            assertion="assert 480 <= 300 (call of suites/test_throughput.py::test_plain[my_queue])",
        ),
    )


def frame(*found: Event, collected: CasesCollected | None = None) -> list[Event]:
    """A whole run made of these events: its start, its plan, them, and its end."""
    start, plan, *_, end = stream(())
    ids = tuple(dict.fromkeys(e.case for e in found if isinstance(e, CaseJudged | CaseLeftOut)))
    plan = collected or CasesCollected(at_ns=plan.at_ns, count=len(ids), cases=ids)
    return [start, plan, *found, end]


def judged(*results: CaseResult) -> list[Event]:
    """A whole run of which no more than the verdicts is known."""
    return frame(*(CaseJudged(at_ns=T0, case=c.id, result=c) for c in results))


def interrupted() -> list[Event]:
    """The events of a run that the user ended while its third of five cases ran."""
    known = tuple(c for c in cases() if c.as_expected)[:5]
    found = stream(known)
    third = next(i for i, e in enumerate(found) if isinstance(e, CaseJudged) and e.case == known[2].id)
    return [*found[:third], RunEnded(at_ns=T0 + 12_300 * MS, wall_s=12.3, interrupted=True, status=2)]


def by_standing() -> dict[Assessment, CaseResult]:
    """A case of every standing."""
    known = (*cases(), *collect(interrupted()).cases)
    return {standing(c): c for c in known}


def windows(result: CaseResult, *, step_s: float = 0.25) -> tuple[Window, ...]:
    """Windows that follow the case's throughput: a dip under the fault, a burst after it."""
    rng = random.Random(result.id)
    speed = result.throughput
    base, low = speed.baseline_tps or 0.0, speed.fault_tps or 0.0
    rows = []
    for i in range(round(17.1 / step_s)):
        at = i * step_s
        tps = base if at < 4 else low * (0.1 if at < 6 else 1.35) if at < 11 else base * 1.1 if at < 12.5 else base
        tps = 0.0 if at >= 15.5 else tps * rng.uniform(0.94, 1.06)
        effects = round(tps * step_s)
        slow = 1.0 if at < 4 or at > 12.5 else rng.uniform(20, 60)
        p50, p99 = (rng.uniform(6, 9) * slow, rng.uniform(18, 30) * slow) if effects else (None, None)
        submits = round((speed.target_tps or base) * step_s) if at < 15 else 0
        rows.append(Window(at, at + step_s, effects, submits, effects / step_s, p50, p99))
    return tuple(rows)


def history(result: CaseResult) -> History:
    """A history with the operations that the samples name; kill and heal at 4.2 and 6.0 s."""
    table = History(planned=1500, roles=("producer-1", "worker-1", "worker-2"))
    table.phases = tuple(Phase(name, ns(begun), ns(ended)) for name, begun, ended in (*PHASES, DRAIN))
    killed = frozenset({4711, 4712})
    table.faults = tuple(
        FaultInterval(f.kind, f.target, ns(4.2 + i), ns(6.0 + i), bool(f.proven), True, "2 pids gone", killed)
        for i, f in enumerate(result.faults)
    )
    for op in sorted({s.op for r in result.rules for s in r.samples if s.op is not None}):
        at = op / 125
        submit(table, op, at, at + 0.0031)
        if op != 512 and op != 513:
            deliver(table, op, at + 0.012, role=1)
            attempt(table, op, at + 0.0125, at + 0.03 if op == 421 else None, role=1, pid=4712)
    if any(r.rule is Rule.DUPLICATE and r.outcome is Outcome.FAIL for r in result.rules):
        effect(table, 421, 421 / 125 + 0.02)
        deliver(table, 421, 7.4, role=2)
        attempt(table, 421, 7.401, 7.422, role=2, pid=4801)
        effect(table, 421, 7.41)
        claim(table, 421, 7.43, ClaimKind.SUCCESS)
    stuck = frozenset(range(600, 632)) if STUCK in result.rules else frozenset()
    table.final = FinalState(reads=3, read_at_ns=ns(17.1), pending=stuck, converged=not stuck, quiet=True, overdue=True)
    return table


def submit(table: History, op: int, begun: float, done: float | None, outcome: SubmitOutcome | None = None) -> None:
    """Add a submit that was due 2 ms before it began."""
    table.submits.op.append(op)
    table.submits.due_ns.append(ns(begun) - 2 * MS)
    table.submits.begun_ns.append(ns(begun))
    table.submits.done_ns.append(NEVER if done is None else ns(done))
    default = SubmitOutcome.PENDING if done is None else SubmitOutcome.ACKNOWLEDGED
    table.submits.outcome.append(default if outcome is None else outcome)


def deliver(table: History, op: int, at: float, *, role: int) -> None:
    """Add a delivery."""
    table.deliveries.op.append(op)
    table.deliveries.at_ns.append(ns(at))
    table.deliveries.role.append(role)


def attempt(
    table: History,
    op: int,
    begun: float,
    ended: float | None,
    *,
    role: int,
    pid: int,
    outcome: AttemptOutcome = AttemptOutcome.OK,
    fence: int = UNFENCED,
) -> None:
    """Add an attempt; without an end it stays open."""
    table.attempts.op.append(op)
    table.attempts.begun_ns.append(ns(begun))
    table.attempts.ended_ns.append(NEVER if ended is None else ns(ended))
    table.attempts.outcome.append(AttemptOutcome.OPEN if ended is None else outcome)
    table.attempts.role.append(role)
    table.attempts.pid.append(pid)
    table.attempts.fence.append(fence)


def effect(table: History, op: int, at: float) -> None:
    """Add an effect."""
    table.effects.op.append(op)
    table.effects.at_ns.append(ns(at))


def claim(table: History, op: int, at: float, kind: ClaimKind) -> None:
    """Add a claim."""
    table.claims.op.append(op)
    table.claims.at_ns.append(ns(at))
    table.claims.kind.append(kind)


def detail(result: CaseResult) -> CaseDetail:
    """The detail of a case, told by the real storyteller."""
    verdict = Verdict(result.outcome, result.rules, result.operations, result.throughput)
    return story.detail(history(result), verdict, windows(result))


def details() -> dict[str, CaseDetail]:
    """The details of all cases that have one: a stack error leaves none."""
    return {c.id: detail(c) for c in cases() if not c.error}


def stream(results: tuple[CaseResult, ...] | None = None) -> list[Event]:
    """The events of the run, two seconds of clock per case."""
    results = cases() if results is None else results
    at = T0
    found: list[Event] = [
        RunStarted(
            at_ns=at,
            run="20261123-0231-7",
            seed=7,
            stack="local",
            profile="quick",
            target_tps=100.0,
            versions={"taskchaos": "0.1.0", "celery": "5.7.0", "redis-py": "7.1.0", "python": "3.11.7"},
            started="2026-11-23T02:31:00+00:00",
            workers=2,
            suites=tuple(dict.fromkeys(c.suite for c in results)),
            subjects=tuple(dict.fromkeys(c.subject for c in results)),
        ),
        CasesCollected(at_ns=at, count=len(results), cases=tuple(c.id for c in results)),
    ]
    for result in results:
        found += case_events(result, at)
        at += 2000 * MS
    return [
        *found,
        Problem(at_ns=at, text="1 producer was late: 3 of 15,000 sends more than 50 ms after they were due"),
        RunEnded(at_ns=at, wall_s=43.7),
    ]


def case_events(result: CaseResult, at: int) -> list[Event]:
    """The events of one case."""
    name = result.id
    found: list[Event] = [
        CaseStarted(
            at_ns=at,
            case=name,
            suite=result.suite,
            scenario=result.scenario,
            subject=result.subject,
            expected=result.expected,
            control=result.control,
            folder=result.folder,
        ),
        StackReady(at_ns=at, case=name, server=ServerInfo("valkey", "9.0.1"), boot_s=0.31),
    ]
    speed = result.throughput
    rates = {
        PhaseName.BASELINE: speed.baseline_tps,
        PhaseName.FAULT: speed.fault_tps,
        PhaseName.HEALED: speed.healed_tps,
    }
    for phase, begun, ended in (*PHASES, DRAIN):
        if result.error and phase is PhaseName.HEALED:
            break
        at += 100 * MS
        found.append(PhaseBegan(at_ns=at, case=name, phase=phase, planned_s=ended - begun))
        if phase is PhaseName.FAULT:
            found += fault_events(result, at)
        offered = None if phase is PhaseName.DRAIN else speed.target_tps
        note = "queue 0  unacked 0  locks 0" if phase is PhaseName.DRAIN else ""
        done = rates.get(phase) or 0.0
        ended_event = PhaseEnded(
            at_ns=at, case=name, phase=phase, took_s=ended - begun, offered_tps=offered, done_tps=done, note=note
        )
        found.append(ended_event)
        if phase is PhaseName.FAULT:
            found += [_fault(result, i, "healed", at) for i in range(len(result.faults))]
    if "inside" in name and result.as_expected:
        died = "exit code 1: TimeLimitExceeded in the main process"
        found.append(WorkerDied(at_ns=at, case=name, role="worker-2", detail=died))
    return [*found, CaseJudged(at_ns=at, case=name, result=result)]


def fault_events(result: CaseResult, at: int) -> list[Event]:
    """Injection and evidence of each fault."""
    found: list[Event] = []
    for i, fault in enumerate(result.faults):
        found.append(_fault(result, i, "injected", at))
        found.append(_fault(result, i, "unused" if fault.unused else "proven" if fault.proven else "unproven", at))
        found.append(_fault(result, i, "vanished" if fault.vanished else "held", at))
    return found


def _fault(result: CaseResult, index: int, state: str, at: int) -> FaultChanged:
    fault = result.faults[index]
    return FaultChanged(at_ns=at, case=result.id, fault=index, kind=fault.kind, target=fault.target, state=state)


def run_folder(out: Path, found: list[Event] | None = None, told: dict[str, CaseDetail] | None = None) -> Path:
    """Write the run's events and details the way the plugin does, sealed, with no evidence but the plans."""
    out.mkdir(parents=True, exist_ok=True)
    told_events = stream() if found is None else found
    log = events.Log(out / "events.jsonl")
    for event in told_events:
        log.emit(event)
    log.close()
    for name, one in (details() if told is None else told).items():
        folder = out / "cases" / name
        folder.mkdir(parents=True)
        (folder / "detail.json").write_text(json.dumps(codec.encode(one)))
    seal(out, told_events)
    return out


def seal(out: Path, found: list[Event]) -> None:
    """Plan and seal of every case that was judged, and the seal of the run."""
    for result in {e.case: e.result for e in found if isinstance(e, CaseJudged)}.values():
        if not result.error and result.id == Path(result.id).name:
            folder = out / "cases" / result.id
            names = {"suite": result.suite, "scenario": result.scenario, "subject_name": result.subject}
            plan(subject=result.subject, **names).save(folder)
            seal_case(folder, FinalState())
    seal_run(out)


def as_shown(result: RunResult) -> RunResult:
    """As verdict.json has it: what a control may fail besides is not in the words for what is expected."""
    cases = (replace(case, expected=Expectation.read(str(case.expected))) for case in result.cases)
    return replace(result, cases=tuple(cases))
