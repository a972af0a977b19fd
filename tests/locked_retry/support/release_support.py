"""What an older release of Celery or kombu cannot do by itself: its tests are skipped there, with the reason."""

from __future__ import annotations

import pytest

from locked_retry.adapter import releases


def since_celery(major: int, minor: int, why: str) -> pytest.MarkDecorator:
    """Skip before this release of Celery."""
    return pytest.mark.skipif((major, minor) > releases.CELERY, reason=f"Celery {major}.{minor}: {why}")


def since_kombu(major: int, minor: int, why: str) -> pytest.MarkDecorator:
    """Skip before this release of kombu."""
    return pytest.mark.skipif((major, minor) > releases.KOMBU, reason=f"kombu {major}.{minor}: {why}")
