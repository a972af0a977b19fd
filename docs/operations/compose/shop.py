"""An application on locked_retry: `celery -A shop worker` works, `python shop.py` sends an order every second."""

from __future__ import annotations

import itertools
import os
import time

from celery import Celery

import locked_retry

app = Celery("shop", broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0"))
app.Task = locked_retry.LockedTask
app.conf.update(task_ignore_result=True, worker_soft_shutdown_timeout=60.0)
locked_retry.install(app, lease_s=30.0)  # where the figures are: LOCKED_RETRY_METRICS


@app.task(name="shop.ship", bind=True, lock="order:{order}", autoretry_for=(OSError,), max_retries=5)
def ship(self, order):
    """Ship one order: one at a time for each, and again when the post office cannot be reached."""
    if order % 10 == 0 and not self.request.retries:
        raise OSError("the post office does not answer")
    time.sleep(0.1)


def main() -> None:
    """Send orders, for ever."""
    for order in itertools.count(1):
        ship.delay(order)
        time.sleep(1)


if __name__ == "__main__":
    main()
