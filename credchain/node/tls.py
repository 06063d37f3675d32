"""The node's self-signed TLS certificate, and contexts that pin certificates.

The Ed25519 transport key is its own, not the validator's signing key. A client trusts exactly the
certificate that network.json names, so no authority and no host name is asked. Between validators both
sides do; a pinned certificate is a root, which could sign another one, so who uses these contexts
also compares the certificate itself (`peer_der`).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..storage.files import PRIVATE, write_new

if TYPE_CHECKING:
    from cryptography import x509


def read_certificate(pem: str, field: str = "certificate") -> x509.Certificate:
    """The one Ed25519 certificate in this PEM text; InvalidInput says what it is instead."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    hint = "credchain init --validator makes one"
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        key = found[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise InvalidInput("the TLS certificate is not PEM", field=field, hint=hint) from problem
    if len(found) != 1 or not isinstance(key, Ed25519PublicKey):
        raise InvalidInput("the TLS certificate is not one Ed25519 certificate", field=field, hint=hint)
    return found[0]


def make_certificate(name: str, key_path: Path, certificate_path: Path) -> str:
    """Write a new key (0600) and certificate; returns the certificate's PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    write_new(key_path, secret, mode=PRIVATE)
    write_new(certificate_path, pem)
    return pem.decode("ascii")


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3 with the node's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, certificate, key)
    return context


def certificate_der(pem: str, field: str) -> bytes:
    """The one certificate in a PEM text; InvalidInput if there is none, or more."""
    try:
        if pem.count("BEGIN CERTIFICATE") != 1:
            raise ValueError("not one certificate")
        found = ssl.PEM_cert_to_DER_cert(pem)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ValueError, ssl.SSLError) as problem:
        raise InvalidInput(f"{field} is not one certificate in PEM", field=field) from problem
    return found


def peer_server_context(certificate: Path, key: Path, pinned: Iterable[bytes]) -> ssl.SSLContext:
    """`server_context` that asks for a client certificate: one of these (DER)."""
    context = server_context(certificate, key)
    # Nothing to resume: each link proves itself anew.
    context.num_tickets = 0
    return _pin(context, pinned)


def peer_client_context(certificate: Path, key: Path, pinned: bytes) -> ssl.SSLContext:
    """TLS 1.3 with the node's own certificate, to a server with this one (DER)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    _load(context, certificate, key)
    return _pin(context, [pinned])


def peer_der(transport_info: object) -> bytes | None:
    """The certificate of the other side, from a transport's ``ssl_object``; None where it showed none."""
    if not isinstance(transport_info, ssl.SSLObject):
        return None
    return transport_info.getpeercert(binary_form=True)


def _pin(context: ssl.SSLContext, pinned: Iterable[bytes]) -> ssl.SSLContext:
    context.verify_mode = ssl.CERT_REQUIRED
    for each in pinned:
        context.load_verify_locations(cadata=each)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        raise InvalidInput(
            f"cannot load the TLS certificate {certificate}: {problem}", field="tls"
        ) from problem
