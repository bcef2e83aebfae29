"""The signers of the set: which there are, where each is on its way, and the acts that move it along."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace

from vouchd.api import shapes
from vouchd.api.model import PEM, Changes, Label, Moment, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.ca.requests import parse_subject
from vouchd.cloning.signers import SignerRequest
from vouchd.core import signer_facts as facts
from vouchd.core.facts import Caller
from vouchd.core.signer_facts import Keyring, state
from vouchd.errors import LifecycleError, NotFound
from vouchd.instance.certificates.service import certificates_in
from vouchd.instance.report import WaitingSigner
from vouchd.pkix.certs import load_certificate
from vouchd.pkix.purposes import expiry_warning
from vouchd.service.permission import Action

_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"
_SOFTWARE = "software"
Nickname = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", examples=["ocsp_tier2"])]
Number = Annotated[int, Meta(ge=1, le=1 << 30, examples=[2])]


class InTheWay(Struct, frozen=True):
    """A member for which the set does not switch to a signer yet."""

    member: Annotated[Words, about("The member; empty: this instance, which is in no set.", "ocsp2.example.org:8443")]
    why: Annotated[str, about("Why it could not sign with it.", "its key has not come yet")]


class SignerVersion(Struct, frozen=True):
    """One key of a signer."""

    number: Annotated[Number, about("Its number among those of the nickname.")]
    state: Annotated[str, about("`wanted`, `requested`, `staged`, `rehearsed`, `current` or `retired`.", "current")]
    algorithm: Annotated[str, about("What it signs with.", "SHA256withEC")]
    key: Annotated[str, about("Where its key is: `software`, or the label of a token.", _SOFTWARE)]
    wanted: Annotated[bool, about("Whether the set is to sign with it as soon as every member could.")]
    made_at: Annotated[Moment | None, about("When its key was made; null: before the keyring was kept.")]
    retired_at: Annotated[Moment | None, about("Since when it signs no more, for good.")]
    warning: Annotated[Words, about("What is doubtful about its validity.")]
    certificate: Annotated[shapes.Certificate | None, about("Its certificate; null: it has not come yet.")]
    chain: Annotated[list[PEM], about("The certificates that are sent along.", [])]
    request: Annotated[str | None, about("The request for its certificate (PEM); null: there is none.", _REQUEST)]
    in_the_way: Annotated[list[InTheWay], about("Why the set does not switch to it yet.", [])]


class Signer(Struct, frozen=True):
    """A signer of the set with the history of its keys."""

    nickname: Annotated[Nickname, about("Its name in settings and policies.")]
    default: Annotated[bool, about("Whether it signs for the CAs that name no other.")]
    authorities: Annotated[list[Label], about("The CAs that it answers for.")]
    versions: Annotated[list[SignerVersion], about("Its keys, oldest first.")]
    changes: Changes = UNSET


class NewSigner(shapes.NewKey, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signer to be added."""

    nickname: Annotated[Nickname, about("Its name: letters, digits, _ and -.")]


class SignerInstallation(shapes.CertifiedKey, frozen=True, forbid_unknown_fields=True):
    """A certificate of a signer to take in."""

    switch: Annotated[bool, about("Switch to it as soon as every member could sign with it.")] = True


class InstalledSigner(Struct, frozen=True):
    """What taking a certificate in did."""

    signer: Annotated[Signer, about("The signer as it is now.")]
    number: Annotated[Number, about("The version that has its certificate now.")]
    warnings: Annotated[list[str], about("What is doubtful about it.", [])]


class VersionChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """One of the keys of a signer."""

    number: Annotated[Number, about("Its number.")]


def _all(call: Call) -> list[Signer]:
    ring = call.services.signers.keyring(call.caller)
    return [_shape(call, ring, nickname) for nickname in ring.nicknames]


def _one(call: Call) -> Signer:
    return _of(call, call.path["nickname"])


def _of(call: Call, nickname: str) -> Signer:
    ring = call.services.signers.keyring(call.caller)
    if nickname not in ring.nicknames:
        raise NotFound(f"no signer {nickname[:100]!r}", hint="vouchd signer list shows those there are")
    return _shape(call, ring, nickname)


def _add(call: Call) -> Signer:
    new: NewSigner = call.body
    shapes.refused_as_input(lambda: call.services.signers.request(new.nickname, _wishes(new), call.caller, new=True))
    return _of(call, new.nickname)


def _request(call: Call) -> Signer:
    nickname = call.path["nickname"]
    shapes.refused_as_input(lambda: call.services.signers.request(nickname, _wishes(call.body), call.caller))
    return _of(call, nickname)


def _wishes(wanted: shapes.NewKey) -> SignerRequest:
    return SignerRequest(
        algorithm=wanted.algorithm or "",
        subject=parse_subject(wanted.subject) if wanted.subject else None,
        same_key=wanted.same_key,
    )


