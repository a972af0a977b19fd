"""The connection on which a worker is told that a message has arrived: by Redis, or by the watch of its herd (herd.py).

The watch: Redis tells a client that has `CLIENT TRACKING` on when a key changes that it has read. Asking `EXISTS` for
all queue lists either finds messages or arms one push for the first message to arrive in any of them, from whatever
producer, at whatever priority. Nothing is popped, so a lost push loses nothing.

The others block on the bell of their herd. When its time is up they look whether there is a watch, and block again.

It only saves time: the watch's turn every `idle_s` finds what was not announced, and a worker whose wake-up does not
work takes turns as often. So its failures are its own. They touch neither the turns nor Celery, and a Redis that
refuses it (an ACL, a proxy) is asked again now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from locked_retry import clock
from locked_retry.broker.connection import FAILURES, Connection, reply_from
from locked_retry.broker.herd import Role, watch_ms
from locked_retry.broker.turns import Keys
from locked_retry.log import Event, say
from locked_retry.options import Options
from locked_retry.worker.session import Session

#: An armed wake-up is asked again after this long: a firewall may have dropped its connection without a word.
CHECK_S = 5.0
#: Nor does anybody sleep for longer than this.
LONGEST_NAP_S = 10.0
#: A connection that was cut is made again before anybody else is told to listen.
DEAF_AT = 2
#: So many failures in a row, while turns are answered, are no accident.
REFUSED_AT = 5


class Asked(Enum):
    """What Redis has been asked and has not answered."""

    NOTHING = auto()
    LISTS = auto()  # whether there are messages, and to tell when there are
    WATCH = auto()  # whether there is a watch
    BELL = auto()  # to wait for a call


@dataclass(eq=False)
class Wakeup:
    """The wake-up of one channel. All methods belong to the thread of the loop."""

    channel: Any
    session: Session
    options: Options
    keys: Keys
    line: Connection = field(default_factory=lambda: Connection(longest_pause_s=30.0))
    silent: frozenset[str] = frozenset()  # lists that are there, and nothing can be claimed: no lists, or paused
    _asked: Asked = Asked.NOTHING
    _asked_at_s: float = 0.0
    _patience_s: float = 0.0
    _armed: bool = False
    _tracking: bool = False
    _oks: int = 0  # that come before the answer
    _lists: tuple[str, ...] = ()  # of the last question
    _doubt: bool = True  # whether there is a watch
    _unsaid: bool = False  # that it has answered a call

    def leave(self) -> None:
        """If its queues have changed, nobody shall call it any more. Before the turn that says so."""
        name_for = self.session.herd.name_for
        if self._asked is Asked.BELL and name_for(self.channel.turn_queue_keys()[0]) != name_for(self._lists):
            self.close()

    def listen(self, now_s: float) -> None:
        """Have Redis ring, or sleep until the watch calls. Never raises for a failing connection."""
        try:
            self._listen(now_s)
        except FAILURES as error:
            self._failed(error)
        self.session.herd.deaf = self.line.failures >= DEAF_AT and clock.now_s() < self.line.down_until_s

    def _listen(self, now_s: float) -> None:
        if self._asked is not Asked.NOTHING:
            self.line.check_answer(self._asked_at_s, now_s, self._patience_s)
            return
        herd = self.session.herd
        if self.session.hungry or now_s < self.line.down_until_s:
            return  # its next turn comes first
        lists = tuple(self.channel.turn_queue_keys()[0])
        if herd.name != herd.name_for(lists) or not lists:
            return
        if herd.role is Role.ASLEEP and self._doubt:
            self._ask(Asked.WATCH, lists, now_s, "PTTL", self.keys.watch(herd.name))
        elif herd.role is Role.ASLEEP:
            nap_s = min(LONGEST_NAP_S, herd.nap_s())
            self._ask(Asked.BELL, lists, now_s, "BLPOP", self.keys.bell(herd.name), f"{nap_s:.3f}")
            self._patience_s += nap_s
            herd.blocked = True
        elif herd.role is Role.WATCH and not self._hears(lists, now_s):
            sound = [one for one in lists if one not in self.silent]
            if sound:
                self._ask(Asked.LISTS, lists, now_s, "EXISTS", *sound)

    def _hears(self, lists: tuple[str, ...], now_s: float) -> bool:
        return self._armed and lists == self._lists and now_s - self._asked_at_s <= CHECK_S

    def _ask(self, what: Asked, lists: tuple[str, ...], now_s: float, *command: str) -> None:
        """In one packet with what has to be said before.

        Whoever sleeps is not pushed anything: redis-py reads a push as None, as it does a sleep without a call. A
        connection is tried with tracking first: who may not have it shall not be called.
        """
        fresh = not self.line.open
        connection = self.channel.cycle_connect(self.line, "BELL")
        if fresh:
            self._tracking, self._oks = False, 0
        commands: list[tuple[str, ...]] = [command]
        if what is Asked.BELL and self._tracking:
            commands.insert(0, ("CLIENT", "TRACKING", "OFF"))
        elif what is not Asked.BELL and not self._tracking and (fresh or what is Asked.LISTS):
            commands.insert(0, ("CLIENT", "TRACKING", "ON"))
        self._tracking ^= len(commands) > 1
        if what is Asked.LISTS and self._unsaid:
            self._unsaid = False
            watch = self.keys.watch(self.session.herd.name)
            commands.insert(0, ("SET", watch, self.session.worker, "PX", str(watch_ms(self.options.idle_s))))
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        self._oks += len(commands) - 1
        self._asked, self._asked_at_s, self._patience_s = what, now_s, self.options.reply_timeout_s
        self._lists, self._armed = lists, False

    def on_readable(self) -> None:
        """An answer, a push that one of the lists changed, or the end of the connection."""
        try:
            self._read()
        except FAILURES as error:
            self._failed(error)

    def _read(self) -> None:
        while self.line.readable():
            reply = reply_from(self.line.connection, push_request=True)
            if reply in (b"OK", "OK"):  # CLIENT TRACKING, SET
                self._oks -= 1
                continue
            if self._is_push(reply):
                if self._armed:
                    self._armed = False
                    self.session.ring()
                continue
            asked, self._asked = self._asked, Asked.NOTHING
            if asked is not Asked.WATCH:  # which may be allowed to whom BLPOP is not
                self.line.answered()
            self.session.metrics.answered_at_s = clock.now_s()
            self._answered(asked, reply)

    def _is_push(self, reply: Any) -> bool:
        """A change of a list that was asked for. hiredis before 3.2 shows it as it is."""
        if reply is None:
            return self._asked is not Asked.BELL or self._oks > 0
        return isinstance(reply, list) and reply[:1] == [b"invalidate"]

    def _answered(self, asked: Asked, reply: Any) -> None:
        self.session.herd.blocked = False
        if asked is Asked.BELL and reply is not None:
            self._called(reply[1] == b"look")
        elif asked is Asked.BELL:
            self._doubt = True
        elif asked is Asked.WATCH:
            self._doubt = not 0 <= reply <= watch_ms(self.options.idle_s)  # as herd.lua has it
            if self._doubt:
                self.session.ring()
        elif asked is Asked.LISTS:
            self._armed = not reply
            if reply:
                self.session.ring()

    def _called(self, look: bool) -> None:
        """It is the watch now: it listens, and says so; or it takes a turn at once, as there are messages."""
        self._unsaid = not look
        self.session.herd.called(self.session.herd.name_for(self._lists))
        self.session.rest_no_longer_than(self.options.idle_s, clock.now_s())
        if look:
            self.session.ring()

    def wait_s(self, now_s: float) -> float:
        """How long the loop may sleep if nothing happens here."""
        if self._asked is not Asked.NOTHING:
            return max(0.0, self._asked_at_s + self._patience_s - now_s) + 0.001
        if now_s < self.line.down_until_s:
            return self.line.down_until_s - now_s
        if self._armed and self.session.herd.role is Role.WATCH and not self.session.hungry:
            return max(0.0, self._asked_at_s + CHECK_S - now_s) + 0.001
        return CHECK_S

    def _failed(self, error: BaseException) -> None:
        self._forget()
        self.line.failed(error)
        self.session.rest_no_longer_than(self.options.idle_s, clock.now_s())
        refused = self.line.failures == REFUSED_AT
        say(Event.DOORBELL_FAILED, quiet=not refused, error=error, look_every_s=self.options.idle_s)

    def _forget(self) -> None:
        self._asked, self._armed, self._doubt = Asked.NOTHING, False, True
        self.session.herd.blocked = False

    def close(self) -> None:
        """Drop the connection; it is made again with the next `listen`."""
        self._forget()
        self.line.close()
        self.line.down_until_s = 0.0
