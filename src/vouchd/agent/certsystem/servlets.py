"""The paths of the Certificate System, wire-compatible: what publishing CAs and scripts already call.

With `xml=true` an answer is XML; without, a page with the same facts. A browser is sent on to the agent pages, which
show more. What differs from the original, and why, stands in docs/operate/certificate-system.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.agent.certsystem import publishing
from vouchd.agent.certsystem.forms import form_fields
from vouchd.agent.certsystem.xml import (
    Facts,
    Result,
    failed,
    java_date,
    page_response,
    wants_html,
    wants_xml,
    xml_response,
)
from vouchd.agent.routes import Route
from vouchd.api.authorities import NewAuthority
from vouchd.api.four_eyes import require_second
from vouchd.api.operation import Access, Call, operation_of
from vouchd.api.services import Services
from vouchd.core.facts import Caller, CertStatus, Epoch
from vouchd.core.key_history import issuer_of
from vouchd.ee.status_documents import GET_STATUS, STATUS, XML, status_xml
from vouchd.errors import ConfigError, NotFound, VouchdError
from vouchd.pkix import certs, pem
from vouchd.pkix.pem import leaf, read_bundle, read_leaf
from vouchd.pkix.scope import COMPLETE_SCOPE
from vouchd.service.authorities import AuthoritySummary
from vouchd.service.permission import Action
from vouchd.threads import in_thread

AGENT = "/ocsp/agent/ocsp"
UNKNOWN = "UNKNOWN"

Fields = Mapping[str, bytes]
# Where the agent pages show the same.
LIST_PAGE, SERVICE_PAGE = "/agent/authorities", "/agent/service"


def routes(services: Services) -> tuple[Route, ...]:
    """The Certificate System's endpoints."""
    own = CertificateSystem(services)

    def agent(method: str, name: str, action: Action) -> Route:
        return Route(method, f"{AGENT}/{name}", action, getattr(own, _METHODS[name]), show_error=_show_error)

    return (
        agent("GET", "listCAs", Action.LIST_AUTHORITIES),
        agent("POST", "listCAs", Action.LIST_AUTHORITIES),
        agent("POST", "addCA", Action.ADD_AUTHORITY),
        agent("POST", "removeCA", Action.REMOVE_AUTHORITY),
        agent("GET", "checkCert", Action.CHECK_STATUS),
        agent("POST", "checkCert", Action.CHECK_STATUS),
        agent("GET", "getOCSPInfo", Action.READ_STATISTICS),
        agent("POST", "getOCSPInfo", Action.READ_STATISTICS),
        Route("GET", GET_STATUS, Access.PUBLIC, get_status),
        *publishing.routes(services, f"{AGENT}/addCRL"),
    )


_METHODS = {
    "listCAs": "list_cas",
    "addCA": "add_ca",
    "removeCA": "remove_ca",
    "checkCert": "check_cert",
    "getOCSPInfo": "get_info",
}


