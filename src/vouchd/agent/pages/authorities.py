"""List Certificate Authorities, Add Certificate Authority, and the page of one CA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.agent.pages import menu
from vouchd.agent.pages.conditions import AuthorityRow, authority_row
from vouchd.agent.pages.forms import read_form, require_number_lost
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.services import Services
from vouchd.core.facts import Caller, IssuingPointId, QuarantinedCRL
from vouchd.errors import BadInput, ConfigError, NotFound, VouchdError, outcome
from vouchd.instance.hindrances import hindrances
from vouchd.pkix import certs
from vouchd.pkix.pem import read_bundle
from vouchd.service.authorities import AuthoritySummary
from vouchd.service.previewing import Preview, Previewing
from vouchd.threads import in_thread


@dataclass(frozen=True, slots=True)
class AuthorityPages:
    """The pages about CAs."""

    services: Services
    pages: Pages
    previewing: Previewing

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """List Certificate Authorities."""
        rows = await self._rows(caller)
        done = done_text(request)
        report = self.services.running.report()
        kept = hindrances(report, self.services.clock.now())
        return self.pages.page(
            request, caller, "authorities.html", rows=rows, done=done, report=report, hindrances=kept
        )

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """One CA: its certificate, its CRLs and those held back."""
        row = await self._row(request.match_info["id"], caller)
        return self._show(request, caller, row)

    async def adding(self, request: web.Request, caller: Caller) -> web.Response:
        """The form of Add Certificate Authority."""
        return self.pages.page(request, caller, "add_authority.html", error=None, label="", pasted="")

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CA's certificate in."""
        form = await read_form(request, self.pages.tokens)
        label = form.text("label")
        try:
            certificate = _authority_certificate(form.document("certificate"))
            added = await in_thread(lambda: self.services.authorities.add(certificate, caller, label=label))
        except VouchdError as error:
            facts = {"error": error, "label": label, "pasted": form.text("certificate-text")}
            return self.pages.page(request, caller, "add_authority.html", status=outcome(error).http_status, **facts)
        await in_thread(self.services.running.settle)
        return see_done(f"{menu.AUTHORITIES}/{added.id}", "The CA was added.")

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Stop answering for the CA."""
        form = await read_form(request, self.pages.tokens)
        row = await self._row(request.match_info["id"], caller)
        if form.text("confirmed") != "yes":
            error = ConfigError("not removed: the box was not ticked", hint="tick it to confirm")
            return self._show(request, caller, row, status=400, error=error)
        label = row.summary.authority.label
        await in_thread(lambda: self.services.authorities.remove(row.summary.authority.id, caller))
        await in_thread(self.services.running.settle)
        return see_done(menu.AUTHORITIES, f"{label} was removed.")

    async def releasing(self, request: web.Request, caller: Caller) -> web.Response:
        """What the CRL that is held back would change."""
        point = IssuingPointId(request.match_info["id"], request.match_info["scope"])
        pending, preview = await in_thread(lambda: self._previewed(point, caller))
        return self.pages.page(request, caller, "release_crl.html", pending=pending, preview=preview, error=None)

    def _previewed(self, point: IssuingPointId, caller: Caller) -> tuple[QuarantinedCRL, Preview]:
        """Raises: NotFound, CRLRejected."""
        services = self.services
        with services.ingest_lock():
            pending = next((crl for crl in services.store.quarantined() if crl.issuing_point == point), None)
            if pending is None:
                raise NotFound("no CRL is held back for this issuing point", hint="somebody decided already")
            crl = services.indexing.document(pending.record)
            return pending, self.previewing.preview(crl, caller, services.clock.now())

    async def release(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CRL that is held back; one that un-revokes thousands only with their number."""
        form = await read_form(request, self.pages.tokens)
        point = IssuingPointId(request.match_info["id"], request.match_info["scope"])
        pending, preview = await in_thread(lambda: self._previewed(point, caller))
        try:
            require_number_lost(form, preview.lost)
        except BadInput as error:
            facts = {"pending": pending, "preview": preview, "error": error}
            return self.pages.page(request, caller, "release_crl.html", status=400, **facts)

        def release() -> None:
            with self.services.ingest_lock():
                self.services.ingesting.release_quarantined(point, caller, self.services.clock.now())

        return await self._settled(request, caller, release, "The CRL was released.")

    async def drop(self, request: web.Request, caller: Caller) -> web.Response:
        """Forget the CRL that is held back."""
        await read_form(request, self.pages.tokens)
        point = IssuingPointId(request.match_info["id"], request.match_info["scope"])
        ingesting = self.services.ingesting
        return await self._settled(
            request, caller, lambda: ingesting.drop_quarantined(point, caller), "The CRL was dropped."
        )

    async def _settled(self, request: web.Request, caller: Caller, act: Callable[[], None], done: str) -> web.Response:
        identifier = request.match_info["id"]
        try:
            await in_thread(act)
        except VouchdError as error:
            row = await self._row(identifier, caller)
            return self._show(request, caller, row, status=outcome(error).http_status, error=error)
        await in_thread(self.services.running.settle)
        return see_done(f"{menu.AUTHORITIES}/{identifier}", done)

    def _show(
        self,
        request: web.Request,
        caller: Caller,
        row: AuthorityRow,
        *,
        status: int = 200,
        error: VouchdError | None = None,
    ) -> web.Response:
        certificate = certs.load_certificate(row.summary.authority.certificate_der)
        done = done_text(request)
        return self.pages.page(
            request, caller, "authority.html", status=status, row=row, certificate=certificate, error=error, done=done
        )

    async def _rows(self, caller: Caller) -> tuple[AuthorityRow, ...]:
        summaries: tuple[AuthoritySummary, ...] = await in_thread(lambda: self.services.authorities.summaries(caller))
        report, now = self.services.running.report(), self.services.clock.now()
        counts = (await in_thread(self.services.running.snapshot)).get("counters", {}).get("by_authority", {})
        return tuple(authority_row(summary, report, now, counts.get(summary.authority.id, 0)) for summary in summaries)

    async def _row(self, identifier: str, caller: Caller) -> AuthorityRow:
        for row in await self._rows(caller):
            if row.summary.authority.id == identifier:
                return row
        raise NotFound("this responder does not answer for such a CA", hint="look at List Certificate Authorities")


def _authority_certificate(data: bytes) -> bytes:
    """DER of the CA in `data`: the only certificate, or of a chain the one that issued none of the others.

    Raises: ConfigError.
    """
    try:
        certificates = read_bundle(data)
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint="PEM, DER, base64 or a PKCS #7 chain") from error
    leaves = [one for one in certificates if not _issues_another(one, certificates)] or list(certificates)
    return leaves[0].public_bytes(Encoding.DER)


def _issues_another(certificate: x509.Certificate, others: tuple[x509.Certificate, ...]) -> bool:
    return any(other is not certificate and other.issuer == certificate.subject for other in others)
