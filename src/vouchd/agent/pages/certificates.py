"""System Certificates: what the instance signs and shows itself with, and how long that lasts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiohttp import web
from cryptography import x509

from vouchd.agent.pages.conditions import Condition, Tone, expiry_condition
from vouchd.agent.pages.rendering import Pages
from vouchd.api.certificates import renewal_of
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.instance.certificates.places import SystemCertificate
from vouchd.instance.report import RenewalReport
from vouchd.pkix import certs
from vouchd.pkix.purposes import Validity
from vouchd.threads import in_thread


@dataclass(frozen=True, slots=True)
class CertificateCard:
    """One system certificate; `used` is the share of its life that has passed, 0 to 1."""

    system: SystemCertificate
    condition: Condition
    not_before: int = 0
    not_after: int = 0
    used: float = 0.0
    key: str = ""
    pending: int = 0
    renewal: RenewalReport | None = None


@dataclass(frozen=True, slots=True)
class CertificatePages:
    """One page."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All system certificates."""
        cards = await in_thread(lambda: self._cards(caller))
        return self.pages.page(request, caller, "certificates.html", cards=cards)

    def _cards(self, caller: Caller) -> tuple[CertificateCard, ...]:
        now, service = self.services.clock.now(), self.services.certificates
        cards = (
            (system, _card(system, len(service.pending(system.name, caller)), now))
            for system in service.certificates(caller)
        )
        return tuple(replace(card, renewal=renewal_of(self.services, system)) for system, card in cards)


def _card(system: SystemCertificate, pending: int, now: int) -> CertificateCard:
    certificate = system.certificate
    if certificate is None:
        condition = Condition(Tone.WARNING, "Missing", system.problem or "No certificate has been installed.")
        return CertificateCard(system, condition, pending=pending)
    begin, end = certs.not_before(certificate), certs.not_after(certificate)
    used = (now - begin) / (end - begin) if end > begin else 1.0
    return CertificateCard(
        system,
        expiry_condition(Validity(begin, end), now),
        not_before=begin,
        not_after=end,
        used=max(0.0, min(1.0, used)),
        key=_key_text(certificate),
        pending=pending,
    )


def _key_text(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    curve = getattr(key, "curve", None)
    if curve is not None:
        return f"EC {curve.name}"
    size = getattr(key, "key_size", None)
    name = type(key).__name__.removesuffix("PublicKey").removeprefix("_")
    return f"{name} {size}" if size else name
