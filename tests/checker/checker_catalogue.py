"""For every rule, histories that break it beside clean twins. Each module adds its own to the list."""

from __future__ import annotations

import checker_catalogue_conditions  # noqa: F401
import checker_catalogue_dead  # noqa: F401
import checker_catalogue_evidence  # noqa: F401
import checker_catalogue_exclusion  # noqa: F401
import checker_catalogue_execution  # noqa: F401
import checker_catalogue_faults  # noqa: F401
import checker_catalogue_late  # noqa: F401
import checker_catalogue_livelock  # noqa: F401
import checker_catalogue_loss  # noqa: F401
import checker_catalogue_patience  # noqa: F401
import checker_catalogue_poison  # noqa: F401
import checker_catalogue_recovery  # noqa: F401
import checker_catalogue_results  # noqa: F401
import checker_catalogue_start  # noqa: F401
import checker_catalogue_statements  # noqa: F401
import checker_catalogue_throughput  # noqa: F401
from checker_known import KNOWN, Known

__all__ = ["KNOWN", "Known"]
