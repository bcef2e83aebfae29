"""System Certificates: what the instance signs and shows itself with, and how long that lasts."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from cryptography import x509

from vouchd.agent.pages.acts import act
from vouchd.agent.pages.conditions import Condition, Tone, expiry_condition
from vouchd.agent.pages.rendering import Pages
from vouchd.api.certificates import SystemCertificate
from vouchd.api.services import Services
from vouchd.api.shapes import posix
from vouchd.core.facts import Caller
from vouchd.pkix.purposes import Validity


@dataclass(frozen=True, slots=True)
class CertificateCard:
    """One system certificate; `used` is the share of its life that has passed, 0 to 1."""

    system: SystemCertificate
    condition: Condition
    not_before: int = 0
    not_after: int = 0
    used: float = 0.0
    key: str = ""


@dataclass(frozen=True, slots=True)
class CertificatePages:
    """One page."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All system certificates."""
        every: list[SystemCertificate] = await act(self.services, caller, "certificates.list", {})
        now = self.pages.clock.now()
        return self.pages.page(request, caller, "certificates.html", cards=[_card(one, now) for one in every])


def _card(system: SystemCertificate, now: int) -> CertificateCard:
    certificate = system.certificate
    if certificate is None:
        condition = Condition(Tone.WARNING, "Missing", system.problem or "No certificate has been installed.")
        return CertificateCard(system, condition)
    begin, end = posix(certificate.not_before, "not_before"), posix(certificate.not_after, "not_after")
    used = (now - begin) / (end - begin) if end > begin else 1.0
    return CertificateCard(
        system,
        expiry_condition(Validity(begin, end), now),
        not_before=begin,
        not_after=end,
        used=max(0.0, min(1.0, used)),
        key=_key_text(x509.load_pem_x509_certificate(certificate.pem.encode())),
    )


def _key_text(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    curve = getattr(key, "curve", None)
    if curve is not None:
        return f"EC {curve.name}"
    size = getattr(key, "key_size", None)
    name = type(key).__name__.removesuffix("PublicKey").removeprefix("_")
    return f"{name} {size}" if size else name
