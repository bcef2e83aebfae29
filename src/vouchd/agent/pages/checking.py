"""Check Certificate Status: a certificate, or issuer and serial number, and why it is answered as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cryptography import x509

from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import Form, read_form
from vouchd.agent.pages.rendering import Pages
from vouchd.api.services import Services
from vouchd.core.facts import Authority, Caller
from vouchd.core.key_history import Issuer, issuer_of
from vouchd.errors import ConfigError, NotFound, VouchdError
from vouchd.pkix import certs
from vouchd.pkix.pem import read_leaf
from vouchd.service.explaining import Explanation
from vouchd.threads import in_thread

_MAX_SERIAL_OCTETS = 64
_TONES = {"good": Tone.GOOD, "revoked": Tone.BAD, "unknown": Tone.WARNING}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: names as RFC 4514 has them; `certificate` is None for a bare serial number."""

    serial: bytes
    issuer: str
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class CheckPages:
    """The form and the answer."""

    services: Services
    pages: Pages

    async def asking(self, request: web.Request, caller: Caller) -> web.Response:
        """The form."""
        return await self._page(request, caller, serial=request.query.get("serial", "")[:200])

    async def check(self, request: web.Request, caller: Caller) -> web.Response:
        """The form with the answer."""
        form = await read_form(request, self.pages.tokens)
        kept: dict[str, Any] = {"serial": form.text("serial"), "chosen": form.text("authority")}
        try:
            subject, explanation = await in_thread(lambda: self._explained(form))
        except VouchdError as error:
            return await self._page(request, caller, error=error, **kept)
        condition = Condition(_TONES.get(explanation.answer, Tone.WARNING), explanation.answer, explanation.why)
        return await self._page(request, caller, subject=subject, explanation=explanation, condition=condition, **kept)

    async def _page(self, request: web.Request, caller: Caller, **facts: Any) -> web.Response:
        authorities = self._authorities()
        nothing = {"subject": None, "explanation": None, "condition": None, "serial": "", "chosen": ""}
        return self.pages.page(request, caller, "check.html", authorities=authorities, **{**nothing, **facts})

    def _authorities(self) -> tuple[Authority, ...]:
        """Those that are answered for; the store may be away."""
        return tuple(served.authority for served in self.services.running.state().authorities)

    def _explained(self, form: Form) -> tuple[Subject, Explanation]:
        authorities = self._authorities()
        subject, issuer = (
            _by_serial(form, authorities)
            if form.text("serial")
            else _by_certificate(form.document("certificate"), authorities)
        )
        identifier, key = (issuer.authority.id, issuer.key) if issuer else ("", "")
        return subject, self.services.running.explain(identifier, subject.serial, self.pages.clock.now(), key)


def _by_serial(form: Form, authorities: tuple[Authority, ...]) -> tuple[Subject, Issuer]:
    """The serial number, and its CA with its newest key."""
    serial = _serial(form.text("serial"))
    for authority in authorities:
        if authority.id == form.text("authority"):
            return Subject(serial, authority.label), Issuer(authority, certs.key_id(authority.certificate_der))
    raise NotFound("a serial number means nothing without its CA", hint="choose the CA that issued the certificate")


def _by_certificate(data: bytes, authorities: tuple[Authority, ...]) -> tuple[Subject, Issuer | None]:
    """The certificate, and who issued it."""
    try:
        certificate = read_leaf(data)
        serial = certs.serial_octets(certificate)
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint="PEM, DER, base64 or a PKCS #7 chain") from error
    subject = Subject(serial, certificate.issuer.rfc4514_string(), certificate)
    return subject, issuer_of(certificate, authorities)


def _serial(text: str) -> bytes:
    """DER INTEGER content octets of a serial in hexadecimal, with or without `0x` and colons. Raises: ConfigError."""
    digits = text.replace(":", "").replace(" ", "").lower().removeprefix("0x")
    if not digits or len(digits) > 2 * _MAX_SERIAL_OCTETS or set(digits) - set("0123456789abcdef"):
        raise ConfigError(f"{text[:80]!r} is not a serial number", hint="hexadecimal, as in 0x52a1c7 or 52:a1:c7")
    number = int(digits, 16)
    return number.to_bytes(number.bit_length() // 8 + 1, "big")