def _show_error(request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """The error in the form that was asked for, as far as that can be seen before the body is read.

    What the service refuses is HTTP 200 as in the original; who is not let in gets the HTTP status that says so.
    """
    return (xml_response if not wants_html(request) else page_response)(failed(str(error)), status)


async def get_status(request: web.Request, _caller: Caller) -> web.StreamResponse:
    """That the instance runs; for anyone. XML, or JSON where the client asks for it."""
    if "application/json" in request.headers.get("Accept", ""):
        return web.json_response({"Response": dict(STATUS)})
    return web.Response(body=status_xml(), content_type=XML)


class CertificateSystem:
    """The handlers; each answers with the facts and names of the servlet of that name."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_cas(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Each CA with the facts of its CRL."""
        fields = await form_fields(request)
        if not wants_xml(fields) and wants_html(request):
            raise web.HTTPSeeOther(LIST_PAGE)
        summaries = await in_thread(lambda: self._services.authorities.summaries(caller))
        counts = await _requests_by_ca(self._services)
        subjects = Counter(summary.subject for summary in summaries)
        records = [
            _listed(summary, counts.get(summary.authority.id, 0), alone=subjects[summary.subject] == 1)
            for summary in summaries
        ]
        held_back = sum(len(summary.quarantined) for summary in summaries)
        return _rendered(fields, Result(header={"stateCount": held_back}, records=records))

    async def add_ca(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Answer for the CA in `cert`: one certificate, or a chain whose last CA is meant."""
        fields = await form_fields(request)

        def add() -> None:
            certificate_der = _leaf_ca(fields.get("cert", b""))
            self._require_second("authorities.add", caller, {}, NewAuthority(certificate=pem.as_pem(certificate_der)))
            self._services.authorities.add(certificate_der, caller)

        return await self._done(fields, add)

    async def remove_ca(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Answer no more for the CA that `caID` names as listCAs does."""
        fields = await form_fields(request)
        reference = fields.get("caID", b"").decode("utf-8", "replace").strip()

        def remove() -> None:
            if not reference:
                raise ConfigError("Missing CA DN Id.")
            self._require_second("authorities.remove", caller, {"authority": reference})
            self._services.authorities.remove(reference, caller)

        return await self._done(fields, remove)

    async def check_cert(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The status of the certificate in `cert`, as it is answered now."""
        fields = await form_fields(request)
        try:
            header = await in_thread(lambda: self._checked(fields.get("cert", b""), caller))
        except VouchdError as error:
            return _rendered(fields, failed(str(error)))
        return _rendered(fields, Result(header=header))

    async def get_info(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """Counts since the start, in milliseconds and bytes."""
        fields = await form_fields(request)
        if not wants_xml(fields) and wants_html(request):
            raise web.HTTPSeeOther(SERVICE_PAGE)
        counters = (await in_thread(self._services.running.snapshot)).get("counters", {})
        requests = sum(counters.get("answers", {}).values())
        sign_ms = round(counters.get("signature_seconds", 0.0) * 1000)
        header: Facts = {
            "numReq": requests,
            "totalSec": sign_ms,
            "totalSignSec": sign_ms,
            "totalLookupSec": 0,
            "totalData": counters.get("sent_bytes", 0),
            "ReqSec": requests * 1000 // sign_ms if sign_ms else 0,
        }
        return _rendered(fields, Result(header=header))

    def _require_second(self, name: str, caller: Caller, path: Mapping[str, str], body: object = None) -> None:
        """Return unless the operation of that name waits for a second agent. Raises: ApprovalPending."""
        services, operation = self._services, operation_of(name)
        query = operation.query()
        call = Call(lambda: services, services.layout, services.running, caller, path, query, body, caller.origin)
        require_second(name, operation.access, call)

    async def _done(self, fields: Fields, act: Callable[[], None]) -> web.StreamResponse:
        """The empty result when `act` was done and is served, else the page that says why not."""
        try:
            await in_thread(act)
        except VouchdError as error:
            return _rendered(fields, failed(str(error)))
        await in_thread(self._services.running.settle)
        return _rendered(fields, Result())

    def _checked(self, data: bytes, caller: Caller) -> Facts:
        self._services.permission.allow(caller, Action.CHECK_STATUS, "certificate")
        certificate = _single(data)
        header = {
            "serialno": hex(certificate.serial_number),
            "subjectDN": certificate.subject.rfc4514_string(),
            "issuerDN": certificate.issuer.rfc4514_string(),
        }
        issuer = issuer_of(certificate, self._services.store.authorities_of(certs.issuer_der(certificate)))
        if issuer is None:
            raise NotFound("Record not found")
        now, serial = self._services.clock.now(), certs.serial_octets(certificate)
        answer = self._services.running.explain(issuer.authority.id, serial, now, issuer.key).answer
        known = answer in {CertStatus.GOOD, CertStatus.REVOKED}
        return {"status": answer if known else CertStatus.UNKNOWN.value, **header}


def _rendered(fields: Fields, result: Result) -> web.Response:
    return xml_response(result) if wants_xml(fields) else page_response(result)


async def _requests_by_ca(services: Services) -> dict[str, int]:
    """Answers since the start, by authority id."""
    counters = (await in_thread(services.running.snapshot)).get("counters", {})
    counts = counters.get("by_authority", {})
    return counts if isinstance(counts, dict) else {}


def _single(data: bytes) -> x509.Certificate:
    if not data.strip():
        raise ConfigError("Missing Certificate.")
    try:
        return read_leaf(data)
    except ValueError as error:
        raise ConfigError(f"Error encountered while decoding certificate: {error}") from error


def _leaf_ca(data: bytes) -> bytes:
    """DER of the one certificate that issued no other one in `data`."""
    if not data.strip():
        raise ConfigError("Missing CA Certificate.")
    try:
        certificates = read_bundle(data).certificates
    except ValueError as error:
        raise ConfigError(f"Error encountered while decoding certificate: {error}") from error
    try:
        return leaf(certificates).public_bytes(Encoding.DER)
    except ValueError as error:
        raise ConfigError(str(error), hint="send one CA's chain at a time") from error


def _listed(summary: AuthoritySummary, requests: int, *, alone: bool) -> Facts:
    """The record of one CA; its Id is its subject, or where it is not alone with that, what tells them apart."""
    epoch = _shown(summary.epochs)
    if epoch is None:
        crl: Facts = {"NextUpdate": UNKNOWN, "NumRevoked": UNKNOWN, "ThisUpdate": UNKNOWN, "CRLNumber": 0}
    else:
        number, next_update = epoch.newest.crl_number, epoch.next_update
        crl = {
            "NextUpdate": UNKNOWN if next_update is None else java_date(next_update),
            "NumRevoked": summary.entry_count,
            "ThisUpdate": java_date(epoch.this_update),
            "CRLNumber": UNKNOWN if number is None else number,
        }
    return {
        "NextUpdate": crl["NextUpdate"],
        "ReqCount": requests,
        "Id": summary.subject if alone else summary.authority.id,
        "NumRevoked": crl["NumRevoked"],
        "ThisUpdate": crl["ThisUpdate"],
        "CRLNumber": crl["CRLNumber"],
    }


def _shown(epochs: Sequence[Epoch]) -> Epoch | None:
    """The issuing point whose dates stand for the CA: the complete CRL, else the newest one."""
    return max(
        epochs, key=lambda epoch: (epoch.issuing_point.scope_id == COMPLETE_SCOPE, epoch.this_update), default=None
    )
