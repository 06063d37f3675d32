"""Random schedules of four to six validators; beside the larger ones in another process."""

from __future__ import annotations

import pytest

from .seeds import PORTIONS, SMALL, SMALL_SEEDS, failures


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_seeds(portion: int) -> None:
    assert failures(SMALL, SMALL_SEEDS, portion) == ""
