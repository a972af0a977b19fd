"""Which fault works on which stack."""

from __future__ import annotations

from faults.schedule import COMMAND_FAULTS, FAULTS
from harness.stack.base import Place, Proxy, StackOptions


def test_only_the_real_toxiproxy_lacks_commands() -> None:
    embedded, local = StackOptions(place=Place.COMPOSE), StackOptions()
    real = StackOptions(place=Place.COMPOSE, proxy=Proxy.TOXIPROXY)
    assert {kind for kind in FAULTS if real.lacks(kind)} == set(COMMAND_FAULTS)
    assert not any(stack.lacks(kind) for stack in (embedded, local) for kind in FAULTS)
    assert "--proxy embedded" in real.lacks("reply_lost")
    assert real.lacks("no_such_fault") == "", "whoever makes it says what is wrong"
