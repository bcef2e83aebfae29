"""This instance says anew what the registry has of it: a renewed TLS certificate, another port.

It is known by the certificate before, so it comes with that key; which of its keys that is the registry says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vouchd.cloning.client import Identity, PeerClient
from vouchd.cloning.membership import own_member
from vouchd.cloning.proof import member_keys
from vouchd.cloning.registry import SecurityDomain, master_of
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Store
from vouchd.errors import ConfigError
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords

Connect = Callable[[Member, Identity], PeerClient]


def connect_as(member: Member, identity: Identity) -> PeerClient:
    """A client of a member, of whoever has that identity."""
    return PeerClient(member.host, member.secure_port, member.tls_sha256, identity)


def say_anew(
    layout: Layout,
    settings: Settings,
    store: Store,
    domain: SecurityDomain,
    caller: Caller,
    connect: Connect = connect_as,
) -> bool:
    """Have the registry say what this instance is now; whether it said something else. Raises: VouchdError."""
    members = store.members()
    known = next((one for one in members if one.id == settings.member_id), None)
    if known is None or not settings.agent.tls.installed:
        return False
    now = own_member(settings)
    wanted = replace(known, tls_sha256=now.tls_sha256, ee_port=now.ee_port or known.ee_port)
    if wanted == known:
        return False
    master = master_of(members)
    if settings.directory is not None or master is None or master.id == known.id:
        domain.rejoin(wanted, caller)
        return True
    password = read_passwords(layout.password_conf).get(INTERNAL, "")
    keys = member_keys(layout.alias, settings.agent.tls, password)
    if known.tls_sha256 not in keys:
        raise ConfigError(
            "the key by which the set knows this member is gone, so it cannot say that its certificate is another one",
            hint="take it out and make it anew: vouchd domain leave on the master, then vouchd clone create",
        )
    files = settings.subsystem
    identity = Identity(files.certificate_file, files.key_file, password, keys[known.tls_sha256])
    connect(master, identity).rejoin(wanted)
    return True
