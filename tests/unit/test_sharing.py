"""Sharing: what a bundle discloses of the identity."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from credchain.certificates import Millis
from credchain.credentials.sdjwt import Credential, parse
from credchain.keys import Did
from credchain.limits import DAY
from credchain.storage.wallet_store import Held, WalletStore
from credchain.verification.bundle import Bundle, ScopeEntry
from credchain.verification.by_bundle import BundleQuestion, verify_bundle
from credchain.verification.checks import Verdict
from credchain.verification.evidence import Answer, ProvedState, open_answer
from credchain.wallet.sharing import IDENTITY_CLAIMS, Sharing
from tests.ledger_world import HOSPITAL, World, did
from tests.unit.test_by_bundle import ELENA, Case, bound_anew, enrolled

ALL = frozenset(("family_name", "given_name", "holder", "subjects_root", "verification_method"))


class _Client:
    """Gives evidence of a world, as an honest node does."""

    def __init__(self, world: World) -> None:
        self.network = world.network
        self.world = world

    async def evidence(self, wanted: Any, members: list[Did]) -> tuple[Answer, ProvedState]:
        answer = self.world.evidence(wanted, members)
        return answer, open_answer(answer, self.network)


async def share(case: Case, folder: Path, category: str) -> tuple[Bundle, Verdict]:
    """What the wallet makes of this radiologist's credentials, and how the hospital judges it."""
    world = case.world
    store = WalletStore(folder / "wallet.db", world.network.id, bytes(32))
    try:
        store.set_npi(ELENA.npi)
        for text in (case.identity, *case.texts):
            found: Credential = parse(text)
            store.add(Held(found.digest, found.category, found.subject, found.digest, text), world.now)
        keys = SimpleNamespace(did=ELENA.did, signing=ELENA.signer)
        wallet = SimpleNamespace(subjects=ELENA.subjects)
        sharing = Sharing(store, cast(Any, _Client(world)), cast(Any, keys), cast(Any, wallet))
        scope = (ScopeEntry(category),)
        made = await sharing.make(did(HOSPITAL), scope, "reappointment", Millis(DAY), world.now)
    finally:
        store.close()
    question = BundleQuestion(
        network=world.network,
        bundle=made.bundle,
        audience=did(HOSPITAL),
        now=world.now,
        max_age=Millis(DAY),
        seen_height=0,
        trusted_at=world.network.genesis.time,
    )
    return made.bundle, verify_bundle(question, open_answer(made.bundle.evidence, world.network)).verdict


async def test_of_the_identity_only_what_binds(tmp_path: Path) -> None:
    case = enrolled()
    case.attest("cme_credit")
    bundle, verdict = await share(case, tmp_path, "cme_credit")
    assert set(parse(bundle.body.identity).claims) == set(IDENTITY_CLAIMS) - {"history_restarts"}
    assert verdict is Verdict.ESTABLISHED


@pytest.mark.parametrize("restarts", [False, True])
async def test_who_was_bound_anew_shows_the_whole_identity_with_what_is_private(
    restarts: bool, tmp_path: Path
) -> None:
    """Else no hospital could tell whether the private history restarted."""
    case = bound_anew(history_restarts="2027-01-15") if restarts else bound_anew()
    bundle, verdict = await share(case, tmp_path, "cme_credit")
    assert set(parse(bundle.body.identity).claims) == ALL | ({"history_restarts"} if restarts else set())
    assert verdict is (Verdict.NOT_ESTABLISHED if restarts else Verdict.ESTABLISHED)


async def test_who_was_bound_anew_shows_no_more_with_what_is_public(tmp_path: Path) -> None:
    case = bound_anew()
    case.texts.append(case.world.attest("board_certification", ELENA.npi).credential.text)
    bundle, verdict = await share(case, tmp_path, "board_certification")
    assert set(parse(bundle.body.identity).claims) == set(IDENTITY_CLAIMS) - {"history_restarts"}
    assert verdict is Verdict.ESTABLISHED
