"""This instance says anew what the registry has of it: a next or a new certificate, another port.

It is known by the certificate before, so it comes with that key; which of its keys that is the registry says. While a
certificate changes the record names two: the one that is to come beside the one in use, and after the switch the one
before, for as long as others may act on what was signed with it. So a member is refused by nobody, whichever of the two
somebody sees or has read of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cloning.client import Identity, PeerClient
from vouchd.cloning.membership import own_member
from vouchd.cloning.peers import Peers
from vouchd.cloning.proof import MemberKey, member_keys
from vouchd.cloning.registry import SecurityDomain, master_of
from vouchd.core.facts import Caller, Member
from vouchd.core.ports import Clock, Store
from vouchd.errors import ConfigError
from vouchd.instance.certificates.in_use import CertificatesInUse
from vouchd.instance.certificates.places import SSLSERVER, SUBSYSTEM, find, numbered, staged
from vouchd.service.users import SUBSYSTEM_USER
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.settings.tcp_ports import KeyFiles
from vouchd.signing.certificates import read_certificates

_MOST = 3  # subsystem certificates: in use, the next, the one before
OVERLAP_SECONDS = 900  # what was sealed with the key before has reached everybody, and bears another seal

Connect = Callable[[Member, Identity], PeerClient]


class OwnRecord:
    """`peers` are the other members as they were seen last, `connect` makes a client of the master."""

    def __init__(
        self,
        layout: Layout,
        in_use: CertificatesInUse,
        store: Store,
        domain: SecurityDomain,
        peers: Peers,
        caller: Caller,
        clock: Clock,
        connect: Connect = PeerClient.of,
    ) -> None:
        self._layout = layout
        self._in_use = in_use
        self._store = store
        self._domain = domain
        self._peers = peers
        self._caller = caller
        self._clock = clock
        self._connect = connect
        self._since: tuple[Member | None, int] = (None, 0)  # since when the record is as it is

    def look(self) -> bool:
        """Have the registry say what this instance is now; whether it said something else. Raises: VouchdError."""
        known = self._known()
        if known is None or not self._in_use.now().agent.tls.installed:
            return False
        if self._since[0] != known:
            self._since = known, self._clock.now()
        wanted = self._wanted(known)
        if wanted == known:
            return False
        self._say(wanted, known)
        return True

    def lacking(self, name: str, der: bytes) -> tuple[str, ...]:
        """The members that do not know that certificate as this one's; those that cannot be reached are not asked."""
        known = self._known()
        if known is None or name not in {SSLSERVER, SUBSYSTEM}:
            return ()
        if not self._names(known, name, der):
            return (known.id,)
        states = {state.member.id: state for state in self._peers.states}
        lacking = []
        for member in self._peers.others():
            state = states.get(member.id)
            if state is None or (
                state.reachable and state.knows_us_as is not None and not self._names(state.knows_us_as, name, der)
            ):
                lacking.append(member.id)
        return tuple(lacking)

    def _known(self) -> Member | None:
        """This instance in the registry."""
        own = self._in_use.now().member_id
        return next((one for one in self._store.members() if one.id == own), None)

    def _names(self, record: Member, name: str, der: bytes) -> bool:
        if name == SSLSERVER:
            return hashlib.sha256(der).hexdigest() in record.pins
        return der in record.client_certificates or der in self._of_the_set()

    def _of_the_set(self) -> tuple[bytes, ...]:
        """The subsystem certificates that all members may come with."""
        return next((user.certificates for user in self._store.users() if user.id == SUBSYSTEM_USER), ())

    def _wanted(self, known: Member) -> Member:
        settings = self._in_use.now()
        now, next_one = own_member(settings), self._staged(SSLSERVER)
        coming = hashlib.sha256(next_one).hexdigest() if next_one else ""
        over = self._clock.now() - self._since[1] >= OVERLAP_SECONDS
        if coming and coming != now.tls_sha256:
            other = coming
        elif known.tls_sha256 != now.tls_sha256:
            other = known.tls_sha256
        else:
            other = "" if over else known.other_tls_sha256
        return replace(
            known,
            tls_sha256=now.tls_sha256,
            other_tls_sha256=other,
            client_certificates=self._client_certificates(known, over=over),
            ee_port=now.ee_port or known.ee_port,
        )

    def _client_certificates(self, known: Member, *, over: bool) -> tuple[bytes, ...]:
        """What it comes with, or is to, and is not the set's; and what it came with before, for a while."""
        shown, next_one = find(self._in_use.now(), SUBSYSTEM).der, self._staged(SUBSYSTEM)
        before = () if over else known.client_certificates
        every = [der for der in (shown, next_one) if der is not None]
        of_the_set = self._of_the_set()
        own = [der for der in dict.fromkeys((*every, *before)) if der not in of_the_set]
        return tuple(own[:_MOST])

    def _staged(self, name: str) -> bytes | None:
        next_one = staged(self._layout.alias, name)
        return next_one[1][0].public_bytes(Encoding.DER) if next_one else None

    def _say(self, wanted: Member, known: Member) -> None:
        settings = self._in_use.now()
        master = master_of(self._store.members())
        if settings.directory is not None or master is None or master.id == known.id:
            self._domain.rejoin(wanted, self._caller)
            return
        password = read_passwords(self._layout.password_conf).get(INTERNAL, "")
        own = self._key_known_by(known, member_keys(self._layout.alias, settings.agent.tls, password))
        files = self._files_known_by(known)
        identity = Identity(files.certificate_file, files.key_file, password, own)
        self._connect(master, identity).rejoin(wanted)

    def _files_known_by(self, known: Member) -> KeyFiles:
        """The subsystem certificate that the others let it in with: after one was installed by hand, one before."""
        in_use = self._in_use.now().subsystem
        files = [KeyFiles(one.with_suffix(".key"), one) for one in numbered(self._layout.alias, SUBSYSTEM, ".pem")]
        names = {*known.client_certificates, *self._of_the_set()}
        for pair in (in_use, *reversed(files)):
            if pair.installed and read_certificates(pair.certificate_file)[0].public_bytes(Encoding.DER) in names:
                return pair
        return in_use

    @staticmethod
    def _key_known_by(known: Member, keys: dict[str, MemberKey]) -> MemberKey:
        for pin in known.pins:
            if pin in keys:
                return keys[pin]
        raise ConfigError(
            "the key by which the set knows this member is gone, so it cannot say that its certificate is another one",
            hint="take it out and make it anew: vouchd domain leave on the master, then vouchd clone create",
        )
