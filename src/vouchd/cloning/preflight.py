"""What is looked at before a clone is made: every mistake that would show later, or never, has its error here.

Nothing is changed, on this host or elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography import x509

from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, require_master_refresh
from vouchd.cloning.registry import require_place, require_reachable
from vouchd.cloning.set_info import SetInfo
from vouchd.core.facts import Member
from vouchd.errors import AlreadyExists, ConfigError, LifecycleError, SigningError
from vouchd.instance.certificates.backup import names_in
from vouchd.instance.certificates.places import SUBSYSTEM
from vouchd.signing.key_files import check_context
from vouchd.signing.pkcs12 import KeyFile, read_key_file

MAX_SKEW_SECONDS = 10


def read_keys(path: Path, password: str, neighbours: Path) -> KeyFile:
    """The keys in the PKCS #12 file; `neighbours` is a folder whose SELinux type the file should have.

    Raises: SigningError: it cannot be read, others may read it, the password is wrong, it is no PKCS #12 file.
    """
    keys = read_key_file(path, password)
    if neighbours.is_dir():
        check_context(path, neighbours)
    return keys


def check_keys(keys: KeyFile, certificates: Mapping[str, bytes]) -> dict[str, str]:
    """Friendly name in the file of each key that the set shares, each the key of the master's certificate.

    Raises: SigningError when one is missing or another one.
    """
    named = names_in(keys)
    for name, der in certificates.items():
        if name not in named:
            raise SigningError(
                f"{keys.path}: the key of {name} is missing",
                hint="take a new backup on the master: vouchd backup --out FILE --password-file FILE",
            )
        keys.bag_for(named[name], x509.load_der_x509_certificate(der))
    if SUBSYSTEM not in certificates:
        raise ConfigError("the master has no subsystem certificate", hint="there: vouchd certs list")
    return {name: named[name] for name in certificates}


def check_set(info: SetInfo, member: Member, now: int) -> None:
    """Return when `member` may join the set as it is. Raises: AlreadyExists, ConfigError, LifecycleError."""
    check_newcomer(info, member, now)
    require_place(member, info.members)


def check_newcomer(info: SetInfo, member: Member, now: int) -> None:
    """The same but for where the member keeps its facts."""
    require_refresh_of(info)
    skew = now - info.now
    if abs(skew) > MAX_SKEW_SECONDS:
        raise LifecycleError(
            f"the clock here is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the master's",
            hint="set the clocks of both hosts, and keep them by NTP",
        )
    require_reachable(member)
    if member.id in {known.id for known in info.members}:
        raise AlreadyExists(
            f"{member.id} is in this domain",
            hint="give the clone another port, or take that member out first: vouchd domain leave",
        )


def require_refresh_of(info: SetInfo) -> None:
    """Return when refreshInSec of the member that told of the set is right for its role. Raises: ConfigError."""
    if not info.told_by.clone:
        require_master_refresh(info.refresh_seconds)
    elif info.refresh_seconds != CLONE_REFRESH_SECONDS:
        raise ConfigError(
            f"refreshInSec of the clone {info.told_by.id} is {info.refresh_seconds}:"
            f" for a clone it is {CLONE_REFRESH_SECONDS}",
            hint=f"there: ocsp.store.defStore.refreshInSec={CLONE_REFRESH_SECONDS} in CS.cfg, then vouchd restart",
        )
