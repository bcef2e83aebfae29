"""The tokens (PKCS #11, HSMs) that keys of the instance are on: how each does, what is on it, a trial."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from vouchd.api import shapes
from vouchd.api.model import Count, Moment, Words, about
from vouchd.api.operation import Call, Operation
from vouchd.errors import LifecycleError
from vouchd.instance.certificates.host_tokens import GOOD
from vouchd.instance.certificates.tokens import NamedToken
from vouchd.instance.report import TokenReport
from vouchd.pkix.signatures import algorithms_for
from vouchd.service.permission import Action
from vouchd.settings.reading import read_settings
from vouchd.signing.token.reference import TokenPlace

_NOT_IN_USE = "not in use: no signer of the running instance has its key there"
_OPENING = "a session is being opened"


class NamedKey(Struct, frozen=True):
    """A key that is said to be on a token."""

    name: Annotated[str, about("The name of its file in `alias/`.", "ocspSigningCert")]
    algorithm: Annotated[str, about("What it makes first.", "SHA256withRSA")]
    signs: Annotated[bool, about("Whether CS.cfg names it as the key of a signer.")]


class Token(Struct, frozen=True):
    """A token that keys of the instance are on."""

    token: Annotated[str, about("Its name in settings.", "hardware-ocsp")]
    label: Annotated[str, about("Its label.", "ocsp")]
    module: Annotated[str, about("The PKCS #11 module that reaches it.", "/usr/lib/softhsm/libsofthsm2.so")]
    keys: Annotated[list[NamedKey], about("The keys that are said to be there.")]
    state: Annotated[
        str,
        about("`good`, or why it cannot be used: as the running instance sees it, else as a log-in just went.", GOOD),
    ]
    usable: Annotated[bool | None, about("Whether it can be used; null: nothing of the running instance has tried.")]
    sessions: Annotated[Count | None, about("Sessions that the manager process has there; null: it does not run.", 2)]
    most_sessions: Annotated[Count | None, about("How many each process that signs may have there.", 2)]
    failed_at: Annotated[Moment | None, about("When something failed there last; null: nothing since the start.")]
    failure: Annotated[Words, about("What that was.", "token ocsp: no answer in time")]


class PrivateKey(Struct, frozen=True):
    """A private key on a token, as far as it may be looked at."""

    label: Annotated[str, about("CKA_LABEL.", "ocspSigningCert")]
    id: Annotated[str, about("CKA_ID, hexadecimal.", "0f3a")]
    kind: Annotated[str, about("CKA_KEY_TYPE.", "RSA")]
    signs: Annotated[bool, about("CKA_SIGN.")]
    decrypts: Annotated[bool, about("CKA_DECRYPT.")]
    unwraps: Annotated[bool, about("CKA_UNWRAP.")]
    extractable: Annotated[bool, about("CKA_EXTRACTABLE.")]
    sensitive: Annotated[bool, about("CKA_SENSITIVE.")]


class TokenContent(Struct, frozen=True):
    """What is on a token."""

    label: Annotated[str, about("Its label.", "ocsp")]
    manufacturer: Annotated[str, about("Who made it.", "SoftHSM project")]
    model: Annotated[str, about("What it is.", "SoftHSM v2")]
    serial: Annotated[str, about("Its serial number.", "b55b2d1c0a9e8f70")]
    slot: Annotated[int, about("The slot that it is in now.", 1)]
    module: Annotated[str, about("The PKCS #11 module that reaches it.", "/usr/lib/softhsm/libsofthsm2.so")]
    keys: Annotated[list[PrivateKey], about("All private keys on it.")]
    named: Annotated[
        dict[str, bool], about("Whether each key that is said to be there is, proved by a signature.", {"ocsp": True})
    ]


class TokenTrial(Struct, frozen=True, forbid_unknown_fields=True):
    """How to try a token."""

    last_try: Annotated[bool, about("Log in although one more wrong PIN would lock it.")] = False


class KeyTrial(Struct, frozen=True):
    """How signing with one key went."""

    key: Annotated[str, about("The name of its file in `alias/`.", "ocspSigningCert")]
    algorithm: Annotated[str, about("What it was tried with.", "SHA256withRSA")]
    result: Annotated[str, about("`good`, or what failed.", GOOD)]
    milliseconds: Annotated[float | None, about("A signature took so long; null: it failed.", 0.81)]


def _all(call: Call) -> list[Token]:
    signing = {one.key_file.stem for one in read_settings(call.layout).signers}
    return [_shape(token, *_seen(call, token.place), signing) for token in call.services.tokens.named(call.caller)]


def _seen(call: Call, place: TokenPlace) -> tuple[str, TokenReport | None]:
    """The state of a token, and what the running instance tells of it."""
    try:
        reports = call.running.report().tokens
    except LifecycleError:
        return call.services.tokens.state(place), None
    for report in reports:
        if (report.label, report.module) == (place.label, str(place.module)):
            return report.problem or (GOOD if report.sessions else _OPENING), report
    return _NOT_IN_USE, None


def _shape(token: NamedToken, state: str, report: TokenReport | None, signing: set[str]) -> Token:
    place = token.place
    keys = [
        NamedKey(name, algorithms_for(reference.public_key)[0], name in signing)
        for name, reference in token.keys.items()
    ]
    return Token(
        token=place.name,
        label=place.label,
        module=str(place.module),
        keys=keys,
        state=state,
        usable=None if state in {_NOT_IN_USE, _OPENING} else state == GOOD,
        sessions=report.sessions if report else None,
        most_sessions=report.most_sessions if report else None,
        failed_at=shapes.moment(report.failed_at) if report and report.failed_at else None,
        failure=report.failure if report else "",
    )


def _one(call: Call) -> TokenContent:
    content = call.services.tokens.content(call.path["token"], call.caller)
    return TokenContent(
        **content.description,
        module=str(content.token.place.module),
        keys=[PrivateKey(**key) for key in content.keys],
        named=dict(content.present),
    )


def _trial(call: Call) -> list[KeyTrial]:
    wanted: TokenTrial = call.body
    results = call.services.tokens.trial(call.path["token"], call.caller, last_try=wanted.last_try)
    return [KeyTrial(one.key, one.algorithm, one.result, one.milliseconds) for one in results]


OPERATIONS = (
    Operation(
        "GET",
        "/tokens",
        "tokens.list",
        "The tokens that keys of the instance are on, and how each does",
        Action.LIST_CERTIFICATES,
        _all,
        list[Token],
    ),
    Operation(
        "GET",
        "/tokens/{token}",
        "tokens.get",
        "One of them as it describes itself, with the private keys on it; no key leaves it",
        Action.LIST_CERTIFICATES,
        _one,
        TokenContent,
    ),
    Operation(
        "POST",
        "/tokens/{token}/test",
        "tokens.test",
        "Log in to a token and sign with each key of the instance there",
        Action.TEST_TOKENS,
        _trial,
        list[KeyTrial],
        body=TokenTrial,
    ),
)
