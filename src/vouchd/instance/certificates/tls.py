"""TLS of the agent port: who the server is, which client certificates a handshake may bring."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.errors import ConfigError, SigningError
from vouchd.files import read_secret
from vouchd.settings.tcp_ports import AgentPort, KeyFiles
from vouchd.signing.certificates import read_certificates

_KNOWS_ML_DSA = (3, 5)
_ML_DSA = frozenset(f"2.16.840.1.101.3.4.3.{number}" for number in (17, 18, 19))  # RFC 9881 section 2


class AgentTLS:
    """The TLS context of a listening port, whose certificate and trust can be replaced while it serves.

    `context` is what the server is started with. It hands every handshake over to the newest replacement; connections
    that stand keep what they began with.
    """

    def __init__(self, agent: AgentPort, password: str | None, trusted: Iterable[bytes]) -> None:
        """See `server_context`, also for what is raised."""
        self._agent = agent
        self._password = password
        self._trusted = tuple(trusted)
        self.context = self._newest = server_context(agent, password, self._trusted)
        self.context.sni_callback = self._hand_over

    def reload(self, trusted: Iterable[bytes]) -> None:
        """Read certificate, key and trust file again; handshakes from now on use them.

        Raises: SigningError, and everything stays as it was.
        """
        trusted = tuple(trusted)
        self._newest = server_context(self._agent, self._password, trusted)
        self._trusted = trusted

    def show(self, agent: AgentPort) -> None:
        """Show the certificate of these settings in handshakes from now on. Raises: SigningError, as `reload`."""
        self._newest = server_context(agent, self._password, self._trusted)
        self._agent = agent

    def _hand_over(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        # Called in every handshake, with a server name or without; certificate and trust are the new context's.
        connection.context = self._newest


def server_context(agent: AgentPort, password: str | None, trusted: Iterable[bytes]) -> ssl.SSLContext:
    """TLS as the settings have it, 1.2 or later; a client may bring a certificate or none.

    `password` opens the key file. `trusted` is DER: the certificates of the registered CAs and those of users
    themselves; the certificates of the trust file are added. A client certificate counts when its chain ends in any of
    them, so one that is trusted itself needs no CA. Whose it is and whether it is revoked is decided per request.

    Raises: SigningError; ConfigError where the library knows none of the ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if agent.min_tls == "1.3" else ssl.TLSVersion.TLSv1_2
    if agent.ciphers:
        _set_ciphers(context, agent.ciphers)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A resumed session would carry a client certificate over a change of trust.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_key(context, agent.tls, password)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    trust = b"".join(dict.fromkeys((*trusted, *_trust_file(agent.trust_file))))
    if trust:
        context.load_verify_locations(cadata=trust)
    return context


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise ConfigError(
            f"vouchd.agent.ciphers: {ciphers}: no cipher suite that this host's TLS library knows",
            hint=f"openssl ciphers '{ciphers}' tries it",
        ) from error


def _load_key(context: ssl.SSLContext, files: KeyFiles, password: str | None) -> None:
    read_secret(files.key_file)  # refuses a key that others may read
    read_certificates(files.certificate_file)
    _require_known_keys(files)
    try:
        # A password is always given: OpenSSL would else ask for one at the terminal.
        context.load_cert_chain(files.certificate_file, files.key_file, password or "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SigningError(
            f"{files.certificate_file}: not the certificate of {files.key_file}, or its password is wrong",
            hint="install a certificate for that key",
        ) from error


def _require_known_keys(files: KeyFiles) -> None:
    """Return when the TLS library of this host knows the keys of certificate and chain. Raises: SigningError."""
    for certificate in read_certificates(files.certificate_file):
        if not serves_tls(certificate):
            raise SigningError(
                f"{files.certificate_file}: this host's TLS library ({ssl.OPENSSL_VERSION}) does not know ML-DSA,"
                f" which is in {certificate.subject.rfc4514_string()!r}",
                hint="have a CA with an RSA or EC key certify it: vouchd certs request, or certs renew --ca DIR",
            )


def serves_tls(certificate: x509.Certificate) -> bool:
    """Whether the TLS library of this host knows the keys of this certificate and of who signed it."""
    if ssl.OPENSSL_VERSION_INFO >= _KNOWS_ML_DSA:
        return True
    post_quantum = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
    signed_so = certificate.signature_algorithm_oid.dotted_string in _ML_DSA
    return not (signed_so or isinstance(certificate.public_key(), post_quantum))


def _trust_file(path: Path | None) -> tuple[bytes, ...]:
    if path is None:
        return ()
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in read_certificates(path))
