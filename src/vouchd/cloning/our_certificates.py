"""The certificates that a set signs with and comes in by: no list of what a CA has issued may lack one unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from vouchd.cloning.client import PeerClient
from vouchd.cloning.needs import MemberServices
from vouchd.core.facts import Member
from vouchd.errors import VouchdError
from vouchd.instance.certificates.places import system_certificates
from vouchd.settings.reading import read_settings

_AT_ONCE = 8
_SECONDS = 3.0


def our_certificates(services: MemberServices) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Certificates (DER) of the set by what they are called, and the members whose TLS servers cannot be asked.

    They are the system certificates here, all versions of the signers, those of users, and of the other members their
    TLS servers', of which the registry has no more than a fingerprint.
    """
    settings, store = read_settings(services.layout), services.store
    named = [(one.name, one.der) for one in system_certificates(settings) if one.der is not None]
    named += [(f"signer {one.name}", one.certificate_der) for one in store.keyring().versions if one.certificate_der]
    named += [(f"user {user.id}", der) for user in store.users() for der in user.certificates]
    named += [(f"subsystem of {one.id}", der) for one in store.members() for der in one.client_certificates]
    others = [member for member in store.members() if member.id != settings.member_id]
    servers = dict(_servers(others))
    named += [(f"TLS server of {name}", der) for name, der in servers.items() if der]
    ours: dict[str, bytes] = {}
    for name, der in named:
        if der not in ours.values():
            ours[name] = der
    return ours, tuple(name for name, der in servers.items() if not der)


def _servers(members: list[Member]) -> Iterator[tuple[str, bytes]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from zip((member.id for member in members), pool.map(_server, members), strict=True)


def _server(member: Member) -> bytes:
    """The certificate of the member's TLS server, which shows it to everybody; empty: it does not answer."""
    try:
        return PeerClient.of(member, None, _SECONDS).tls_certificate()
    except VouchdError:
        return b""
