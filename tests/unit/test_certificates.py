"""Quorums from their intersection property, and every way in which a certificate is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import combinations

import msgpack
import pytest

from credchain import keys
from credchain.certificates import (
    Certificate,
    Height,
    Validator,
    ValidatorSet,
    View,
    certify,
    check_certificate,
    commit_digest,
    faults,
    quorum,
)
from credchain.encoding import Digest, digest, encode
from credchain.errors import InvalidInput, ProofError
from credchain.limits import LIMITS
from tests.unit.credential_helpers import HEADER, NETWORK, signer, validator_set

HEIGHT = Height(12)
VIEW = View(3)


@pytest.mark.parametrize("count", range(1, 101))
def test_two_quorums_share_an_honest_validator_and_the_living_are_a_quorum(count: int) -> None:
    """Castro & Liskov, section 3: with f faulty of n, safety needs 2q - n > f, liveness n - f >= q."""
    bearable = max(bad for bad in range(count) if 3 * bad < count)
    assert faults(count) == bearable
    enough = quorum(count)
    assert 2 * enough - count >= bearable + 1
    assert count - bearable >= enough
    assert 2 * (enough - 1) - count < bearable + 1, "a smaller quorum would do"


@pytest.mark.parametrize("count", range(1, 11))
def test_the_smallest_sizes_by_trying_all_pairs_of_quorums(count: int) -> None:
    def shared(size: int) -> int:
        groups = [set(group) for group in combinations(range(count), size)]
        return min(len(one & another) for one in groups[:1] for another in groups)

    bearable = max(bad for bad in range(count) if 3 * bad < count)
    assert quorum(count) == min(size for size in range(1, count + 1) if shared(size) > bearable)


def test_the_table_for_one_to_ten_validators() -> None:
    expected = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 9: 6, 10: 7}
    assert {count: quorum(count) for count in expected} == expected


def make(signers: Sequence[int], secrets: Sequence[keys.SigningKey], view: View = VIEW) -> Certificate:
    signatures = [(index, certify(NETWORK, HEIGHT, view, HEADER, secrets[index])) for index in signers]
    return Certificate(view, tuple(signatures))


def refused(certificate: Certificate, validators: ValidatorSet, **changes: object) -> ProofError:
    arguments: dict[str, object] = {"network": NETWORK, "height": HEIGHT, "header": HEADER, **changes}
    with pytest.raises(ProofError) as caught:
        check_certificate(certificate, validators, **arguments)  # type: ignore[arg-type]  # by keyword
    assert caught.value.check == 2
    return caught.value


@pytest.mark.parametrize("count", range(1, 8))
def test_any_quorum_certifies_and_one_fewer_does_not(count: int) -> None:
    validators, secrets = validator_set(count)
    for signers in combinations(range(count), validators.quorum):
        check_certificate(make(signers, secrets), validators, NETWORK, HEIGHT, HEADER)
    for signers in combinations(range(count), validators.quorum - 1):
        refused(make(signers, secrets), validators)
    check_certificate(make(range(count), secrets), validators, NETWORK, HEIGHT, HEADER)


def test_a_certificate_is_of_one_network_height_view_and_header() -> None:
    validators, secrets = validator_set(4)
    certificate = make((0, 1, 2), secrets)
    check_certificate(certificate, validators, NETWORK, HEIGHT, HEADER)
    refused(certificate, validators, network=Digest(b"\x12" * 32))
    refused(certificate, validators, height=Height(HEIGHT + 1))
    refused(certificate, validators, header=Digest(b"\x23" * 32))
    refused(dataclasses.replace(certificate, view=View(VIEW + 1)), validators)


def test_one_bad_signature_among_enough_good_ones_is_refused() -> None:
    validators, secrets = validator_set(4)
    good = make(range(4), secrets)
    for place in range(4):
        signatures = list(good.signatures)
        signatures[place] = (place, bytes(64))
        refused(Certificate(VIEW, tuple(signatures)), validators)


def test_a_signature_under_anothers_index_is_refused() -> None:
    validators, secrets = validator_set(4)
    first, second, third, _ = make(range(4), secrets).signatures
    refused(Certificate(VIEW, ((0, second[1]), (1, first[1]), third)), validators)


def test_an_index_that_no_validator_has_is_refused() -> None:
    validators, secrets = validator_set(4)
    good = make((0, 1, 2), secrets).signatures
    refused(Certificate(VIEW, (*good, (4, good[0][1]))), validators)
    refused(Certificate(VIEW, (*good, (99, good[0][1]))), validators)


def test_signatures_of_another_purpose_do_not_count() -> None:
    validators, secrets = validator_set(1)
    fields = {"network": NETWORK, "height": HEIGHT, "view": VIEW, "header": HEADER}
    for purpose in ("prepare", "view-change", "header", "commit "):
        signature = secrets[0].sign(digest(purpose, encode(dict(fields))))
        refused(Certificate(VIEW, ((0, signature),)), validators)
    refused(Certificate(VIEW, ((0, secrets[0].sign(HEADER)),)), validators)


def test_the_signed_bytes_are_the_named_fields_in_canonical_order() -> None:
    by_hand = b"".join(
        (
            b"\x84",
            b"\xa6header\xc4\x20" + HEADER,
            b"\xa6height\x0c",
            b"\xa7network\xc4\x20" + NETWORK,
            b"\xa4view\x03",
        )
    )
    assert commit_digest(NETWORK, HEIGHT, VIEW, HEADER) == digest("commit", by_hand)


def never_a_certificate(signers: Sequence[int]) -> None:
    """However it came to be: built from votes, changed from a good one, or decoded."""
    _, secrets = validator_set(4)
    good = make((0, 1, 2), secrets)
    signatures = tuple((index, certify(NETWORK, HEIGHT, VIEW, HEADER, secrets[index])) for index in signers)
    builders: tuple[Callable[[], Certificate], ...] = (
        lambda: Certificate(VIEW, signatures),
        lambda: dataclasses.replace(good, signatures=signatures),
        lambda: Certificate.decode(encoded(signers)),
    )
    for build in builders:
        with pytest.raises(InvalidInput) as caught:
            build()
        assert "signatures" in caught.value.field or "validator" in caught.value.field


@pytest.mark.parametrize("signers", [(0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (2, 2, 2, 2)])
def test_one_validator_counted_twice_is_no_quorum(signers: Sequence[int]) -> None:
    never_a_certificate(signers)


@pytest.mark.parametrize("signers", [(-1,), (-4, 0, 1), (-1, 0, 1), (-3, -2, -1), (0, 1, -1)])
def test_a_negative_index_is_no_second_name_of_a_validator(signers: Sequence[int]) -> None:
    never_a_certificate(signers)


@pytest.mark.parametrize("signers", [(1, 0), (2, 1, 0), (0, 2, 1), (1, 0, 2, 3), (0, 1, 3, 2)])
def test_one_set_of_signers_has_one_order(signers: Sequence[int]) -> None:
    never_a_certificate(signers)


def test_a_certificate_without_signatures_certifies_nothing() -> None:
    """It can be built, as a collector of votes begins with it, but it is no quorum of any set."""
    for count in (1, 2, 4):
        refused(Certificate(VIEW, ()), validator_set(count)[0])


def encoded(signers: Sequence[int], view: int = 3, **extra: object) -> bytes:
    """A certificate's bytes by the msgpack package, keys sorted by hand."""
    signatures = [{"signature": b"s" * 64, "validator": index} for index in signers]
    result: bytes = msgpack.packb({"signatures": signatures, "view": view, **extra})
    return result


