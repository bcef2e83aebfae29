"""What a form brought: its fields and files, read after the token was checked.

The token proves that the form was fetched by the one who sends it (against cross-site request forgery). There is no
session and no cookie: it is bound to the certificate of the TLS connection that asked for the form, so the page of
another site can neither read nor guess it, though the browser would bring the certificate along.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from aiohttp import web

from vouchd.agent.identity import peer_certificate
from vouchd.errors import BadInput, ConfigError, PermissionDenied

FIELD = "token"


class FormTokens:
    """Makes and checks the tokens of one process; after a restart a form has to be fetched again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def token(self, certificate_der: bytes) -> str:
        """The token for whoever holds this certificate."""
        return hmac.new(self._key, hashlib.sha256(certificate_der).digest(), hashlib.sha256).hexdigest()

    def require(self, token: str, certificate_der: bytes) -> None:
        """Raises: PermissionDenied when the token is not for this certificate."""
        if not hmac.compare_digest(token.encode(), self.token(certificate_der).encode()):
            raise PermissionDenied(
                "the form is not from these pages, or is older than the instance's last restart",
                hint="go back, load the page again and send it once more",
            )


TYPED = "typed"  # the field in which it is typed what an act is about
MANY_LOST = 1000  # certificates that would no longer be revoked: an act to be confirmed by their number


@dataclass(frozen=True, slots=True)
class Form:
    """Text by field name, and the bytes of files that are not empty."""

    fields: dict[str, str]
    files: dict[str, bytes]

    def text(self, name: str) -> str:
        """The field without surrounding blanks, empty when it did not come."""
        return self.fields.get(name, "").strip()

    def document(self, name: str) -> bytes:
        """The file of that name, else what was pasted into the field `name`-text. Raises: ConfigError."""
        content = self.files.get(f"{name}-file") or self.fields.get(f"{name}-text", "").strip().encode()
        if not content:
            raise ConfigError("nothing was given", hint="choose a file, or paste its text")
        return content


def require_typed(form: Form, expected: str, why: str = "") -> None:
    """Return when `expected` was typed, blanks aside: what takes something away is asked for so, on all pages alike.

    Raises: BadInput.
    """
    if "".join(form.text(TYPED).split()) != "".join(expected.split()):
        raise BadInput(f"{why or 'it was not confirmed'}: nothing was done", hint=f"if that is right, type: {expected}")


def require_number_lost(form: Form, lost: int) -> None:
    """Return unless thousands of certificates would no longer be revoked and their number was not typed.

    Raises: BadInput.
    """
    if lost >= MANY_LOST:
        require_typed(form, str(lost), f"{lost} certificates would no longer be revoked")


async def read_form(request: web.Request, tokens: FormTokens, holder: bytes | None = None) -> Form:
    """The form of a POST whose body has been read.

    Its token is for `holder`; None: for who has the certificate of this connection.
    Raises: PermissionDenied, ConfigError.
    """
    try:
        posted = await request.post()
    except ValueError as error:
        raise ConfigError("the form cannot be read", hint="send it from its page") from error
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, value in posted.items():
        if isinstance(value, web.FileField):
            files[name] = value.file.read()
        elif isinstance(value, str):
            fields[name] = value
    tokens.require(fields.get(FIELD, ""), (peer_certificate(request) or b"") if holder is None else holder)
    return Form(fields, {name: data for name, data in files.items() if data})
