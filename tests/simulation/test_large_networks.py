"""Random schedules of seven to ten validators; beside the smaller ones in another process."""

from __future__ import annotations

import pytest

from .seeds import LARGE, LARGE_SEEDS, PORTIONS, failures


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_seeds(portion: int) -> None:
    assert failures(LARGE, LARGE_SEEDS, portion) == ""
