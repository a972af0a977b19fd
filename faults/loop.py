"""What a fault does again and again while it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Loop:
    """Does something each `every_s`, in a thread of its own, until it is ended or something goes wrong: `trouble`.

    at_once: for the first time now, not only after `every_s`.
    """

    def __init__(self, name: str, act: Callable[[], None], every_s: float, *, at_once: bool = False) -> None:
        self.trouble = ""
        self._act, self._every_s, self._at_once = act, every_s, at_once
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            if self._at_once:
                self._act()
            while not self.wait(self._every_s):
                self._act()
        except Exception as error:  # whatever it is, nothing more is done, and that is seen
            self.trouble = str(error)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, no longer than that; whether it has come."""
        return self._over.wait(timeout_s)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive() and not self._over.is_set()

    @property
    def ended(self) -> bool:
        """Whether nothing is being done any more."""
        return not self._thread.is_alive()

    def end(self, deadline_s: float) -> bool:
        """Do it no more; whether what is being done came to its end in time. Idempotent."""
        self._over.set()
        self._thread.join(deadline_s)
        return self.ended
