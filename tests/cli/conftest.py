"""What all tests of the command line share: one network with its node, and one run of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .network import Done, SampleNetwork, default_port, run, sample_network


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleNetwork]:
    with sample_network(tmp_path_factory.mktemp("cli")) as made:
        yield made


@dataclass(frozen=True)
class Played:
    """The demo without --keep, and what it left: where it was called, temporary, or in a home."""

    done: Done
    left: list[Path]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder, temporary = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("temporary")
    with default_port():
        done = run("demo", cwd=folder, home=folder / "home", passphrase=None, TMPDIR=str(temporary))
    return Played(done, [each for place in (folder, temporary) for each in place.iterdir()])
