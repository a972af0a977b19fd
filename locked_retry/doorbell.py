"""The connection on which Redis says that a message has arrived.

Redis tells a client that has `CLIENT TRACKING` on when a key changes that it has read. Asking `EXISTS` for all queue
lists either finds messages or arms one push for the first message to arrive in any of them, from whatever producer,
at whatever priority. Nothing is popped, so a lost push loses nothing.

It only saves time: a turn every `idle_s` finds what it did not announce. So its failures are its own. They touch
neither the turns nor Celery, and a Redis that refuses it (an ACL, a proxy) is asked again now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from locked_retry import releases
from locked_retry.line import FAILURES, Line
from locked_retry.log import Event, say
from locked_retry.options import Options
from locked_retry.session import Session

#: An armed doorbell is asked again after this long: a firewall may have dropped its connection without a word.
CHECK_S = 5.0
#: So many failures in a row, while turns are answered, are no accident.
REFUSED_AT = 5


@dataclass(eq=False)
class Doorbell:
    """The doorbell of one channel. All methods belong to the thread of the loop."""

    channel: Any
    session: Session
    options: Options
    line: Line = field(default_factory=lambda: Line(longest_pause_s=30.0))
    _armed: bool = False
    _asked: bool = False
    _asked_at_s: float = 0.0
    _keys: tuple[str, ...] = ()

    def listen(self, now_s: float) -> None:
        """Have Redis ring for the queues, unless it is going to. Never raises for a failing connection."""
        try:
            self._listen(now_s)
        except FAILURES as error:
            self._failed(error)

    def _listen(self, now_s: float) -> None:
        if self._asked:
            self.line.check_answer(self._asked_at_s, now_s, self.options.reply_timeout_s)
            return
        keys = tuple(self.channel.turn_queue_keys()[0])
        if not keys or self.session.hungry or now_s < self.line.down_until_s:
            return
        if not self._armed or keys != self._keys or now_s - self._asked_at_s > CHECK_S:
            self._ask(keys, now_s)

    def _ask(self, keys: tuple[str, ...], now_s: float) -> None:
        fresh = not self.line.open
        connection = self.channel.cycle_connect(self.line, "BELL")
        if fresh:
            connection.send_command("CLIENT", "TRACKING", "ON", check_health=False)
        connection.send_command("EXISTS", *keys, check_health=False)
        self._keys, self._asked, self._armed, self._asked_at_s = keys, True, False, now_s

    def on_readable(self) -> None:
        """The answer to EXISTS, a push that one of the lists changed, or the end of the connection."""
        try:
            self._read()
        except FAILURES as error:
            self._failed(error)

    def _read(self) -> None:
        while self.line.readable():
            reply = releases.reply_from(self.line.connection, push_request=True)
            if isinstance(reply, int):
                self._asked, self._armed = False, not reply
                self.line.answered()
                if reply:
                    self.session.ring()
            elif reply not in (b"OK", "OK"):  # a push; OK is what CLIENT TRACKING answers
                self._armed = False
                self.session.ring()

    def _failed(self, error: BaseException) -> None:
        self._asked = self._armed = False
        self.line.failed(error)
        refused = self.line.failures == REFUSED_AT
        say(Event.DOORBELL_FAILED, quiet=not refused, error=error, look_every_s=self.options.idle_s)

    def close(self) -> None:
        """Drop the connection; it is made again with the next `listen`."""
        self._asked = self._armed = False
        self.line.close()
        self.line.down_until_s = 0.0
