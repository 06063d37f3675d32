"""One network and node for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .network import SampleNetwork, sample_network


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleNetwork]:
    with sample_network(tmp_path_factory.mktemp("cli")) as made:
        yield made
