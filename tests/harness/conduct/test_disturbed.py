"""A try that was disturbed says so before its verdict, so that no view shows a verdict that is about to be replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from plans import PLAN

from taskchaos.harness.conduct import conductor
from taskchaos.harness.record import events
from taskchaos.harness.record.events import CaseDisturbed, CaseJudged

RESULT = replace(samples.cases()[0], id=PLAN.id)


@pytest.mark.parametrize("reason", ["", "the machine was too busy to offer the load"])
def test_that_a_case_will_be_tried_again_is_in_the_record_before_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(conductor, "_run", lambda *_: None)
    monkeypatch.setattr(conductor.judge, "judge", lambda *_, **__: RESULT)
    run_log = tmp_path / "events.jsonl"
    conductor.conduct(PLAN, tmp_path / "case", run_log, disturbed=lambda result: reason)
    found = [event for event in events.read(run_log) if isinstance(event, CaseDisturbed | CaseJudged)]
    assert [type(event) for event in found] == ([CaseDisturbed] if reason else []) + [CaseJudged]
    if isinstance(found[0], CaseDisturbed):
        assert found[0].reason == reason
