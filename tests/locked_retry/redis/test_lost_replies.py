"""Executed, but the answer never arrives: the turn is repeated, and nothing happens twice or gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from relay_support import Relay
from table_support import stat
from waiting import until
from worker_support import settled, surroundings


@pytest.mark.parametrize(("pool", "every"), [("prefork", 2), ("prefork", 5), ("threads", 2), ("threads", 3)])
def test_lost_answers_of_script_calls_repeat_their_turns(
    redis: Redis, shared_server: Any, tmp_path: Path, pool: str, every: int
) -> None:
    """Every 2nd one is as often as it can be: each turn then has to be repeated once."""
    relay = Relay(shared_server.port, every)
    try:
        with surroundings(f"redis://127.0.0.1:{relay.port}/0", tmp_path) as one:
            one.app.conf.broker_url = shared_server.url
            for number in range(60):
                one.send("flaky", f"f{number}", 1) if number % 3 == 0 else one.send("note", f"n{number}")
            one.worker(pool=pool, options='{"lease_s": 10.0}')
            until(lambda: len(one.notes("end")) == 60 and settled(redis), "all ran", 40)
            assert len(one.notes("begin")) == 40 and len(one.notes("try")) == 40
            assert relay.cut >= 2
            assert stat(redis, "replays") > 0
            assert (stat(redis, "stale"), stat(redis, "reaped"), stat(redis, "ok")) == (0, 0, 60)
            assert one.workers[0].poll() is None
    finally:
        relay.stop()
