"""Publishing: one CRL goes to every target; a target that fails does not keep the others from it, and is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography import x509

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import CRLScope, IssuedCRL, TargetRecord
from vouchd.errors import IssuanceError, StoreUnavailable, VouchdError
from vouchd.files import PUBLIC, read_file, replace_file
from vouchd.locks import acquire
from vouchd.pkix.crl import MAX_CRL_BYTES

_WAIT_SECONDS = 600.0  # for who writes a CRL of ten million entries to a slow folder


class PublishingTarget(Protocol):
    """A place that takes CRLs; `specification` names it as on the command line, such as `dir:/srv/www`."""

    @property
    def specification(self) -> str:
        """Kind and place, `KIND:PLACE`."""

    def publish(self, crl: IssuedCRL) -> str:
        """Hand over `crl`; when this returns it was taken, and the text says how.

        Publishing the same CRL again is harmless. Raises: VouchdError when it was not taken.
        """


@dataclass(frozen=True, slots=True)
class Delivery:
    """How it went with one target; `failure` is None when the CRL was taken."""

    specification: str
    number: int
    detail: str = ""
    failure: VouchdError | None = None


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder, such as a web server's: `NAME.crl`, `NAME-delta.crl`, `NAME-user.crl`, ..., each replaced whole."""

    folder: Path
    name: str = "ca"

    @property
    def specification(self) -> str:
        """As on the command line."""
        return f"dir:{self.folder}"

    def publish(self, crl: IssuedCRL) -> str:
        """Replace the file in one step: a reader sees the old CRL or the new one, never a part, and never an older one.

        Raises: IssuanceError.
        """
        scope = "" if crl.scope is CRLScope.COMPLETE else f"-{crl.scope.value}"
        path = self.folder / f"{self.name}{scope}{'-delta' if crl.is_delta else ''}.crl"
        with _locked(self.folder):
            current = _crl_number(path)
            if current is not None and current > crl.number:
                raise IssuanceError(
                    f"{path} holds CRL {current}, newer than {crl.number}",
                    hint="leave --current out to make a newer one",
                )
            replace_file(path, crl.der, PUBLIC, error=IssuanceError)
        return str(path)


@dataclass(frozen=True, slots=True)
class CallTarget:
    """A target that is a function taking DER and saying how it went; what it is, the layers above know."""

    specification: str
    deliver: Callable[[bytes], str]

    def publish(self, crl: IssuedCRL) -> str:
        """Call the function."""
        return self.deliver(crl.der)


TargetKinds = Mapping[str, Callable[[str], PublishingTarget]]


def parse_target(specification: str, kinds: TargetKinds) -> PublishingTarget:
    """The target written as `KIND:PLACE`. Raises: IssuanceError."""
    kind, separator, place = specification.partition(":")
    if not separator or not place or kind not in kinds:
        known = ", ".join(f"{kind}:..." for kind in sorted(kinds))
        raise IssuanceError(f"publishing target {specification[:80]!r}", hint=f"one of {known}")
    return kinds[kind](place)


def publish(
    manager: CertificateManager, crl: IssuedCRL, targets: Iterable[PublishingTarget], at: int
) -> list[Delivery]:
    """Hand `crl` to each target and store how it went; failures are in the deliveries, not raised.

    A target is remembered from its first delivery that succeeds: a mistyped one is not.
    """
    deliveries = []
    before = {target.specification: target for target in manager.store.targets()}
    for target in targets:
        name = target.specification
        try:
            deliveries.append(Delivery(name, crl.number, target.publish(crl)))
        except VouchdError as error:
            deliveries.append(Delivery(name, crl.number, failure=error))
            if name in before:
                manager.store.put_target(replace(before[name], failure=str(error)))
        else:
            manager.store.put_target(TargetRecord(name, crl.number, at))
    return deliveries


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One publisher at a time in `folder`, which is made when it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise IssuanceError(f"{folder}: {error.strerror}", hint="check the folder and its owner") from error
    try:
        acquire(descriptor, "publishing CRLs", _WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _crl_number(path: Path) -> int | None:
    """The number of the CRL in a file; None when there is no such file or no CRL with a number in it."""
    try:
        crl = x509.load_der_x509_crl(read_file(path, MAX_CRL_BYTES))
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (FileNotFoundError, StoreUnavailable, ValueError, x509.ExtensionNotFound):
        return None
