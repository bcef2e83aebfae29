"""Tokens that prove that a form was fetched by the one who sends it (against cross-site request forgery).

There is no session and no cookie: a token is bound to the certificate of the TLS connection that asked for the form,
so the page of another site can neither read nor guess it, though the browser would bring the certificate along.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from vouchd.errors import PermissionDenied

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
