"""A new instance with a signer of its own: `vouchd create` and the set-up make it by one plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.cloning.needs import MemberServices, OpenServices, OpenStore, Say
from vouchd.errors import VouchdError
from vouchd.instance.certificates.issuing import equip
from vouchd.instance.creation import NewSigner, create_instance, require_free
from vouchd.instance.new_signer import SignerSource
from vouchd.pkix.certs import is_issued_by
from vouchd.pkix.purposes import is_ca
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout

if TYPE_CHECKING:  # it brings an LDAP library along, which the embedded store starts without
    from vouchd.cloning.directory_move import NewDirectory


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """What the administrator asks for; `names` are those of the TLS server, `ca` the folder of our CA that certifies.

    `set_up`: the folder is there, of an instance that is being set up.
    """

    root: Path
    source: SignerSource
    authorities: tuple[x509.Certificate, ...]
    values: Mapping[str, str]  # CS.cfg lines
    names: Sequence[str]
    ca: Path | None
    directory: NewDirectory | None = None
    set_up: bool = False


@dataclass(frozen=True, slots=True)
class NewInstance:
    """What was made."""

    layout: Layout
    signer: NewSigner
    authorities: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class InstanceCreation:
    """Makes instances; `check` is told to refuse what would start in parts, `require_signer` a signer that may not."""

    services: OpenServices
    check: Callable[[Layout], object]
    require_signer: Callable[[Settings, x509.Certificate], None]
    open_store: OpenStore
    say: Say

    def make(self, plan: InstancePlan) -> NewInstance:
        """Make the instance by the plan; nothing is left of one that does not come to be.

        Raises: AlreadyExists, ConfigError, SigningError, IssuanceError, StoreError.
        """
        plan.source.require_one()
        require_free(plan.root, set_up=plan.set_up)  # before a CA issues a certificate in vain
        if plan.directory is not None:
            plan.directory.require_unused()
        authorities = list(plan.authorities)
        signer = plan.source.signer(authorities)
        if signer.note:
            self.say(signer.note)
        self._take_from_chain(signer, authorities)
        layout = create_instance(
            plan.root,
            signer,
            plan.values,
            lambda draft: self._finish(draft, authorities, plan, certified=signer.certificate is not None),
            set_up=plan.set_up,
        )
        return NewInstance(layout, signer, tuple(authorities))

    def _take_from_chain(self, signer: NewSigner, authorities: list[x509.Certificate]) -> None:
        """Answer for the CA of the signer where it came along; those above it are named, for clients would refuse."""
        leaf = signer.certificate
        if leaf is None:
            return
        if not any(is_issued_by(leaf, one) for one in authorities):
            authorities += [one for one in signer.chain if is_issued_by(leaf, one)][:1]
        for one in signer.chain:
            if one not in authorities and is_ca(one):
                self.say(
                    f"{one.subject.rfc4514_string()} is in the chain and not answered for: it has not issued the signer"
                    " (vouchd authority add FILE --trusted-responder, or --new-signer)"
                )

    def _finish(
        self, draft: Layout, authorities: Sequence[x509.Certificate], plan: InstancePlan, *, certified: bool
    ) -> None:
        """Add the CAs to the draft's store, check that the signer may answer for them, make the other system keys.

        A signer that is to be certified first is checked then. Facts go to a directory server last, when nothing else
        can fail.
        """
        with self.services(draft) as services:
            for certificate in authorities:
                self.require_signer(services.settings, certificate)
                services.authorities.add(certificate.public_bytes(Encoding.DER), services.caller)
            equip(services.certificates, services.caller, plan.names, plan.ca)
        if authorities and certified:
            self.check(draft)
        if plan.directory is not None:
            with self.services(draft) as services:
                self._keep_in(plan.directory, services)
                embedded = services.settings.store
            embedded.unlink()

    def _keep_in(self, directory: NewDirectory, services: MemberServices) -> None:
        try:
            directory.take(services, self.open_store, self.say)
        except VouchdError:
            directory.clear()
            raise
