"""The task class by itself: the name of its lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from locked_retry import LockedTask


def name_of_order(order: int, note: str = "none") -> str:
    return f"order:{order}:{note}"


@pytest.mark.parametrize("lock", ["order:{order}:{note}", name_of_order, staticmethod(name_of_order)])
@pytest.mark.parametrize("args", [((7,), {}), ((), {"order": 7}), (None, {"order": 7})])
def test_a_lock_is_named_by_the_arguments(lock: str | Callable[..., str], args: tuple[Any, Any]) -> None:
    app = Celery("tested", task_cls=LockedTask, set_as_current=False)

    @app.task(lock=lock, shared=False)
    def task(order: int, note: str = "none") -> None: ...

    assert task.lock_name(*args) == "order:7:none"


def test_arguments_that_do_not_fit_are_refused() -> None:
    app = Celery("tested", task_cls=LockedTask, set_as_current=False)

    @app.task(lock="order:{order}", shared=False)
    def task(order: int) -> None: ...

    with pytest.raises(TypeError):
        task.lock_name((), {"other": 1})
