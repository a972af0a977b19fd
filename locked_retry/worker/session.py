"""What a worker holds and owes, and what its next turn says. No I/O: the engine sends and reads.

A session outlives connections and channels. While a turn is unanswered it stays `pending` and is repeated, word for
word, until an answer comes; a worker therefore never loses track of what it claimed, and never settles twice.
Methods that finish a delivery may be called from any thread; the others belong to the thread of the loop.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locked_retry import lease
from locked_retry.broker.herd import Herd, Role
from locked_retry.broker.turns import Answer, Claim, Renewal, Settlement, SettlementKind, Turn
from locked_retry.options import Options
from locked_retry.text import encodable
from locked_retry.worker.metrics import Metrics, sessions

#: Messages held beyond what runs, at least: so that a pool process never waits for the network with work queued.
BASE_ROOM = 4
#: How far ahead of the measured rate to claim. Above 1 the batch grows until the rate does not.
GROWTH = 4.0
#: Near Redis turns are faster; as small as that would make them they cost more than they save.
LEAST_TURN_S = 0.02
LONGEST_REASON = 500
#: So many ends are sent without waiting for more.
MOST_WAITING = 100
#: In one turn: Redis serves nobody else meanwhile.
MOST_SETTLES = 250
#: A worker this far away sends fewer turns, with more of them.
FAR_S, MOST_SETTLES_FROM_AFAR = 0.05, 1000
#: Claims that Redis refuses are asked for again after pauses that double from the one to the other.
FIRST_CLAIM_PAUSE_S, LONGEST_CLAIM_PAUSE_S = 0.25, 30.0
#: 0.1 s, 0.2 s, 0.4 s, ...
FIRST_PAUSE_MS = 100


@dataclass(slots=True)
class Held:
    """A delivery that this worker has not settled."""

    claim: Claim
    lease_s: float
    max_crashes: int
    budget: str = ""
    started: bool = False
    told_started: bool = False
    claimed_at_s: float = 0.0  # when its claim was sent
    exclusive: bool = False
    pid: int = 0  # who runs it
    told: bool = False  # that its lease ends
    told_once: bool = False  # though it may have been renewed since
    left: bool = False  # its body is done, and its result left to the main process
    ended: bool = False  # and would be settled, did it not wait for its result to be stored
    killed: bool = False
    lost: bool = False  # no longer ours; its settle is sent anyway, to be refused and recorded
    settle: Settlement | None = None  # decided, to be sent when Celery acknowledges


def _settle(held: Held, kind: SettlementKind, delay_ms: int, reason: str, message: str = "") -> Settlement:
    text = encodable(reason)[:LONGEST_REASON]
    return Settlement(held.claim.row, held.claim.fence, kind, delay_ms, text, message, held.budget)


def _at_least_dead(settle: Settlement, error: str) -> Settlement:
    """The same end with nothing in it that Redis could refuse, as far as we know."""
    return Settlement(
        settle.row, settle.fence, SettlementKind.DEAD, 0, f"Redis refused how it ended: {error}"[:LONGEST_REASON]
    )


def pause_ms(times: int) -> int:
    """How long what went wrong so many times before has to wait: it must not go wrong in a hot loop."""
    return FIRST_PAUSE_MS * int(2 ** min(times, 9))


@dataclass(eq=False)
class Session:
    """See the module. `wake` is called, from any thread, when there is something to settle."""

    options: Options
    wake: Callable[[], None] = lambda: None
    worker: str = field(default_factory=lambda: uuid.uuid4().hex)
    held: dict[str, Held] = field(default_factory=dict)  # by delivery tag, which is the fence
    running: set[str] = field(default_factory=set)  # tags of those that were started
    storing: set[str] = field(default_factory=set)  # tags of those that only wait for their results to be stored
    outbox: deque[Settlement] = field(default_factory=deque)
    pending: Turn | None = None
    sent_at_s: float = 0.0  # first sending of the pending turn: leases run from then, however often it is repeated
    resent_at_s: float = 0.0
    guard: Any = None  # the thread that ends exclusive tasks, once there was one (lease_guard.py)
    hungry: bool = True  # there may be messages: ask
    looks: bool = False  # when something is due that it has said it would see to
    herd: Herd = field(default_factory=Herd)
    metrics: Metrics = field(default_factory=Metrics)
    rate_per_s: float = 0.0
    _number: int = 0
    _renew_at_s: float = 0.0
    _maintain_at_s: float = 0.0
    _flush_at_s: float | None = None
    _counted: int = 0
    _counted_since_s: float = 0.0
    _slowest_s: float = 0.0
    _last_s: float = 0.0
    _answered_at_s: float = 0.0
    _base: float = float(BASE_ROOM)
    _most_settles: int = MOST_SETTLES
    _claim_at_s: float = 0.0
    _claim_pause_s: float = FIRST_CLAIM_PAUSE_S

    def __post_init__(self) -> None:
        self.herd.idle_s = self.options.idle_s
        sessions.add(self)

    # --- ends of deliveries: any thread

    def decide(self, tag: str, kind: SettlementKind, delay_ms: int = 0, reason: str = "", message: str = "") -> None:
        """How this delivery ends, sent once Celery acknowledges or rejects it. The first decision stands."""
        held = self.held.get(tag)
        if held is not None and held.settle is None:
            held.settle = _settle(held, kind, delay_ms, reason, message)

    def end(self, tag: str, kind: SettlementKind, reason: str = "") -> bool:
        """Settle as decided, else as `kind`, once its result is stored. False if this session does not hold it."""
        held = self.held.get(tag)
        if held is not None and tag in self.storing:
            held.settle = held.settle or _settle(held, kind, 0, reason)
            held.ended = True
            self.running.discard(tag)
            if tag in self.storing:  # else it was stored between these lines
                return True
        held = self.held.pop(tag, None)
        self.running.discard(tag)
        if held is None:
            return False
        self.outbox.append(held.settle or _settle(held, kind, 0, reason))
        self.wake()
        return True

    def await_result(self, tag: str) -> None:
        """From now on a thread stores the result of this delivery, until `result_stored`."""
        held = self.held.get(tag)
        if held is not None:
            held.left = True
            self.storing.add(tag)

    def result_stored(self, tag: str) -> None:
        """It is, or was given up."""
        held = self.held.get(tag)
        self.storing.discard(tag)
        if held is not None and held.ended:
            self.end(tag, SettlementKind.OK)

    def end_now(self, tag: str, kind: SettlementKind, delay_ms: int = 0, reason: str = "", message: str = "") -> bool:
        """Decide and settle at once."""
        self.decide(tag, kind, delay_ms, reason, message)
        return self.end(tag, kind)

    def decide_return(self, tag: str, reason: str) -> None:
        """Back at a cost: whatever went wrong may be its doing. A crash if it was started, else a return."""
        held = self.held.get(tag)
        if held is not None and held.started:
            self.decide(tag, SettlementKind.CRASH, pause_ms(held.claim.crashes), f"{held.max_crashes} {reason}")
        elif held is not None:
            self.decide(tag, SettlementKind.RETURN, pause_ms(held.claim.returns), reason)

    def started(self, tag: str, pid: int = 0) -> None:
        """The task's code may run from now on, in this process: if it dies, that is a crash."""
        held = self.held.get(tag)
        if held is None:
            return
        held.started, held.pid = True, pid
        self.running.add(tag)
        if tag not in self.held:  # it ended meanwhile
            self.running.discard(tag)
        if self.hungry:
            self.wake()  # one that waited is no longer waiting: there is room for another

    # --- the loop

    def limit(self, prefetch: int) -> int:
        """How many messages to hold: beside what runs, enough to work through two round trips at the measured rate."""
        ahead = self.rate_per_s * (max(self._slowest_s, LEAST_TURN_S) + self.options.flush_s) * GROWTH
        wanted = len(self.running) + int(self._base + ahead)
        return min(wanted, prefetch) if prefetch else wanted

    def rests(self, now_s: float, room: int) -> bool:
        """Whether nothing is certainly worth a turn, whatever the queues are. Asked on each round of the loop."""
        if self.hungry and room > 0:
            return False
        if now_s >= self._maintain_at_s or self._renews(now_s):
            return False
        if self.outbox and (self._flush_at_s is None or self._flushes(now_s)):
            return False
        return self.herd.role is Role.NONE  # else it may have to say that it is elsewhere now

    def flush_now(self) -> None:
        """What has ended waits for no more."""
        self._flush_at_s = 0.0

    def _renews(self, now_s: float) -> bool:
        return bool(self.held) and now_s >= self._renew_at_s

    def _flushes(self, now_s: float) -> bool:
        return self._flush_at_s is not None and (now_s >= self._flush_at_s or len(self.outbox) >= MOST_WAITING)

    def next_turn(
        self, now_s: float, room: int, queue_keys: Sequence[str], queues: int, fair: bool = True
    ) -> Turn | None:
        """The turn to send now, which becomes `pending`; None when nothing is worth one yet."""
        if self.outbox and self._flush_at_s is None:
            self._flush_at_s = now_s + self.options.flush_s
        renew = self._renews(now_s)
        may_claim = queues > 0 and now_s >= self._claim_at_s
        claim = self.hungry and room > 0 and may_claim
        flush = self._flushes(now_s)
        eager = claim and (not self.outbox or len(self.held) <= room)
        want = min(max(room, 0), self.options.most_claims) if may_claim else 0
        herd = self.herd.joins(queue_keys, want)
        moved = self.herd.moved(herd, bool(queue_keys))
        if not (renew or flush or eager or moved or now_s >= self._maintain_at_s):
            return None
        self._number += 1
        settles = [self.outbox.popleft() for _ in range(min(len(self.outbox), self._settles_at_once))]
        self._flush_at_s = now_s if self.outbox else None
        self.pending = Turn(
            worker=self.worker,
            number=self._number,
            queue_keys=queue_keys if may_claim else (),
            queues=queues if may_claim else 0,
            want=want,
            want_bytes=self.options.most_bytes,
            lease_ms=round(self.options.lease_s * 1000),
            done_ms=round(self.options.done_s * 1000),
            fair=fair,
            max_crashes=self.options.max_crashes,
            dead_max_age_ms=round(self.options.dead_max_age_s * 1000),
            dead_max_count=self.options.dead_max_count,
            settles=settles,
            renewals=self._renewals(renew),
            idle_ms=round(self.options.idle_s * 1000),
            place=self.herd.says(herd, bool(queue_keys)),
        )
        return self.pending

    @property
    def _settles_at_once(self) -> int:
        """From far away turns are rare, and what each carries limits the worker: to 1500 tasks/s at 100 ms, by 250."""
        whole = self._most_settles == MOST_SETTLES  # nothing was refused
        return MOST_SETTLES_FROM_AFAR if whole and self._slowest_s > FAR_S else self._most_settles

    def refused(self, error: str, now_s: float) -> bool:
        """Redis will not do the pending turn, now or later: less of it is sent next. False if there is no less.

        First without claims, then half of the settles, then half again. A single settle that is refused becomes a dead
        letter without a new message; if that is refused too, it is left to the end of its lease.
        """
        turn, settles = self.pending, []
        assert turn is not None
        if turn.queues:
            self._claim_pause_s = min(LONGEST_CLAIM_PAUSE_S, 2 * self._claim_pause_s)
            self._claim_at_s = now_s + self._claim_pause_s
            settles = list(turn.settles)
        elif len(turn.settles) > 1:
            self._most_settles = len(turn.settles) // 2
            settles = list(turn.settles)
        elif turn.settles:
            self._most_settles = 1
            settles = [one for one in map(_at_least_dead, turn.settles, [error]) if one not in turn.settles]
        else:
            return False
        self.pending = None
        self.outbox.extendleft(reversed(settles))
        self._flush_at_s = now_s
        self._renew_at_s = 0.0  # those of the refused turn have to be in another
        for held in list(self.held.values()):
            held.told_started = False
        return True

    def _renewals(self, everything: bool) -> list[Renewal]:
        found = []
        for held in list(self.held.values()):
            news = held.started and not held.told_started
            if not held.lost and (everything or news):
                held.told_started = held.started
                ms = round(held.lease_s * 1000)
                found.append(Renewal(held.claim.row, held.claim.fence, ms, held.started, held.max_crashes))
        self._renewing = everything
        return found

    def answered(self, answer: Answer, now_s: float) -> list[Claim]:
        """Take an answer in. Returns the claims to deliver; each is already held."""
        turn = self.pending
        assert turn is not None, "an answer without a question"
        self.pending = None
        self._most_settles = min(2 * self._most_settles, MOST_SETTLES)
        if turn.queues:
            self._claim_pause_s = FIRST_CLAIM_PAUSE_S
        self._count(answer, turn, now_s)
        self._adapt(turn, answer)
        self._answered_at_s = now_s
        if self._renewing:
            self.renewed(turn.renewals, set(answer.lost), self.sent_at_s)
        else:
            self._mark_lost(turn.renewals, set(answer.lost))
            if not self.held:
                self._renew_at_s = self.sent_at_s + self.options.lease_s / 3
        self.hungry = bool(turn.want) and len(answer.claims) + answer.dropped + answer.parked >= turn.want
        self.hungry = self.hungry or answer.more
        self.hungry = self.hungry or not turn.want  # nobody asked: there may be some
        for claim in answer.claims:
            limits = (self.options.lease_s, self.options.max_crashes)
            self.held[claim.fence] = Held(claim, *limits, claimed_at_s=self.sent_at_s)
        rest_s = self.herd.told(turn.place, answer.role, answer.sleepers)
        self.looks = answer.due_ms is not None
        due_s = rest_s if answer.due_ms is None else answer.due_ms / 1000
        self._maintain_at_s = now_s + min(rest_s, max(due_s, 0.001))
        return list(answer.claims)

    _renewing = False

    @property
    def shortest_lease_s(self) -> float:
        """Of what is held; the transport's if nothing is."""
        return min((h.lease_s for h in list(self.held.values())), default=self.options.lease_s)

    def lease_end_s(self, held: Held) -> float:
        """Until when a lease is certainly held, as a monotonic time. Any thread."""
        if held.lost:
            return 0.0
        renewed_at_s = lease.board.renewed_at_s
        if renewed_at_s > held.claimed_at_s:
            return renewed_at_s + held.lease_s
        # The task's own length comes with the first renewal.
        return held.claimed_at_s + min(held.lease_s, self.options.lease_s)

    def overdue(self, now_s: float) -> list[Renewal]:
        """What to renew beside the loop, which is late with it or with telling that a task was started. Any thread.

        Also what has ended and waits to be settled: the loop that is late with the one is late with the other.
        """
        everything = list(self.held.values())
        late = now_s >= self._renew_at_s or any(h.started and not h.told_started for h in everything)
        if not late:
            return []
        ended_ms = round(self.options.lease_s * 1000)
        return [
            *(
                Renewal(h.claim.row, h.claim.fence, round(h.lease_s * 1000), h.started, h.max_crashes)
                for h in everything
                if not h.lost
            ),
            *(Renewal(settle.row, settle.fence, ended_ms, True) for settle in list(self.outbox)),
        ]

    def renewed(self, renewals: Sequence[Renewal], lost: set[str], sent_at_s: float) -> None:
        """All that is held was renewed by a request sent then, except the rows that are lost. Any thread."""
        lease.board.renewed(sent_at_s)
        self._renew_at_s = sent_at_s + self.shortest_lease_s / 3
        self._mark_lost(renewals, lost)
        started = {r.fence for r in renewals if r.started}
        for held in list(self.held.values()):
            held.told_started = held.told_started or held.claim.fence in started

    def _mark_lost(self, renewals: Sequence[Renewal], lost: set[str]) -> None:
        fences = {r.fence for r in renewals if r.row in lost}
        for held in list(self.held.values()):
            if held.claim.fence in fences:
                held.lost = True
                self.metrics.lost += 1
                lease.board.revoke(held.claim.fence)

    def _adapt(self, turn: Turn, answer: Answer) -> None:
        """Everything was done before the answer came although the queue had more: hold more, at once.

        Not after an outage, which any hold would have been too small for. Nor where that took longer than a turn:
        a worker whose tasks run in its loop never asks before all is done.
        """
        starved = bool(turn.want and turn.settles) and not self.held and len(answer.claims) >= turn.want
        turn_s, worked_s = max(self._slowest_s, LEAST_TURN_S), self.sent_at_s - self._answered_at_s
        if starved and self._last_s <= 2 * turn_s and worked_s <= turn_s:
            self._base = min(self._base * GROWTH, float(self.options.most_claims))
        elif len(self.held) - len(self.running) > self._base / 2:
            self._base = max(float(BASE_ROOM), self._base * 0.9)

    def _count(self, answer: Answer, turn: Turn, now_s: float) -> None:
        m = self.metrics
        m.take(turn, answer, now_s - self.resent_at_s)
        # A single slow turn is an outage, not a distance: who held as much more would make others' tasks wait.
        self._slowest_s = max(min(m.turn_s, self._last_s), 0.9 * self._slowest_s)
        self._last_s = m.turn_s
        self._counted += len(turn.settles)
        elapsed_s = now_s - self._counted_since_s
        if elapsed_s >= max(0.05, 2 * m.turn_s):
            rate = self._counted / elapsed_s
            self.rate_per_s = rate if rate > self.rate_per_s else 0.7 * self.rate_per_s + 0.3 * rate
            self._counted, self._counted_since_s = 0, now_s

    def wait_s(self, now_s: float) -> float:
        """How long the loop may sleep if nothing happens."""
        at_s = self._maintain_at_s
        if self.held:
            at_s = min(at_s, self._renew_at_s)
        if self.outbox:
            at_s = min(at_s, self._flush_at_s or now_s + self.options.flush_s)
        return max(0.0, at_s - now_s)

    def ring(self) -> None:
        """It was woken: a message may have arrived."""
        self.hungry = True

    def rest_no_longer_than(self, pause_s: float, now_s: float) -> None:
        """Take a turn within this time."""
        self._maintain_at_s = min(self._maintain_at_s, now_s + pause_s)

    def set_task(self, tag: str, lease_s: float, max_crashes: int, budget: str = "", exclusive: bool = False) -> None:
        """What the task of this delivery wants; its lease is renewed in the next turn if that differs."""
        held = self.held.get(tag)
        if held is not None:
            held.max_crashes, held.budget, held.exclusive = max_crashes, budget, exclusive
            if held.lease_s != lease_s:
                held.lease_s = lease_s
                self._renew_at_s = 0.0

    def forget_unstarted(self) -> None:
        """Celery dropped what had not started (it rebuilt its consumer): leave it to the lease's end."""
        for tag, held in list(self.held.items()):
            if not held.started and held.settle is None:
                self.held.pop(tag, None)
                lease.board.revoke(held.claim.fence)

    def give_back_all(self, orderly: bool = True) -> None:
        """The worker ends: everything it still holds goes back, to the front of its queue if the end is an orderly one.

        What is held when the loop fails may be why it failed, and is counted.
        """
        for tag, held in reversed(list(self.held.items())):
            if tag in self.storing:  # settled now, its result would end with this worker: another attempt stores one
                self.storing.discard(tag)
                held.settle = None
            if held.settle is None:
                lease.board.revoke(held.claim.fence)  # a thread that cannot be ended may run on, or only begin
            if orderly or held.settle is not None:
                self.end(tag, SettlementKind.REQUEUE, "worker shutdown")
            else:
                self.decide_return(tag, "its worker ended by an error")
                self.end(tag, SettlementKind.RETURN)
