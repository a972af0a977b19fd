"""What power losses take from Redis, under appendfsync always and everysec.

usage: python bench/power_loss.py [--quick] [--losses N] [--seed N] [--without-fuse] [--json FILE]

A client sets keys as fast as it can; the power is lost, 100 times each (--quick: 10) at moments that are drawn, also at
a sync, in the middle of a write, and while the append-only file is rewritten. Under `always` nothing that was
acknowledged may be missing; under `everysec` nothing that was acknowledged before the moment that the loss is said to
reach back to. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import on_sigterm  # noqa: F401

from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.stack import volatile_redis
from taskchaos.harness.stack.redis_server import find_binary

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "harness" / "support"))
from power_client import rounds

FULL, QUICK = 100, 10


def main() -> int:
    """Run it, and print a line for each mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--losses", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-fuse", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.without_fuse:
        volatile_redis.no_fuse = lambda: "FUSE is left out"
    count = given.losses or (QUICK if given.quick else FULL)
    rows = []
    for fsync in (Fsync.ALWAYS, Fsync.EVERYSEC):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            server = volatile_redis.VolatileRedis(find_binary(None), place / "redis", place / "log", fsync)
            try:
                found = rounds(server, count, given.seed)
            finally:
                server.stop()
        row = {
            "fsync": fsync.value,
            "losses": len(found),
            "acknowledged": sum(one.acknowledged for one in found),
            "missing": sum(one.missing for one in found),
            "with_missing": sum(bool(one.missing) for one in found),
            "unexplained": sum(one.early for one in found),
            "bytes": sum(one.loss.bytes for one in found),
        }
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(any(row["unexplained"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