def test_a_certificate_is_read_as_written() -> None:
    certificate = Certificate.decode(encoded((0, 1, 99)))
    assert certificate.view == 3
    assert [index for index, _ in certificate.signatures] == [0, 1, 99]
    assert certificate.encode() == encoded((0, 1, 99))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded((1, 0)), id="unsorted"),
        pytest.param(encoded((1, 1)), id="doubled"),
        pytest.param(encoded((0, 2, 1)), id="unsorted at the end"),
        pytest.param(encoded((100,)), id="an index that no set can have"),
        pytest.param(encoded((-1,)), id="a negative index"),
        pytest.param(encoded((-1, 0, 1)), id="a negative index before good ones"),
        pytest.param(encoded((True,)), id="true for an index"),
        pytest.param(encoded((0.0,)), id="a float for an index"),  # type: ignore[arg-type]  # on purpose
        pytest.param(encoded(range(100)) + b"\x00", id="trailing"),
        pytest.param(encoded((0,), view=2**53), id="a view too large"),
        pytest.param(encoded((0,), view=-1), id="a negative view"),
        pytest.param(encoded((0,), zzz=1), id="an unknown field"),
        pytest.param(encoded([*range(100), 99]), id="too many"),
    ],
)
def test_a_certificate_out_of_form_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        Certificate.decode(data)


def members(count: int) -> tuple[Validator, ...]:
    """Ascending, as a set wants them; of any number, also one that no set bears."""
    everyone = (Validator(keys.did_of(key.public), key.public) for key in map(signer, range(count)))
    return tuple(sorted(everyone, key=lambda each: each.did))


def _same_key() -> tuple[Validator, ...]:
    first, second = members(2)
    return first, Validator(second.did, first.key)


@pytest.mark.parametrize(
    "make_members",
    [
        pytest.param(tuple, id="none"),
        pytest.param(lambda: members(4)[::-1], id="descending"),
        pytest.param(lambda: members(2)[:1] * 2, id="one twice"),
        pytest.param(_same_key, id="one key under two names"),
        pytest.param(lambda: members(LIMITS.validators + 1), id="too many"),
    ],
)
def test_a_set_out_of_form_is_refused(make_members: Callable[[], tuple[Validator, ...]]) -> None:
    with pytest.raises(InvalidInput):
        ValidatorSet(make_members())
    raw = [{"did": each.did, "key": each.key} for each in make_members()]
    with pytest.raises(InvalidInput):
        ValidatorSet.decode(msgpack.packb({"validators": raw}))


def test_a_set_is_read_as_written_and_finds_its_members() -> None:
    validators, _ = validator_set(7)
    assert ValidatorSet.decode(validators.encode()) == validators
    assert [validators.index_of(each.did) for each in validators.members] == list(range(7))
    assert validators.index_of(keys.did_of(signer(99).public)) is None


def test_a_validators_current_key_may_differ_from_the_one_that_named_it() -> None:
    first = members(1)[0]
    rotated = ValidatorSet((Validator(first.did, signer(50).public),))
    assert ValidatorSet.decode(rotated.encode()) == rotated
    assert rotated.digest() != ValidatorSet((first,)).digest()
