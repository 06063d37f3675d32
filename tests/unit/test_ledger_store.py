"""The ledger in SQLite: what is committed is there again, and what is damaged is not believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from credchain.encoding import Digest
from credchain.errors import InvalidInput, ProofError, Rejected, StorageError
from credchain.ledger.operations import Erase
from credchain.ledger.state import State, member_key
from credchain.node.ledger_port import Deposit, LedgerPort
from credchain.storage.audit import AuditMismatch, audit
from credchain.storage.ledger_store import LedgerStore, genesis_changes
from tests.ledger_world import BOARD, OTHER_BOARD, World, did, make_network, npi
from tests.network.node_process import attest, history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def port(path: Path) -> Iterator[LedgerPort]:
    with closing(history().store(path)) as found:
        yield found


def _change(path: Path, query: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        assert conn.execute(query, values).rowcount == 1


def test_blocks_come_back_byte_for_byte(port: LedgerPort, path: Path) -> None:
    store = LedgerStore(path, history().network)
    for height, (block, certificate) in enumerate(history().blocks, start=1):
        found = store.block(block.header.height)
        assert found is not None
        assert block.header.height == height
        assert found[0].encoded == block.encoded
        assert found[1] == certificate
    assert store.height() == len(history().blocks)
    store.close()


def test_heights_that_are_not_there(port: LedgerPort, path: Path) -> None:
    store = LedgerStore(path, history().network)
    beyond = history().blocks[-1][0].header.height + 1
    assert store.certified(type(history().blocks[0][0].header.height)(0)) is None
    assert store.certified(type(history().blocks[0][0].header.height)(beyond)) is None
    assert store.block(type(history().blocks[0][0].header.height)(beyond)) is None
    store.close()


@pytest.mark.parametrize("upto", range(1, 7))
def test_reopening_gives_the_same_tip_and_root(path: Path, upto: int) -> None:
    port = history().store(path, upto)
    before = port.tip
    port.close()
    port = LedgerPort(path, history().network)
    assert (port.tip.height, port.tip.digest, port.tip.state_map.root) == (upto, *history().tip_at(upto))
    assert port.tip == before
    port.close()


def test_a_new_ledger_stands_at_genesis(path: Path) -> None:
    genesis = history().network.genesis
    for _ in range(2):
        port = LedgerPort(path, history().network)
        assert (port.tip.height, port.tip.digest, port.tip.time) == (0, genesis.network, genesis.time)
        assert port.tip.state_map.root == genesis.state_map().root
        assert port.tip.validators == genesis.validators
        port.close()


def test_genesis_changes_hold_every_record_once_in_order() -> None:
    genesis = history().network.genesis
    keys = [each.key.key for each in genesis_changes(genesis)]
    assert keys == sorted(set(keys))
    assert len(keys) == len(genesis.records())


def test_another_networks_database_is_refused(port: LedgerPort, path: Path) -> None:
    other = make_network(validators=4)
    assert other.id != history().network.id
    with pytest.raises(StorageError, match="another network"):
        LedgerPort(path, other)
    LedgerPort(path, history().network).close()


def test_an_unknown_schema_is_refused(path: Path) -> None:
    history().file(path, 1)
    _change(path, "update about set value = '2' where name = 'schema'")
    with pytest.raises(StorageError, match="schema"):
        LedgerPort(path, history().network)


@pytest.mark.parametrize(
    "content", [b"not a database, and long enough to be read as one" * 100, b"\x00" * 4096]
)
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


def _state_keys() -> list[tuple[int, str]]:
    """(place among the state's rows, kind) of every row of the whole ledger."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = history().file(Path(folder) / "ledger.db")
        with closing(sqlite3.connect(path)) as conn:
            return conn.execute("select rowid, kind || ' ' || name from state order by rowid").fetchall()


@pytest.mark.parametrize(("row", "name"), _state_keys())
def test_a_damaged_state_value_is_noticed_when_opening(path: Path, row: int, name: str) -> None:
    history().file(path)
    with closing(sqlite3.connect(path)) as conn, conn:
        value = bytearray(conn.execute("select value from state where rowid = ?", (row,)).fetchone()[0])
        value[len(value) // 2] ^= 1
        conn.execute("update state set value = ? where rowid = ?", (bytes(value), row))
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


@pytest.mark.parametrize("kind", ["validators", "parameters"])
@pytest.mark.parametrize("value", [b"", b"\x80", bytes(100)])
def test_a_state_value_that_decodes_to_nothing_is_noticed_when_opening(
    path: Path, kind: str, value: bytes
) -> None:
    history().file(path)
    _change(path, "update state set value = ? where kind = ?", value, kind)
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


@pytest.mark.parametrize("value", [None, "text", 7])
def test_a_state_value_of_another_type_is_noticed_when_opening(path: Path, value: object) -> None:
    history().file(path)
    _change(path, "update state set value = ? where rowid = 3", value)
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


def test_a_damaged_genesis_state_is_noticed_before_the_first_block(path: Path) -> None:
    """Else the first certified block would certify the damage."""
    LedgerPort(path, history().network).close()
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("delete from state where rowid = (select max(rowid) from state where kind = 'member')")
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


@pytest.mark.parametrize(
    "change", ["delete from state where rowid = 2", "update state set key = zeroblob(32) where rowid = 2"]
)
def test_a_missing_or_moved_state_row_is_noticed_when_opening(path: Path, change: str) -> None:
    history().file(path)
    _change(path, change)
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


@pytest.mark.parametrize("column", ["header", "certificate"])
@pytest.mark.parametrize("value", [b"", b"\x80", None, "text"])
def test_a_damaged_last_block_is_noticed_when_opening(path: Path, column: str, value: object) -> None:
    history().file(path)
    _change(path, f"update blocks set {column} = ? where height = 6", value)
    with pytest.raises(StorageError):
        LedgerPort(path, history().network)


@pytest.mark.parametrize("value", [b"", b"\x80", None])
def test_a_damaged_transaction_is_a_storage_error(path: Path, value: object) -> None:
    history().file(path)
    _change(path, "update transactions set bytes = ? where height = 2 and position = 0", value)
    store = LedgerStore(path, history().network)
    with pytest.raises(StorageError):
        store.block(history().blocks[1][0].header.height)
    store.close()


def test_a_block_that_does_not_fit_changes_nothing(port: LedgerPort, path: Path) -> None:
    before = port.tip
    for block, certificate in history().blocks:
        with pytest.raises((InvalidInput, ProofError, Rejected)):
            port.commit(port.validate(block), certificate)
    assert port.tip == before
    assert audit(path, history().network).height == before.height


def test_an_uncertified_block_is_not_stored(path: Path) -> None:
    port = history().store(path, 2)
    block, _ = history().blocks[2]
    other = history().blocks[3][1]
    with pytest.raises(ProofError):
        port.commit(port.validate(block), other)
    assert port.tip.height == 2
    port.close()
    assert audit(path, history().network).height == 2


def test_storing_a_block_twice_is_a_storage_error_and_changes_nothing(path: Path) -> None:
    port = history().store(path, 2)
    block, certificate = history().blocks[2]
    executed = port.validate(block)
    store = LedgerStore(path, history().network)
    store.commit(executed, certificate)
    with pytest.raises(StorageError):
        store.commit(executed, certificate)
    store.close()
    port.close()
    assert audit(path, history().network).height == 3


def test_two_connections_cannot_both_write_a_block(path: Path) -> None:
    """What a second process without the lock would do: one of them is told."""
    first, second = history().store(path, 2), LedgerPort(path, history().network)
    block, certificate = history().blocks[2]
    executed = second.validate(block)
    first.commit(first.validate(block), certificate)
    with pytest.raises(StorageError):
        second.commit(executed, certificate)
    first.close()
    second.close()
    assert audit(path, history().network).height == 3


# --- documents --------------------------------------------------------------------------------


def test_documents_are_found_by_their_digest(port: LedgerPort) -> None:
    for deposits in history().documents.values():
        for deposit in deposits:
            if deposit != history().erased:
                digest = Digest(_digest(deposit))
                assert port.document(digest) == deposit.text


def _digest(deposit: Deposit) -> Digest:
    from credchain.credentials.sdjwt import parse

    return parse(deposit.text).digest


def test_an_erased_document_is_gone_and_cannot_come_back(port: LedgerPort, path: Path) -> None:
    erased = history().erased
    assert port.document(_digest(erased)) is None
    with pytest.raises(Rejected) as caught:
        port.deposit([erased])
    assert caught.value.rule == "erased"
    assert port.document(_digest(erased)) is None
    with closing(sqlite3.connect(path)) as conn:
        left = conn.execute("select count(*) from documents where text = ?", (erased.text,)).fetchone()
    assert left == (0,)


def test_a_deposit_with_an_erased_document_stores_none_of_it(path: Path) -> None:
    history().file(path)
    _delete(path, history().kept)
    port = LedgerPort(path, history().network)
    with pytest.raises(Rejected):
        port.deposit([history().kept, history().erased])
    assert port.document(_digest(history().kept)) is None
    port.deposit([history().kept])
    assert port.document(_digest(history().kept)) == history().kept.text
    port.close()


def _delete(path: Path, deposit: Deposit) -> None:
    _change(path, "delete from documents where credential = ?", _digest(deposit))


def test_depositing_again_is_no_error(port: LedgerPort) -> None:
    assert port.deposit([history().kept, history().kept]) == 2
    assert port.document(_digest(history().kept)) == history().kept.text


def test_a_document_with_a_withheld_disclosure_is_not_stored(path: Path) -> None:
    history().file(path)
    _delete(path, history().kept)
    port = LedgerPort(path, history().network)
    jwt, *disclosures = history().kept.text.split("~")
    withheld = Deposit(history().kept.category, history().kept.subject, "~".join((jwt, *disclosures[1:])))
    with pytest.raises(InvalidInput, match="discloses all"):
        port.deposit([withheld])
    assert port.document(_digest(history().kept)) is None
    port.close()


@pytest.mark.parametrize("text", ["", "~", "a.b.c~", "\ud800~", "\u00e9~", "x" * 100_000 + "~"])
def test_a_document_that_is_none_is_refused(port: LedgerPort, text: str) -> None:
    kept = history().kept
    with pytest.raises(InvalidInput):
        port.deposit([Deposit(kept.category, kept.subject, text)])


def _commit(world: World, port: LedgerPort, *operations: tuple[str, Erase]) -> None:
    for sender, operation in operations:
        executed = world.commit([world.transaction(sender, operation)])
        port.commit(port.validate(executed.block), world.certified.certificate)


def _follow(world: World, path: Path) -> LedgerPort:
    """A ledger for a world that will be followed block by block."""
    return LedgerPort(path, world.network)


def test_one_issuer_cannot_erase_another_issuers_document(path: Path) -> None:
    """Another issuer attests the same credential digest, which all can read, and erases its own."""
    world = World()
    port = _follow(world, path)
    credential = world.issue("board_certification", npi(1), issuer=BOARD)
    for issuer in (BOARD, OTHER_BOARD):
        executed = world.commit([world.transaction(issuer, attest(credential))])
        port.commit(port.validate(executed.block), world.certified.certificate)
    port.deposit([Deposit(credential.category, credential.subject, credential.text)])
    other = world.attestation(OTHER_BOARD, attest(credential))
    _commit(world, port, (OTHER_BOARD, Erase(credential.category, credential.subject, other, "data_error")))
    assert port.document(credential.digest) == credential.text
    port.close()
    audit(path, world.network)


def test_an_attestation_of_the_same_digest_elsewhere_does_not_make_the_audit_fail(path: Path) -> None:
    """Another issuer attests the digest for another person and erases that: the node stays honest."""
    from credchain.credentials.subjects import npi_subject
    from tests.values import replace

    world = World()
    port = _follow(world, path)
    credential = world.issue("board_certification", npi(1), issuer=BOARD)
    elsewhere = replace(attest(credential), subject=npi_subject(credential.category, npi(2)))
    for issuer, operation in ((OTHER_BOARD, elsewhere), (BOARD, attest(credential))):
        executed = world.commit([world.transaction(issuer, operation)])
        port.commit(port.validate(executed.block), world.certified.certificate)
    port.deposit([Deposit(credential.category, credential.subject, credential.text)])
    other = world.attestation(OTHER_BOARD, elsewhere)
    _commit(world, port, (OTHER_BOARD, Erase(credential.category, elsewhere.subject, other, "data_error")))
    port.deposit([Deposit(credential.category, credential.subject, credential.text)])
    assert port.document(credential.digest) == credential.text
    port.close()
    try:
        audit(path, world.network)
    except AuditMismatch as problem:
        pytest.fail(f"an honest ledger does not pass its audit: {problem}")


# --- what people read -------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["block_list", "attestation_list", "status_list", "transaction_list"])
def test_readable_views_have_rows(port: LedgerPort, path: Path, view: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute(f"select * from {view}").fetchall()


def test_the_views_say_what_happened(port: LedgerPort, path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        statuses = conn.execute("select height, number, status from status_list order by number").fetchall()
        attestations = conn.execute(
            "select status, erased_at_height, document_here, issuer_name from attestation_list "
            "order by height, status"
        ).fetchall()
        empty = conn.execute("select transactions from block_list where height = 5").fetchone()
    assert statuses == [(3, 0, "suspended"), (3, 1, "active"), (6, 2, "revoked")]
    assert [each[0] for each in attestations].count("revoked") == 1
    assert [each[1:3] for each in attestations if each[1]] == [(4, 0)]
    assert all(each[2] == 1 for each in attestations if not each[1])
    assert all(each[3] for each in attestations)
    assert empty == (0,)


def test_state_rows_carry_names_that_people_can_search(port: LedgerPort, path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        kinds = dict(conn.execute("select kind, count(*) from state group by kind"))
    assert kinds["member"] == len(history().network.genesis.members) + 1
    assert kinds["parameters"] == kinds["validators"] == 1
    assert kinds["dossier"] == 4


# --- ids and places ---------------------------------------------------------------------------


def test_every_id_on_the_ledger_is_remembered(port: LedgerPort, path: Path) -> None:
    """Also those whose expiry has passed: a transaction is never applied twice."""
    store = LedgerStore(path, history().network)
    every = [each.id for block, _ in history().blocks for each in block.transactions]
    assert len(every) == 8
    assert set(store.places_of([*every, Digest(bytes(32))])) == set(every)
    store.close()


def test_a_committed_transaction_is_refused_again_also_after_reopening(path: Path) -> None:
    port = history().store(path)
    transaction = history().blocks[-1][0].transactions[0]
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            port.admit(transaction.encoded, port.tip.time)
        assert caught.value.rule == "repeated"
        port.close()
        port = LedgerPort(path, history().network)
        executed, refused = port.propose(
            [transaction],
            time=type(port.tip.time)(port.tip.time + 1),
            view=port.tip.view,
            proposer=history().network.validators.members[0].did,
        )
        assert not executed.block.transactions
        assert [each.reason.rule for each in refused] == ["repeated"]
    port.close()


def test_every_transaction_has_a_receipt_that_holds(port: LedgerPort) -> None:
    network = history().network
    for block, _ in history().blocks:
        for transaction in block.transactions:
            receipt = port.receipt(transaction.id)
            assert receipt is not None
            receipt.check(transaction.encoded, network.validators, network.id)
            assert receipt.certified.header == block.header
    assert port.receipt(Digest(bytes(32))) is None


def test_attestations_are_found_by_the_first_digits(port: LedgerPort, path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        ids = [bytes(row[0]) for row in conn.execute("select id from attestations")]
    assert len(ids) == 5
    for each in ids:
        digits = each.hex()
        for length in (8, 9, 63, 64):
            whole = length // 2 * 2
            found = port.locate(bytes.fromhex(digits[:whole]), digits[whole:length])
            assert [location.attestation for location in found] == [each]
        other = "0" if digits[8] != "0" else "1"
        assert port.locate(each[:4], other) == []


def test_members_come_a_page_at_a_time(port: LedgerPort) -> None:
    every = port.member_page(None, "", 1000)
    assert every == sorted(every)
    assert len(every) == len(history().network.genesis.members) + 1
    paged, after = [], ""
    while page := port.member_page(None, after, 2):
        paged += page
        after = page[-1]
    assert paged == every
    issuers = port.member_page("issuer", "", 1000)
    assert did(BOARD) in issuers
    assert set(issuers) == {each.did for each in history().network.genesis.members if "issuer" in each.roles}
    assert len(port.member_page("radiologist", "", 1000)) == 1
    assert port.member_page("issue", "", 1000) == []


def test_reading_sees_the_last_committed_block(port: LedgerPort, path: Path) -> None:
    store = LedgerStore(path, history().network)
    member = State(store).member(did(BOARD))
    assert member is not None
    assert member.name == BOARD
    assert store.value(member_key(did(BOARD)).key) == member.encode()
    assert store.value(Digest(bytes(32))) is None
    assert store.counts() == {
        "attestations": 5,
        "members": len(history().network.genesis.members) + 1,
        "documents": 4,
        "mailbox": 0,
    }
    store.close()


def test_a_database_without_durability_holds_the_same(path: Path) -> None:
    history().file(path)
    other = path.with_name("other.db")
    fast = LedgerStore(other, history().network, durable=False)
    port = LedgerPort(path, history().network)
    assert fast.load_tip().state_map.root == history().network.genesis.state_map().root
    assert port.tip.state_map.root == history().tip_at(6)[1]
    fast.close()
    port.close()
