"""Settings -> what commands work with. With the other `wiring` modules the only one that names concrete classes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.clock import SystemClock
from vouchd.cloning.instance_creation import InstanceCreation
from vouchd.cloning.verdicts import Verification
from vouchd.cloning.verifying import SETTLE_SECONDS
from vouchd.core.facts import Authority
from vouchd.core.ports import Store
from vouchd.instance.certificates.signers import Checked, KeyMaterial, known_signers
from vouchd.pkix.certs import authority_id
from vouchd.service.authorities import signer_doubts
from vouchd.settings.declared import Settings
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings
from vouchd.wiring.services import check_start, open_store, services

Warn = Callable[[str], None]


def compare(
    layout: Layout, sample: int | None = None, chosen: Sequence[bytes] = (), settle_seconds: float = SETTLE_SECONDS
) -> Verification:
    """The running instance at `layout` compared with the other members of its set: see `Verifying.verify`.

    Raises: NotFound when it is in no set; StoreError, ConfigError, ClientError.
    """
    with services(layout) as opened:
        opened.membership.require_me()
        return opened.verifying.verify(sample, chosen, settle_seconds)


def check_instance(layout: Layout, warn: Warn, *, whole: bool = False) -> Settings:
    """Read settings and keys as a start would; what is doubtful, and what a part fails for, goes to `warn`.

    `whole`: a part that fails is refused, as it is where an instance is made or changed.

    Raises: ConfigError, StoreError: an instance that would not start. SigningError: one that would start in parts.
    """
    settings = read_settings(layout)
    checked_signers(layout, KeyMaterial(settings), warn, whole=whole)
    return settings


def instance_creation(warn: Warn, say: Warn) -> InstanceCreation:
    """What makes new instances with signers of their own."""

    def check(layout: Layout) -> None:
        check_instance(layout, warn, whole=True)

    return InstanceCreation(services, check, require_signer, open_store, say)


def require_signer(settings: Settings, certificate: x509.Certificate) -> None:
    """Check that the default signer may answer for the CA of that certificate. Raises: ConfigError, SigningError."""
    certificate_der = certificate.public_bytes(Encoding.DER)
    authority = Authority(authority_id(certificate), certificate_der, certificate.subject.rfc4514_string())
    signer_doubts(known_signers(settings), authority, SystemClock().now())


def checked_signers(
    layout: Layout,
    material: KeyMaterial,
    warn: Warn,
    *,
    whole: bool = False,
    store: Store | None = None,
    at_once: int = sys.maxsize,
) -> Checked:
    """The signers of the instance, and what fails; `store`: the instance's, where it is open.

    `at_once`: see check_settings.
    """
    checked = check_start(layout, material, store, at_once)
    if whole:
        checked.require_all()
    for doubt in (*checked.doubts, *(f"{part}: {error}" for part, error in checked.failing.items())):
        warn(doubt)
    return checked
