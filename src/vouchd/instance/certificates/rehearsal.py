"""Whether a key with a new certificate does what it is for, tried out before the instance relies on it."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.errors import SigningError
from vouchd.instance.certificates.tls import server_context
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.purposes import Issuers, Purpose, chain_of, check_purpose
from vouchd.pkix.signatures import ALGORITHMS, verify
from vouchd.settings.tcp_ports import AgentPort, KeyFiles
from vouchd.signing.keys import PrivateKey
from vouchd.signing.software import SoftwareSigner

_ROUNDS = 8  # of a handshake; four messages are needed
_TRIAL_BYTES = 64


def rehearse(
    purpose: Purpose,
    key: PrivateKey,
    certificate: x509.Certificate,
    bundle: Sequence[x509.Certificate],
    anchors: Issuers,
    at: int,
) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Check chain, usage, validity at `at` and the key itself; returns the CAs above, and what is doubtful.

    `bundle` are certificates that came along, `anchors` those that are trusted. Raises: SigningError.
    """
    warnings = check_purpose(certificate, purpose, at)
    chain = chain_of(certificate, bundle, anchors, at)
    try_signature(SoftwareSigner(str(purpose), key, certificate.public_bytes(Encoding.DER)))
    return chain, warnings


def try_signature(signer: SoftwareSigner, *, every: bool = True) -> None:
    """Sign and verify with each algorithm of the key, or not `every`, with what shows that the key is whole.

    A token may know some algorithms and not others, at any time; what a key in memory makes with its usual algorithm
    it makes with another digest too. Raises: SigningError.
    """
    public_key = load_certificate(signer.certificate_der).public_key()
    trial = secrets.token_bytes(_TRIAL_BYTES)
    for algorithm in signer.algorithms if every or signer.token else signer.algorithms[:1]:
        try:
            verify(public_key, ALGORITHMS[algorithm].identifier_der, signer.sign(trial, algorithm), trial)
        except ValueError as error:
            raise SigningError(f"a trial signature with {algorithm} does not verify: {error}") from error


def try_handshake(files: KeyFiles, password: str | None, roots: Sequence[x509.Certificate]) -> None:
    """Shake hands, in memory, with a TLS client that trusts `roots`, as browsers do; names are not compared.

    Raises: SigningError.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=b"".join(root.public_bytes(Encoding.DER) for root in roots))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(AgentPort(files), password, ())
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = set(ends)
    try:
        for _ in range(_ROUNDS):
            waiting -= {end for end in tuple(waiting) if _advanced(end)}
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise SigningError(f"{files.certificate_file.name}: a TLS client would refuse it: {reason}") from error
    if waiting:
        raise SigningError(f"{files.certificate_file.name}: the trial handshake came to no end")


def _advanced(end: ssl.SSLObject) -> bool:
    """Whether this end has finished its handshake."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
