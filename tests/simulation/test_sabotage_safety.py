"""Each guard of safety switched off: the oracles notice. Beside those of progress in another process."""

from __future__ import annotations

import pytest

from .sabotage import Sabotage, check
from .sabotage_safety import TABLE


@pytest.mark.parametrize("sabotage", TABLE, ids=lambda each: each.name)
def test_guard(sabotage: Sabotage) -> None:
    check(sabotage)
