"""The backup of a home that is not a radiologist's: what is not in it is said, and how to keep that."""

from __future__ import annotations

import shutil
from pathlib import Path

from .network import SampleNetwork, claim_options, npis, quick

new_npi = npis(72_000_000)


def test_a_board_is_told_that_its_records_are_not_in_it(network: SampleNetwork, tmp_path: Path) -> None:
    npi, backup, new = new_npi(), tmp_path / "backup.json", tmp_path / "new"
    first = network.attested(npi)
    made = quick("backup", "--out", backup, home=network.board, expect=0)
    assert "member.db" in made.err
    assert "node.toml" not in made.err
    assert quick("backup", "--out", tmp_path / "b", "--json", home=network.board, expect=0).json["did"]
    restored = quick("restore", backup, home=new, expect=0)
    assert "wallet sync" not in restored.err
    assert "member.db" in restored.err
    assert "a second time" in restored.err
    # The advice can be followed.
    shutil.copy2(network.board / "member.db", new / "member.db")
    again = ("attest", "board_certification", "--npi", npi, *claim_options(), "--json")
    assert quick(*again, home=new, expect=0).json["attestation"] == first


def test_a_home_without_records_has_nothing_else(network: SampleNetwork, tmp_path: Path) -> None:
    home = tmp_path / "home"
    quick("init", "--name", "A Board", home=home, expect=0)
    assert quick("backup", "--out", tmp_path / "b.json", home=home, expect=0).err == ""


def test_a_validator_is_told_what_its_node_needs(network: SampleNetwork, tmp_path: Path) -> None:
    """Alone in its network it has the only ledger; of several, none may come back with an old safety.db."""
    told = quick("backup", "--out", tmp_path / "a.json", home=network.node_home, expect=0).err
    for name in ("node.toml", "tls-key.pem", "ledger.db", "safety.db"):
        assert name in told
    assert "never" not in told
    home = tmp_path / "node"
    words = ("--validator", "--peer", "127.0.0.1:7440", "--api", "https://127.0.0.1:7441")
    quick("init", "--name", "A Node", *words, home=home, expect=0)
    told = quick("backup", "--out", tmp_path / "b.json", home=home, expect=0).err
    for name in ("node.toml", "tls-key.pem", "never copy safety.db"):
        assert name in told
    assert "ledger.db" not in told


def test_a_radiologist_is_told_to_sync(network: SampleNetwork, tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "b.json"
    quick("join", network.file, home=home, expect=0)
    quick("init", "--radiologist", "--name", "Ada", "--backup", backup, home=home, expect=0)
    assert "wallet sync" in quick("restore", backup, home=tmp_path / "new", expect=0).err
