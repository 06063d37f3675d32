"""Verifying a bundle of 8 credentials, all checks.

    python -m tests.benchmarks.bundle

In process: decode it, open its evidence, judge it; against the raw time of the signatures in it (one a
credential, the identity's, the bundle's own, one a validator); the bound is 1.5. As a process: `verify
FILE --offline`, the unlocking of the key taken off, against importing Typer in a bare Python; the bound is
2. Run it in an environment that has what the project installs and nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from credchain.certificates import Millis, commit_digest
from credchain.credentials.sdjwt import parse, unbase64url
from credchain.keys import verify
from credchain.ledger.network import Network
from credchain.limits import DAY
from credchain.storage.home import Home, load_network
from credchain.storage.keyfile import KeyPair
from credchain.verification.bundle import Bundle, open_bundle
from credchain.verification.by_bundle import BundleQuestion, verify_bundle
from credchain.verification.checks import Verdict
from credchain.verification.evidence import open_answer

from .network import PASSPHRASE, PROGRAM, SAMPLES, network, run, seconds

ROUNDS = 15
NPI = "2012345676"
PRIVATE = {
    "cme_credit": ("sample-cme-institute", None),
    "life_support": ("sample-cme-institute", "2027-06-30"),
    "hospital_privileges": ("example-harbor-hospital", "2027-12-31"),
    "mqsa_experience": ("example-harbor-hospital", "2027-12-31"),
    "malpractice_coverage": ("fictional-mutual-assurance", "2027-06-30"),
    "fellowship": ("placeholder-university-medicine", None),
}
"""Each private category's issuer, and its last day where it has one."""


def make_bundle(made: Path) -> Path:
    """A radiologist with nine credentials shares the eight beside its identity."""
    members, wallet = made / "members", made / "members/radiologist"
    boards = (("example-board-of-radiology", "roster"), ("california-example-board", "licenses"))
    for (board, table), category in zip(boards, ("board_certification", "state_license"), strict=True):
        run("attest", category, "--csv", SAMPLES / f"{table}.csv", "--home", members / board)
    run("join", made / "network.json", "--home", wallet)
    run("init", "--radiologist", "--name", "Elena", "--home", wallet)
    claims = ["family_name=Navarro", "given_name=Elena"]
    claims.append("verification_method=in person with government photo ID")
    sets = [word for each in claims for word in ("--set", each)]
    identity = members / "example-identity-desk"
    run("enroll", wallet / "member.toml", "--npi", NPI, *sets, "--home", identity)
    for category, (issuer, until) in PRIVATE.items():
        address = run("wallet", "address", category, "--home", wallet)["address"]
        file = SAMPLES / f"claims/{category}.json"
        dates = ["--until", until] if until else []
        run("attest", category, "--to", address, "--claims", file, *dates, "--home", members / issuer)
    run("wallet", "sync", "--npi", NPI, "--home", wallet)
    bundle = made / "bundle.ccb"
    names = ("board_certification", "state_license", *PRIVATE)
    scope = [word for name in names for word in ("--category", name)]
    purpose = ("--to", "Lakeside Hospital", "--purpose", "reappointment", "--expires", "1d")
    run("share", *purpose, *scope, "--out", bundle, "--home", wallet)
    return bundle


def best(work: Callable[[], object]) -> float:
    """The median of several timings, each of many calls, in seconds a call."""
    timings = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for _ in range(20):
            work()
        timings.append((perf_counter() - started) / 20)
    return statistics.median(timings)


def signatures(bundle: Bundle, anchor: Network) -> list[tuple[bytes, bytes, bytes]]:
    """(key, message, signature) of every one that a verifier must check."""
    question = question_of(bundle, anchor)
    state = open_answer(bundle.evidence, anchor)
    dossiers = [state.dossier(*each) for each in question.subjects]
    signers = {entry.credential: entry.key for each in dossiers if each for entry in each.entries}
    found: list[tuple[bytes, bytes, bytes]] = [(bundle.body.key, bundle.body.digest, bundle.signature)]
    for text in (bundle.body.identity, *bundle.body.credentials):
        credential = parse(text)
        signed, _, encoded = credential.jwt.rpartition(".")
        key = signers[credential.digest]
        found.append((key, signed.encode(), unbase64url(encoded, "signature")))
    header, certificate = bundle.evidence.certified.header, bundle.evidence.certified.certificate
    message = commit_digest(anchor.id, header.height, certificate.view, header.digest)
    for index, signature in certificate.signatures:
        found.append((anchor.validators.members[index].key, message, signature))
    return found


def question_of(bundle: Bundle, anchor: Network) -> BundleQuestion:
    return BundleQuestion(
        network=anchor,
        bundle=bundle,
        audience=bundle.body.audience,
        now=bundle.body.issued,
        max_age=Millis(DAY),
        seen_height=0,
        trusted_at=anchor.genesis.time,
    )


def in_process(path: Path, anchor: Network, hospital: KeyPair) -> None:
    content = open_bundle(path.read_bytes(), hospital.encryption)
    checks = signatures(Bundle.decode(content), anchor)

    def whole() -> None:
        bundle = Bundle.decode(content)
        state = open_answer(bundle.evidence, anchor)
        assert verify_bundle(question_of(bundle, anchor), state).verdict is Verdict.ESTABLISHED

    def raw() -> None:
        assert all(verify(*each) for each in checks)

    ours, bound = best(whole), best(raw)
    print(f"bundle of {path.stat().st_size} bytes verified in {ours * 1e6:.0f} us")
    print(f"its {len(checks)} signatures alone in {bound * 1e6:.0f} us")
    print(f"in-process ratio {ours / bound:.2f} (bound 1.50)")


def as_process(path: Path, home: Home) -> None:
    command = [*PROGRAM, "verify", str(path), "--offline", "--max-age", "1d", "--home", str(home.path)]
    bare = [sys.executable, "-c", "import typer"]
    pairs = [(seconds(command), seconds(bare)) for _ in range(ROUNDS)]
    started = perf_counter()
    home.unlock(PASSPHRASE)
    unlocking = perf_counter() - started
    ours = statistics.median(pair[0] for pair in pairs) - unlocking
    bound = statistics.median(pair[1] for pair in pairs)
    print(f"verify FILE --offline {ours * 1e3:.0f} ms without {unlocking * 1e3:.0f} ms of unlocking")
    print(f"importing typer {bound * 1e3:.0f} ms; process ratio {ours / bound:.2f} (bound 2.00)")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with network(Path(folder), 17443) as made:
            path = make_bundle(made)
        home = Home(made / "members/lakeside-hospital")
        anchor = load_network(made / "network.json")
        in_process(path, anchor, home.unlock(PASSPHRASE))
        as_process(path, home)


if __name__ == "__main__":
    main()
