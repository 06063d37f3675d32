"""Each guard of progress and memory switched off: it is noticed. Beside those of safety."""

from __future__ import annotations

import pytest

from .sabotage import Sabotage, check
from .sabotage_progress import TABLE


@pytest.mark.parametrize("sabotage", TABLE, ids=lambda each: each.name)
def test_guard(sabotage: Sabotage) -> None:
    check(sabotage)
