"""Issuing survives: a bulk run killed at any moment, a node killed under it, a ledger that refuses.

Whatever happens, the next run goes on, nothing is attested twice, and the audit passes.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from credchain.client import Client
from credchain.issuing.outbox import Outbox
from credchain.ledger.transactions import MAX_OPERATIONS, Transaction
from credchain.storage.audit import audit
from credchain.storage.home import Home
from credchain.storage.ledger_store import LedgerStore
from credchain.storage.member_store import COMMITTED, PENDING, REFUSED, MemberStore

from .node_process import (
    ISSUER,
    MadeNetwork,
    NodeProcess,
    attest,
    command,
    credchain,
    environment,
    free_port,
    make_credential,
    make_network,
    now,
    request,
    request_json,
    running,
    sign,
    some_npi,
    start_node,
    wait_until,
)

MANY: Final = 3_000
_COLUMNS: Final = (
    "npi", "valid_from", "family_name", "given_name", "board", "certificate_number", "discipline",
    "initial_certification_date",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeNetwork:
    return make_network(tmp_path_factory.mktemp("network"))


@dataclass
class Office:
    """An issuer's home, a node's home, and the node that runs there."""

    made: MadeNetwork
    home: Home
    node_home: Home
    node: NodeProcess

    @property
    def url(self) -> str:
        return self.node.url

    def arguments(self, table: Path, *more: str | Path) -> list[str | Path]:
        where: list[str | Path] = ["--home", self.home.path, "--node", self.url, "--json"]
        return ["attest", "board_certification", "--csv", table, *where, *more]

    def attest(self, table: Path, *more: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return credchain(*self.arguments(table, *more), **variables)

    def start(self, table: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(*self.arguments(table)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )

    def attested(self) -> int:
        """On the ledger now, without disturbing the node."""
        if not self.node_home.ledger.exists():
            return 0
        with closing(sqlite3.connect(f"{self.node_home.ledger.as_uri()}?mode=ro", uri=True)) as conn:
            return int(conn.execute("select count(*) from attestations").fetchone()[0])

    def check(self, expected: int, documents: int | None = None) -> None:
        """Exactly so many attestations, each of another person, in a ledger that is whole."""
        report = audit(self.node_home.ledger, self.made.network)
        assert report.attestations == expected
        assert report.documents == (expected if documents is None else documents)
        with closing(sqlite3.connect(self.node_home.ledger)) as conn:
            subjects = conn.execute("select count(distinct subject) from attestations").fetchone()[0]
        assert subjects == expected


@pytest.fixture
def office(made: MadeNetwork, tmp_path: Path) -> Iterator[Office]:
    node_home = made.validator(tmp_path / "node")
    node = start_node(node_home)
    found = Office(made, made.member(ISSUER, tmp_path / "issuer"), node_home, node)
    try:
        yield found
    finally:
        found.node.kill()


def _line(number: int, **differing: str) -> dict[str, str]:
    line = {
        "npi": some_npi(number),
        "valid_from": "2025-01-01",
        "family_name": "Navarro",
        "given_name": "Elena",
        "board": "Test Board",
        "certificate_number": f"T-{number:06d}",
        "discipline": "Diagnostic Radiology",
        "initial_certification_date": "2018-10-05",
    }
    return {**line, **differing}


def _table(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _table(tmp_path_factory.mktemp("table") / "many.csv", [_line(each) for each in range(1, MANY + 1)])


def _kill_somewhere(office: Office, table: Path, chosen: random.Random) -> bool:
    """Start a run and SIGKILL it at a moment that its outbox and the seed choose; False if it was done."""
    run = office.start(table)
    stage = chosen.choice(["envelope", "ledger", "documents"])
    before = (_count(office.home, "envelopes"), office.attested(), _delivered(office.home))

    def moved() -> bool:
        after = (_count(office.home, "envelopes"), office.attested(), _delivered(office.home))
        place = ["envelope", "ledger", "documents"].index(stage)
        return run.poll() is not None or after[place] > before[place]

    try:
        wait_until(moved, f"something to kill at ({stage})")
        pause = chosen.random() * 0.08
        import time

        time.sleep(pause)
    finally:
        run.send_signal(signal.SIGKILL)
        code = run.wait(60)
    return code == -signal.SIGKILL


def _count(home: Home, table: str) -> int:
    return _number(home, f"select count(*) from {table}")


def _delivered(home: Home) -> int:
    return _number(home, "select count(*) from issued where delivered = 1")


def _number(home: Home, query: str) -> int:
    if not home.member_database.exists():
        return 0
    with closing(sqlite3.connect(home.member_database)) as conn:
        try:
            return int(conn.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.parametrize("seed", [1])
def test_a_bulk_run_killed_again_and_again_attests_everything_once(
    office: Office, many: Path, seed: int
) -> None:
    chosen = random.Random(seed)
    kills = sum(_kill_somewhere(office, many, chosen) for _ in range(4))
    assert kills, f"seed {seed}: no run was killed"
    done = office.attest(many)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["attested"] + told["already"], told["rejected"]) == (MANY, MANY, [])
    again = office.attest(many)
    assert json.loads(again.stdout) == {"rows": MANY, "attested": 0, "already": MANY, "rejected": []}
    assert office.node.stop() == 0
    office.check(MANY)
    store = MemberStore(office.home.member_database, office.made.network.id)
    assert store.pending() == []
    assert len(store.issued_list()) == MANY
    assert store.undelivered(1) == []
    store.close()


def test_a_node_killed_and_started_again_in_the_middle(office: Office, many: Path) -> None:
    run = office.start(many)
    try:
        wait_until(lambda: run.poll() is not None or office.attested() > 0, "the first block")
        office.node.kill()
        code = run.wait(120)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait(60)
    office.node = start_node(office.node_home)
    assert code in (0, 6)
    done = office.attest(many)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["attested"] + told["already"] == MANY
    assert office.node.stop() == 0
    office.check(MANY)


def test_a_run_without_a_node_says_so_and_the_next_one_finishes(office: Office, tmp_path: Path) -> None:
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 6)])
    where: list[str | Path] = [
        "--home",
        office.home.path,
        "--node",
        f"http://127.0.0.1:{free_port()}",
        "--json",
    ]
    down = credchain("attest", "board_certification", "--csv", table, *where)
    assert (down.returncode, down.stdout) == (6, "")
    assert json.loads(down.stderr.splitlines()[-1])["code"] == 6
    done = office.attest(table)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["attested"] == 5
    assert office.node.stop() == 0
    office.check(5)


def test_two_runs_at_once_and_the_second_is_refused(office: Office, many: Path) -> None:
    run = office.start(many)
    try:
        wait_until(lambda: run.poll() is not None or _count(office.home, "envelopes") > 0, "the first run")
        os.kill(run.pid, signal.SIGSTOP)
        second = office.attest(many)
        assert run.poll() is None
        os.kill(run.pid, signal.SIGCONT)
        assert run.wait(120) == 0
    finally:
        if run.poll() is None:
            run.kill()
            run.wait(60)
    assert (second.returncode, second.stdout) == (6, "")
    assert "in use" in second.stderr
    assert office.node.stop() == 0
    office.check(MANY)


def test_a_second_run_attests_nothing_and_the_ledger_does_not_grow_by_it(
    office: Office, tmp_path: Path
) -> None:
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 11)])
    assert json.loads(office.attest(table).stdout)["attested"] == 10
    again = json.loads(office.attest(table).stdout)
    assert again == {"rows": 10, "attested": 0, "already": 10, "rejected": []}
    more = _table(tmp_path / "more.csv", [_line(each) for each in range(5, 16)])
    assert json.loads(office.attest(more).stdout) == {
        "rows": 11, "attested": 5, "already": 6, "rejected": [],
    }  # fmt: skip
    assert office.node.stop() == 0
    assert audit(office.node_home.ledger, office.made.network).transactions == 2
    office.check(15)


def test_a_killed_single_attest_is_not_made_twice(office: Office, tmp_path: Path) -> None:
    """The same table of one, killed right after its envelope was written."""
    table = _table(tmp_path / "table.csv", [_line(1)])
    run = office.start(table)
    try:
        wait_until(lambda: run.poll() is not None or _count(office.home, "envelopes") > 0, "the envelope")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait(60)
    done = office.attest(table)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["attested"] + json.loads(done.stdout)["already"] == 1
    assert office.node.stop() == 0
    office.check(1)


# --- rows that are refused --------------------------------------------------------------------


def test_a_wrong_row_sends_nothing(office: Office, tmp_path: Path) -> None:
    lines = [_line(1), _line(2, npi="1234567890"), _line(3, discipline="Astrology"), _line(4)]
    table = _table(tmp_path / "table.csv", lines)
    done = office.attest(table)
    assert (done.returncode, done.stdout) == (2, "")
    told = json.loads(done.stderr.splitlines()[-1])
    assert [(each["line"], each["column"]) for each in told["rejected"]] == [(3, "npi"), (4, "discipline")]
    assert office.attested() == 0


def test_partial_sends_the_good_rows_and_writes_the_others(office: Office, tmp_path: Path) -> None:
    lines = [_line(1), _line(2, npi="1234567890"), _line(3, discipline="Astrology"), _line(4)]
    table, rejects = _table(tmp_path / "table.csv", lines), tmp_path / "rejects.csv"
    done = office.attest(table, "--partial", "--rejects", rejects)
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["attested"], told["already"]) == (4, 2, 0)
    with rejects.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(each["rejected_line"], each["rejected_column"]) for each in found] == [
        ("3", "npi"),
        ("4", "discipline"),
    ]
    assert [{name: each[name] for name in _COLUMNS} for each in found] == [lines[1], lines[2]]
    mended = _table(tmp_path / "mended.csv", [_line(2), _line(3)])
    assert json.loads(office.attest(mended).stdout)["attested"] == 2
    assert office.node.stop() == 0
    office.check(4)


def test_rejects_do_not_overwrite_the_table(office: Office, tmp_path: Path) -> None:
    table = _table(tmp_path / "table.csv", [_line(1), _line(2, npi="1234567890")])
    before = table.read_bytes()
    done = office.attest(table, "--partial", "--rejects", table)
    assert done.returncode == 2, done.stdout
    assert table.read_bytes() == before


def _fill(office: Office, number: int) -> None:
    """As many attestations of this person as the ledger takes of one issuer, by another home."""
    entries = office.made.network.genesis.parameters.entries_per_issuer
    keys = office.made.keys(ISSUER)
    from hashlib import sha256

    from credchain.encoding import Digest
    from tests.values import replace

    operation = attest(make_credential(office.made, number))
    operations = [
        replace(operation, credential=Digest(sha256(f"filler {each}".encode()).digest()))
        for each in range(entries)
    ]
    transaction = sign(office.made, *operations)
    assert transaction.sender == keys.did
    status, body = request_json(f"{office.url}/v1/transactions", data=transaction.encoded)
    assert status == 200, body


def test_the_ledger_refuses_one_row_of_an_envelope(office: Office, tmp_path: Path) -> None:
    """Without --partial the run ends and names the line; with it the others are attested."""
    _fill(office, 3)
    before = office.attested()
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 7)])
    done = office.attest(table)
    assert (done.returncode, done.stdout) == (7, "")
    assert "line 4: " in json.loads(done.stderr.splitlines()[-1])["error"]
    assert office.attested() == before
    rejects = tmp_path / "rejects.csv"
    done = office.attest(table, "--partial", "--rejects", rejects)
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["attested"], told["already"]) == (6, 5, 0)
    assert [each["line"] for each in told["rejected"]] == [4]
    with rejects.open(newline="") as file:
        assert [each["rejected_line"] for each in csv.DictReader(file)] == ["4"]
    assert office.attested() == before + 5
    store = MemberStore(office.home.member_database, office.made.network.id)
    assert store.pending() == []
    store.close()
    assert office.node.stop() == 0
    assert audit(office.node_home.ledger, office.made.network).attestations == before + 5


# --- envelopes that were lost -----------------------------------------------------------------


async def _run_dead(office: Office, *, age: int, rows: int = 3) -> list[Any]:
    """An outbox with an envelope that expired before it was sent, as a run that was killed left it."""
    from credchain.certificates import Millis
    from credchain.issuing.attesting import Attesting

    network = office.made.network
    store = MemberStore(office.home.member_database, network.id)
    async with Client(network, now=now, urls=[f"http://127.0.0.1:{free_port()}"]) as client:
        keys = office.made.keys(ISSUER)
        outbox = Outbox(store, client, keys, lambda: Millis(now() - age))
        category = network.category("board_certification")
        attesting = Attesting(store, client, outbox, keys, category, now)
        issued = [attesting._issued(row) for row in _rows(office, rows)]
        outbox.enqueue([attesting._operation(each, None) for each in issued], issued)
    found = store.pending()
    store.close()
    return [found[0], issued]


def _rows(office: Office, count: int) -> list[Any]:
    from credchain.certificates import Millis
    from credchain.issuing.rows import Defaults, Issuer, make_row

    network = office.made.network
    category = network.category("board_certification")
    return [
        make_row(
            category,
            Issuer(network.id, ("US",)),
            to=line["npi"],
            claims={name: line[name] for name in _COLUMNS[2:]},
            valid_from=line["valid_from"],
            valid_until=None,
            defaults=Defaults(None, None, Millis(now())),
            line=number + 1,
        )
        for number, line in ((each, _line(each)) for each in range(1, count + 1))
    ]


async def test_a_lost_envelope_is_signed_anew_with_the_same_credentials(
    office: Office, tmp_path: Path
) -> None:
    envelope, issued = await _run_dead(office, age=3_600_000)
    assert envelope.expiry < now()
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 4)])
    done = office.attest(table)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["attested"], told["already"]) == (3, 0)
    store = MemberStore(office.home.member_database, office.made.network.id)
    signed = store.envelope(envelope.id)
    assert signed is not None
    assert signed.state == COMMITTED
    assert signed.transaction_id != envelope.transaction_id
    assert Transaction.decode(signed.data).operations == Transaction.decode(envelope.data).operations
    assert [each.document for each in store.rows_of(signed)] == [each.document for each in issued]
    store.close()
    for each in issued:
        assert request(f"{office.url}/v1/documents/{each.credential.hex()}") == (200, each.document.encode())
    assert office.node.stop() == 0
    office.check(3)


async def test_an_envelope_that_was_not_sent_in_time_is_sent_as_it_is(office: Office, tmp_path: Path) -> None:
    envelope, _ = await _run_dead(office, age=0)
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 4)])
    assert json.loads(office.attest(table).stdout)["attested"] == 3
    store = MemberStore(office.home.member_database, office.made.network.id)
    sent = store.envelope(envelope.id)
    assert sent is not None
    assert (sent.state, sent.transaction_id, sent.data) == (COMMITTED, envelope.transaction_id, envelope.data)
    store.close()
    assert office.node.stop() == 0
    office.check(3)


async def test_an_envelope_on_the_ledger_whose_receipt_was_lost(office: Office, tmp_path: Path) -> None:
    """Killed between the block and its own note of it, and resumed after the expiry window too."""
    envelope, _ = await _run_dead(office, age=0)
    status, _ = request_json(f"{office.url}/v1/transactions", data=envelope.data)
    assert status == 200
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 4)])
    told = json.loads(office.attest(table).stdout)
    assert (told["attested"], told["already"]) == (3, 0)
    assert office.node.stop() == 0
    office.check(3)


async def test_an_envelope_that_the_rules_refuse_on_resuming_keeps_its_credentials(
    office: Office, tmp_path: Path
) -> None:
    """Another home attested one of its credentials meanwhile: the others follow, none twice."""
    envelope, issued = await _run_dead(office, age=0)
    operations = Transaction.decode(envelope.data).operations
    other = sign(office.made, operations[1])
    assert request_json(f"{office.url}/v1/transactions", data=other.encoded)[0] == 200
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 4)])
    done = office.attest(table)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["attested"] + told["already"], told["rejected"]) == (3, 3, [])
    store = MemberStore(office.home.member_database, office.made.network.id)
    closed = store.envelope(envelope.id)
    assert closed is not None
    assert closed.state == REFUSED
    assert store.pending() == []
    assert [each.document for each in store.issued_list()] != []
    assert {each.document for each in store.issued_list()} == {each.document for each in issued}
    store.close()
    assert office.node.stop() == 0
    office.check(3)


async def test_a_single_attest_that_another_envelope_made_is_reported(office: Office) -> None:
    """Its attestation is on the ledger, by another envelope: not an error, and not made twice."""
    envelope, _ = await _run_dead(office, age=0, rows=1)
    other = sign(office.made, *Transaction.decode(envelope.data).operations, expiry=now() + 60_000)
    assert request_json(f"{office.url}/v1/transactions", data=other.encoded)[0] == 200
    line = _line(1)
    sets = [part for name in _COLUMNS[2:] for part in ("--set", f"{name}={line[name]}")]
    done = credchain(
        "attest", "board_certification", "--npi", line["npi"], "--from", line["valid_from"], *sets,
        "--home", office.home.path, "--node", office.url, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert office.node.stop() == 0
    office.check(1)


def test_a_full_envelope_and_one_more_row(office: Office, tmp_path: Path) -> None:
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, MAX_OPERATIONS + 2)])
    assert json.loads(office.attest(table).stdout)["attested"] == MAX_OPERATIONS + 1
    assert office.node.stop() == 0
    assert audit(office.node_home.ledger, office.made.network).transactions == 2
    office.check(MAX_OPERATIONS + 1)


def test_documents_that_were_not_handed_over_follow_in_the_next_run(office: Office, tmp_path: Path) -> None:
    """Killed between block and deposit."""
    table = _table(tmp_path / "table.csv", [_line(each) for each in range(1, 4)])
    assert office.attest(table).returncode == 0
    with closing(sqlite3.connect(office.home.member_database)) as conn, conn:
        conn.execute("update issued set delivered = 0")
    assert office.node.stop() == 0
    with closing(sqlite3.connect(office.node_home.ledger)) as conn, conn:
        conn.execute("delete from documents")
    office.check(3, documents=0)
    office.node = start_node(office.node_home)
    told = json.loads(office.attest(table).stdout)
    assert (told["attested"], told["already"]) == (0, 3)
    assert office.node.stop() == 0
    office.check(3)


def test_a_wrong_passphrase_attests_nothing(office: Office, tmp_path: Path) -> None:
    table = _table(tmp_path / "table.csv", [_line(1)])
    done = office.attest(table, CREDCHAIN_PASSPHRASE="wrong")
    assert (done.returncode, done.stdout) == (2, "")
    assert not office.home.member_database.exists()
    assert office.attested() == 0


def test_states_are_what_the_contract_names() -> None:
    assert len({PENDING, COMMITTED, REFUSED}) == 3


def test_the_ledger_of_a_stopped_node_opens(office: Office) -> None:
    assert office.node.stop() == 0
    LedgerStore(office.node_home.ledger, office.made.network).close()
    with running(office.node_home) as node:
        assert node.stop() == 0
