"""Answers -> what the operations take: token, directory server, member, signer, host values."""

from __future__ import annotations

from pathlib import Path

from vouchd.client.admin import client_tls
from vouchd.client.certsystem_domain import CertificateSystemDomain
from vouchd.client.certsystem_requests import CertificateSystemRequests
from vouchd.cloning.client import address_of
from vouchd.cloning.directory_account import bound_by
from vouchd.core.facts import DirectoryServer, Member, Transport
from vouchd.directory.connection import server_of
from vouchd.errors import ConfigError
from vouchd.files import PRIVATE, replace_file
from vouchd.instance.certificates.places import SUBSYSTEM
from vouchd.instance.new_signer import SignerSource
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.layout import Layout
from vouchd.setup.questionnaire import Answers, InternalDatabase, Requests, Subsystem
from vouchd.signing.certificates import trusting
from vouchd.signing.token_source import TokenSource, token_source

ENROLMENT_SECONDS = 60
WILDCARD = "0.0.0.0"  # noqa: S104  as the settings have it


def host_path(text: str, title: str) -> Path:
    """A path on this host. Raises: ConfigError unless it is absolute."""
    path = Path(text)
    if not text or not path.is_absolute():
        raise ConfigError(f"{title}: {text[:200]!r} is not an absolute path", hint="such as /srv/ocsp/FILE")
    return path


def maybe_path(text: str, title: str) -> Path | None:
    """The same; None for no text. Raises: ConfigError."""
    return host_path(text, title) if text else None


def token_of(layout: Layout, answers: Answers) -> TokenSource | None:
    """The token that the answers name, None where keys are files. Raises: ConfigError, SigningError."""
    store = answers.key_store
    if not answers.on_token:
        return None
    if not store.token:
        raise ConfigError(
            "the label of the token is missing", hint="vouchd token list --module FILE shows those there are"
        )
    if not store.pin:
        raise ConfigError("the PIN of the token is missing", hint="type it")
    pin_file = layout.setup / "token.pin"
    replace_file(pin_file, f"{store.pin}\n".encode(), PRIVATE)
    module = host_path(store.module, "PKCS #11 module")
    return token_source(store.token, module, pin_file, "", extractable=answers.key_pairs.extractable)


def signer_source(layout: Layout, answers: Answers) -> SignerSource:
    """Where the signing key of a new subsystem comes from. Raises: ConfigError, SigningError."""
    restore, names, requests = answers.restore_keys, answers.subject_names, answers.requests
    restored, from_file = answers.restores_signer, answers.restores_signer and restore.kind == "file"
    by_certificate = restored and not from_file
    if from_file and answers.on_token:
        raise ConfigError(
            "a key in a PKCS #12 file is not put on a token",
            hint="go back to Key Store and keep it in files; or name the certificate of a key that is on the token",
        )
    certified = not restored and requests.kind == "ca"
    has_key_file = by_certificate and not answers.on_token
    return SignerSource(
        host_path(requests.ca, "folder of our CA") if certified else None,
        host_path(restore.key, "signing key") if has_key_file else None,
        host_path(restore.certificate, "certificate of the signing key") if by_certificate else None,
        None,
        host_path(restore.path, "PKCS #12 file") if from_file else None,
        None,
        lambda _, __: restore.password,
        "" if restored else answers.key_pairs.algorithm,
        names.subject,
        names.nickname,
        token_of(layout, answers),
    )


def server_url(database: InternalDatabase) -> str:
    """The LDAP URL of the directory server and its suffix. Raises: ConfigError."""
    if not database.host:
        raise ConfigError("the host of the directory server is missing", hint="such as ldap1.example.org")
    if not database.suffix:
        raise ConfigError("the suffix is missing", hint="such as o=ocsp.example, the same for all of a domain")
    scheme = "ldaps" if database.connection == Transport.TLS.value else "ldap"
    return f"{scheme}://{database.host}:{database.port}/{database.suffix}"


def directory_of(database: InternalDatabase, replica_id: int | None = None) -> DirectorySettings:
    """The directory server that the answers name. Raises: ConfigError: localhost, an address, no suffix."""
    starts_tls = database.connection == Transport.STARTTLS.value
    server = server_of(server_url(database), start_tls=starts_tls, replica_id=replica_id)
    directory = DirectorySettings(server, "", maybe_path(database.trust, "CAs of the directory server"))
    return bound_by(directory, bind_certificate(database))


def bind_certificate(database: InternalDatabase) -> str:
    """The system certificate that the instance binds with; empty: it binds with a password."""
    return SUBSYSTEM if database.client_certificate else ""


def member_of(subsystem: Subsystem, directory: DirectoryServer | None = None) -> Member:
    """This instance as a member of its domain."""
    clone = subsystem.kind == "clone"
    return Member(
        subsystem.host, subsystem.agent_port, subsystem.port, "", clone=clone, joined_at=0, directory=directory
    )


def host_values(answers: Answers) -> dict[str, str]:
    """The lines of CS.cfg that belong to this host."""
    here = answers.subsystem
    values = {
        "vouchd.ee.port": str(here.port),
        "vouchd.agent.port": str(here.agent_port),
        "vouchd.health.port": str(here.health_port),
        "vouchd.ee.workers": str(here.workers),
        "vouchd.domain.host": here.host,
    }
    return values | ({"vouchd.ee.host": here.listen, "vouchd.agent.host": here.listen} if here.listen else {})


def member_address(answers: Answers) -> tuple[str, int]:
    """Host and agent port of the member whose URL was given. Raises: ConfigError."""
    return address_of(answers.security_domain.url)


def chosen_master(answers: Answers) -> str:
    """HOST:PORT of the member to clone, however it was written; empty: none was chosen."""
    return answers.subsystem.master.strip().removeprefix("https://").rstrip("/")


def certsystem_domain(answers: Answers) -> CertificateSystemDomain:
    """The domain of a Certificate System that is entered, whose CA is known by its fingerprint. Raises: ConfigError."""
    domain = answers.security_domain
    trust = maybe_path(domain.trust, "CAs of that port")
    return CertificateSystemDomain(domain.url, domain.user, domain.password, trust, domain.fingerprint)


def certsystem_requests(requests: Requests) -> CertificateSystemRequests:
    """Requests at a Certificate System's CA, by who approves them there, where that is said.

    Raises: ConfigError, SigningError.
    """
    trust = maybe_path(requests.trust, "CAs of that server")
    agent = maybe_path(requests.agent, "the agent's certificate")
    tls = client_tls(agent, None, trust, lambda: requests.password) if agent is not None else trusting(trust)
    basic = (requests.user, requests.password) if requests.user else None
    return CertificateSystemRequests(requests.url, tls, ENROLMENT_SECONDS, basic)