def _install(call: Call) -> InstalledSigner:
    new: SignerInstallation = call.body
    nickname = call.path["nickname"]
    bundle = [one for text in (new.certificate, new.chain) if text for one in certificates_in(text.encode())]
    version, warnings = shapes.refused_as_input(
        lambda: call.services.signers.install(nickname, bundle, call.caller, stage_only=not new.switch)
    )
    return InstalledSigner(signer=_of(call, nickname), number=version.number, warnings=list(warnings))


def _switch(call: Call) -> Signer:
    return _turned(
        call, call.services.signers.switch, "the set is to sign with {}", lambda ring, one: one.key in ring.target
    )


def _retire(call: Call) -> Signer:
    return _turned(call, call.services.signers.retire, "{} signs no more", lambda _, one: one.retired_at is not None)


def _turned(
    call: Call,
    act: Callable[[str, int, Caller], facts.SignerVersion],
    words: str,
    is_so: Callable[[Keyring, facts.SignerVersion], bool],
) -> Signer:
    """The signer after an act on one of its keys, with what that has changed unless it was so already."""
    chosen: VersionChoice = call.body
    nickname = call.path["nickname"]
    before = call.services.signers.keyring(call.caller)
    former = before.version(nickname, chosen.number)
    name = act(nickname, chosen.number, call.caller).name
    changed = former is None or not is_so(before, former)
    return replace(_of(call, nickname), changes=[words.format(name)] if changed else [])


def _shape(call: Call, ring: Keyring, nickname: str) -> Signer:
    waiting = _waiting(call)
    return Signer(
        nickname=nickname,
        default=call.services.signers.default == nickname,
        authorities=[one.label for one in call.services.signers.authorities(nickname)],
        versions=[_version(call, ring, one, waiting) for one in ring.versions_of(nickname)],
    )


def _waiting(call: Call) -> tuple[WaitingSigner, ...]:
    try:
        return call.running.report().waiting_signers
    except LifecycleError:  # it does not run: nothing switches
        return ()


def _version(
    call: Call, ring: Keyring, version: facts.SignerVersion, waiting: tuple[WaitingSigner, ...]
) -> SignerVersion:
    certificate = load_certificate(version.certificate_der) if version.certificate_der else None
    reasons = [InTheWay(member=one.member, why=one.why) for one in waiting if one.signer == version.name]
    wanted = version.key in ring.target and version.key not in ring.current
    sha256 = hashlib.sha256(version.certificate_der).hexdigest()
    return SignerVersion(
        number=version.number,
        state=str(state(ring, version, wanted and not reasons)),
        algorithm=version.algorithm,
        key=version.token or _SOFTWARE,
        wanted=wanted,
        made_at=shapes.maybe_moment(version.made_at or None),
        retired_at=shapes.maybe_moment(version.retired_at),
        warning=expiry_warning(certificate, call.clock.now()) if certificate else "",
        certificate=shapes.certificate(version.certificate_der, sha256) if certificate else None,
        chain=[shapes.pem(load_certificate(one)) for one in version.chain],
        request=_pem_request(version),
        in_the_way=reasons,
    )


def _pem_request(version: facts.SignerVersion) -> str | None:
    if not version.request_der:
        return None
    return x509.load_der_x509_csr(version.request_der).public_bytes(Encoding.PEM).decode()


OPERATIONS = (
    Operation(
        "GET", "/signers", "signers.list", "The signers of the set", Action.LIST_CERTIFICATES, _all, list[Signer]
    ),
    Operation("GET", "/signers/{nickname}", "signers.get", "One of them", Action.LIST_CERTIFICATES, _one, Signer),
    Operation(
        "POST",
        "/signers",
        "signers.add",
        "Add a signer: its key is made, with a request that any CA can certify; nobody waits for it",
        Action.CHANGE_CERTIFICATES,
        _add,
        Signer,
        status=201,
        body=NewSigner,
        refusals={409: "There is a signer of that nickname.", 422: "The subject is none."},
    ),
    Operation(
        "POST",
        "/signers/{nickname}/requests",
        "signers.request",
        "Make a new key for a signer, with a request that any CA can certify; nothing changes until it is installed",
        Action.CHANGE_CERTIFICATES,
        _request,
        Signer,
        status=201,
        body=shapes.NewKey,
        refusals={422: "The subject is none."},
    ),
    Operation(
        "POST",
        "/signers/{nickname}/install",
        "signers.install",
        "Take in the certificate of a signer: tried out, staged on every member, and switched to by all at once",
        Action.CHANGE_CERTIFICATES,
        _install,
        InstalledSigner,
        body=SignerInstallation,
    ),
    Operation(
        "POST",
        "/signers/{nickname}/switch",
        "signers.switch",
        "Have the set sign with another key of a signer, forward or back, as soon as every member could",
        Action.CHANGE_CERTIFICATES,
        _switch,
        Signer,
        body=VersionChoice,
    ),
    Operation(
        "POST",
        "/signers/{nickname}/retire",
        "signers.retire",
        "Have a key sign no more, for good",
        Action.CHANGE_CERTIFICATES,
        _retire,
        Signer,
        body=VersionChoice,
    ),
)
