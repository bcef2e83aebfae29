"""What models are made of: an operation takes and gives frozen `msgspec.Struct`s, and these describe themselves.

A property is `name: Annotated[type, about("What it is.", example)]`; limits stand in its type, which the check of what
a client sends and the OpenAPI document both go by. What a client sends has `forbid_unknown_fields=True`, and
`name: … | UnsetType = UNSET` where it may be left out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, UnsetType

from vouchd.errors import BadInput, VouchdError

_LONGEST_WORDS = 400


def about(description: str, *examples: object) -> Meta:
    """What a property is, with examples of it."""
    return Meta(description=description, examples=list(examples) or None)


Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[
    str, Meta(examples=["2026-11-24T05:41:44Z"], extra_json_schema={"format": "date-time"})
]  # RFC 3339, UTC
SHA256 = Annotated[str, Meta(examples=["9f2c6a01b1d04e1b8f4f2b3c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80"])]
Serial = Annotated[str, Meta(examples=["0x52a1c7"])]
MemberId = Annotated[str, Meta(examples=["ocsp1.example.org:8443"])]
AuthorityId = Annotated[str, Meta(examples=["4f2a91c07bd1e6f3a5c8097b6d2e1f4a3c5b7d9e0f1a2b3c4d5e6f708192a3b4"])]
ScopeId = Annotated[str, Meta(examples=["complete"])]
Label = Annotated[str, Meta(examples=["Example Root"])]
Words = Annotated[str, Meta(examples=[""])]  # for people; empty where there is nothing to tell
Origin = Annotated[str, Meta(examples=["192.0.2.7"])]
_PEM = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"
PEM = Annotated[str, Meta(examples=[_PEM])]
SentPEM = Annotated[str, Meta(min_length=1, max_length=1 << 17, examples=[_PEM])]  # or base64 of DER
SentBundle = Annotated[str, Meta(min_length=1, max_length=1 << 19, examples=[_PEM])]


Changes = Annotated[
    list[str] | UnsetType,
    about("After a change: what it has changed, one line each; none: it was there just so already.", ["it was added"]),
]


class Refusal(Struct, frozen=True):
    """Why one of several was refused, as a problem document says it."""

    title: Annotated[str, about("What is wrong.", "not a CRL: no PEM block and no DER")]
    error: Annotated[str, about("The kind of error.", "CRLRejected")]
    hint: Annotated[str, about("What to do about it; may be empty.", "give one CRL in DER or PEM")]

    @classmethod
    def of(cls, error: VouchdError) -> Refusal:
        """What the error says."""
        return cls(str(error), type(error).__name__, error.hint)


def read_json(body: bytes) -> Any:
    """The value of a JSON text in which no name stands twice in one object. Raises: BadInput."""
    try:
        json.loads(body, object_pairs_hook=_once)  # msgspec takes the last of two that have one name
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "nested too deeply"
        raise BadInput(f"the body is not JSON: {reason}", hint="see /api/v1/openapi.json") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def checked(value: Any, model: Any, where: str) -> Any:
    """JSON value `value` as the model. Raises: BadInput that tells which property is wrong, and how."""
    return _converted(value, model, where, strict=True)


def checked_words(value: Any, model: Any, where: str) -> Any:
    """The same of what stands in a path or a query, where a number and a flag may be words. Raises: BadInput."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # octets that are not UTF-8
        raise BadInput(f"{where}: not Unicode text") from error
    return _converted(value, model, where, strict=False)


def _converted(value: Any, model: Any, where: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, model, strict=strict)
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `")
        place = where + place.rstrip("`").removeprefix("$")
        message = f"{place[:_LONGEST_WORDS]}: {words[:1].lower()}{words[1:_LONGEST_WORDS]}"
        names = ", ".join(getattr(model, "__struct_fields__", ())) or "none"
        raise BadInput(message, hint=f"{where} has: {names}; see /api/v1/openapi.json") from error


def plain(answer: Any) -> Any:
    """An answer as a JSON value."""
    return msgspec.to_builtins(answer)


def encoded(answer: Any) -> bytes:
    """An answer as JSON text for people and programs."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=1) + b"\n"
