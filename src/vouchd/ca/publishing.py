"""Publishing: one CRL goes to every target; a target that fails does not keep the others from it, and is remembered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vouchd.ca.authority import CertificateManager
from vouchd.ca.facts import IssuedCRL, TargetRecord
from vouchd.errors import IssuanceError, VouchdError


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
    """A folder, such as a web server's: `NAME.crl`, and `NAME-delta.crl` for deltas, replaced whole."""

    folder: Path
    name: str = "ca"

    @property
    def specification(self) -> str:
        """As on the command line."""
        return f"dir:{self.folder}"

    def publish(self, crl: IssuedCRL) -> str:
        """Replace the file in one step: a reader sees the old CRL or the new one, never a part."""
        path = self.folder / f"{self.name}{'-delta' if crl.is_delta else ''}.crl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(path, crl.der)
        except OSError as error:
            raise IssuanceError(
                f"{path}: {error.strerror}", hint="check the folder, its owner and free space"
            ) from error
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
    """Hand `crl` to each target and store how it went; failures are in the deliveries, not raised."""
    deliveries = []
    before = {target.specification: target for target in manager.store.targets()}
    for target in targets:
        name = target.specification
        try:
            delivery = Delivery(name, crl.number, target.publish(crl))
            record = TargetRecord(name, crl.number, at)
        except VouchdError as error:
            delivery = Delivery(name, crl.number, failure=error)
            last = before.get(name, TargetRecord(name))
            record = TargetRecord(name, last.number, last.delivered_at, str(error))
        manager.store.put_target(record)
        deliveries.append(delivery)
    return deliveries


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # a CRL is public; mkstemp made the file private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
