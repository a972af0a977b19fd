"""What a running case sees of its ledger: processes that end in the middle of an attempt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.record.ledger_tail import LedgerTail, ledger_tail

ME = os.getpid()


@pytest.fixture
def dead() -> set[int]:
    return set()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / LEDGER).mkdir()
    return Ledger(tmp_path / LEDGER, "worker-1")


@pytest.fixture
def tail(tmp_path: Path, ledger: Ledger, dead: set[int]) -> LedgerTail:
    return ledger_tail(tmp_path, lambda pid: pid not in dead)


def test_a_process_that_ends_in_an_attempt_is_told_once(ledger: Ledger, tail: LedgerTail, dead: set[int]) -> None:
    ledger.begin(7)
    ledger.begin(8)
    tail.follow()
    assert tail.gone() == set()
    dead.add(ME)
    assert tail.gone() == {ME}
    assert tail.gone() == set()


def test_a_process_that_ends_after_its_attempts_is_not_told(ledger: Ledger, tail: LedgerTail, dead: set[int]) -> None:
    token = ledger.begin(7)
    tail.follow()
    ledger.end(7, token, AttemptOutcome.OK)  # not read yet when it is gone
    dead.add(ME)
    assert tail.gone() == set()
