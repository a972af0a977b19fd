"""Three Sentinels of a case, which watch its primary: started, asked who that is, told to fail over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.child_process import OwnedProcess
from taskchaos.harness.stack.direct_client import direct_client
from taskchaos.harness.stack.redis_server import free_port

SENTINELS, QUORUM = 3, 2
GROUP = "chaos"
#: A primary that says nothing for so long is down; on a busy machine one may well be late.
DOWN_AFTER_MS = 1000
#: After so long Sentinel would have a replica replicate past the proxy.
FAILOVER_TIMEOUT_MS = 60_000
_START_DEADLINE_S = 20.0
_GOOD_REPLICA_S = 15.0
_CONFIG = f"""
port {{port}}
bind 127.0.0.1
dir "{{folder}}"
sentinel monitor {GROUP} 127.0.0.1 {{primary}} {QUORUM}
sentinel down-after-milliseconds {GROUP} {DOWN_AFTER_MS}
sentinel failover-timeout {GROUP} {FAILOVER_TIMEOUT_MS}
"""


class Sentinels:
    """What watches the primary at a port, and its replica."""

    def __init__(self, binary: Path, folder: Path, logs: Path, primary: int, home: ThreadPoolExecutor) -> None:
        """Start them; `await_ready` has to follow. home: the thread that starts processes. Raises StackError."""
        self._processes: list[OwnedProcess] = []
        self._clients: list[Redis] = []
        for number in range(1, SENTINELS + 1):
            own = folder / f"sentinel-{number}"
            own.mkdir(parents=True, exist_ok=True)
            port, config = free_port(), own / "sentinel.conf"
            config.write_text(_CONFIG.format(port=port, primary=primary, folder=own.resolve()), encoding="utf-8")
            argv = [str(binary), str(config), "--sentinel"]
            process = home.submit(OwnedProcess, own.name, argv, logs / f"{own.name}.log").result()
            self._processes.append(process)
            self._clients.append(direct_client("127.0.0.1", port))

    def await_ready(self) -> None:
        """Wait until they know each other and the replica. Raises StackError."""
        if not wait_for(lambda: all(self._knows(one) for one in self._clients), _START_DEADLINE_S, every_s=0.02):
            raise StackError(f"the Sentinels do not know each other: {self.died() or self._processes[0].tail(3)}")

    def _knows(self, client: Redis) -> bool:
        try:
            found = client.execute_command("SENTINEL MASTERS")  # type: ignore[no-untyped-call]
        except RedisError:
            return False
        state = {str(name): value for name, value in found[GROUP].items()}
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == SENTINELS - 1)

    def primary(self) -> int:
        """The port of the primary on which the quorum agrees; 0: on none."""
        named = Counter(self._answers("SENTINEL GET-MASTER-ADDR-BY-NAME", GROUP))
        port, count = named.most_common(1)[0] if named else (0, 0)
        return port if count >= QUORUM else 0

    def _answers(self, *words: str) -> Iterable[int]:
        for client in self._clients:
            try:
                yield int(client.execute_command(*words)[1])  # type: ignore[no-untyped-call]
            except (RedisError, TypeError):
                continue  # it has ended, or is starting

    def fail_over(self) -> None:
        """Have one of them fail over. Raises FaultError when none will."""
        said = [""]

        def begun() -> bool:
            for client in self._clients:
                try:
                    client.execute_command("SENTINEL FAILOVER", GROUP)  # type: ignore[no-untyped-call]
                    return True
                except RedisError as error:
                    said[0] = str(error)  # NOGOODSLAVE until it has looked at a replica that has just come back
            return False

        if not wait_for(begun, _GOOD_REPLICA_S, every_s=0.1):
            raise FaultError(f"no Sentinel fails over: {said[0]}")

    def died(self) -> str:
        """Which has ended and how; "" if none."""
        for process in self._processes:
            if (status := process.exit_status()) is not None:
                return f"{process.name} ended with status {status}: {process.tail(3)}"
        return ""

    def stop(self) -> None:
        """End them. Idempotent."""
        for client, process in zip(self._clients, self._processes, strict=True):
            client.close()
            process.stop(grace_s=0.0)
