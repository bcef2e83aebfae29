"""A master made ready to be cloned: registered, its keys in PKCS #12, its settings a master's, a token to join by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vouchd.cloning.membership import CLONE_REFRESH_SECONDS, own_member
from vouchd.cloning.needs import MemberServices, Say
from vouchd.cloning.registry import TOKEN_SECONDS
from vouchd.cloning.roles import MASTER_REFRESH_SECONDS
from vouchd.core.facts import Caller, Group, Member
from vouchd.errors import ConfigError
from vouchd.instance.certificates.backup import Exported
from vouchd.instance.certificates.places import SUBSYSTEM
from vouchd.instance.certificates.places import find as find_certificate
from vouchd.instance.certificates.tokens import is_on_token
from vouchd.instance.configuration import write_values
from vouchd.service.users import SUBSYSTEM_USER
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a clone needs: this member, the keys of the set, the token and until when it is good.

    `exported` is None where no file is needed; `on_tokens` are the names of the keys that stay on a token.
    """

    member: Member
    exported: Exported | None
    token: str
    good_until: int
    on_tokens: tuple[str, ...] = ()


def prepare(
    services: MemberServices,
    caller: Caller,
    password: str | None,
    *,
    host: str = "",
    domain: str = "",
    hours: int = 1,
    say: Say,
) -> tuple[Prepared, bool]:
    """Register this instance, let members in, take the keys of the set out under that password, give a token.

    Without a password none is taken out: clones that reach the token of the set need none.
    Whether lines of CS.cfg were changed, for which a running instance has to restart.

    Raises: ConfigError, SigningError, StoreError, PermissionDenied.
    """
    services.membership.require_registrar()
    settings = services.settings
    on_tokens = tuple(one.nickname for one in settings.signers if is_on_token(one.key_file))
    if password is None and settings.default_signer not in on_tokens:
        raise ConfigError("the signing key is a file, which a clone needs", hint="--out FILE --password-file FILE")
    named = replace(settings, of_set=replace(settings.of_set, host=host or settings.of_set.host))
    member = services.domain.create(own_member(named), caller)
    _let_members_in(services, caller)
    exported = services.keys.export(password, caller) if password is not None else None
    token, kept = services.domain.issue_token(caller, hours * TOKEN_SECONDS)
    changed = _ready_settings(services.layout, member, host, domain, say)
    return Prepared(member, exported, token, kept.expires_at, on_tokens), changed


def _ready_settings(layout: Layout, member: Member, host: str, domain: str, say: Say) -> bool:
    settings = read_settings(layout)
    values: dict[str, str] = {}
    if host:
        values["vouchd.domain.host"] = host
    if domain:
        values["securitydomain.name"] = domain
    if settings.refresh_seconds in {0, CLONE_REFRESH_SECONDS} and not member.clone:
        values["ocsp.store.defStore.refreshInSec"] = str(MASTER_REFRESH_SECONDS)
        say(f"refreshInSec is {MASTER_REFRESH_SECONDS} now: a master's is neither 0 nor {CLONE_REFRESH_SECONDS}")
    return write_values(layout, values) if values else False


def _let_members_in(services: MemberServices, caller: Caller) -> None:
    """Members come with the subsystem certificate, which all of them have."""
    certificate = find_certificate(services.settings, SUBSYSTEM).der
    if certificate is None:
        raise ConfigError("there is no subsystem certificate yet", hint="see `vouchd certs list`")
    user = next((user for user in services.store.users() if user.id == SUBSYSTEM_USER), None)
    if user is None:
        services.users.add(
            SUBSYSTEM_USER,
            caller,
            full_name="The members of the set",
            groups=[Group.OCSP_ADMINISTRATORS, Group.TRUSTED_MANAGERS],
            certificates=[certificate],
        )
    elif certificate not in user.certificates:
        services.users.add_certificate(SUBSYSTEM_USER, certificate, caller)
