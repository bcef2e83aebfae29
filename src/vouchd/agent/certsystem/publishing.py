"""addCRL: how a CA of the Certificate System publishes (its OCSPPublisher), and how its scripts bring a CRL.

The publisher reads lines until the connection ends, looks for `status=` and `error=`, and goes by nothing else: the
HTTP status is ignored, and a connection that is kept open keeps the CA waiting. So every answer ends its connection.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from vouchd.agent.certsystem.forms import CRLForm
from vouchd.agent.certsystem.xml import Result, failed, page_response, wants_html, wants_xml, xml_response
from vouchd.agent.routes import Route, intake_of
from vouchd.api.crls import take_crl
from vouchd.api.operation import PENDING_STATUS
from vouchd.api.services import Services
from vouchd.client.publishing import FOR_NOW, STALE, UNSERVED
from vouchd.core.facts import Caller
from vouchd.errors import (
    ClientError,
    ConfigError,
    CRLStale,
    StoreConflict,
    StoreUnavailable,
    VerificationError,
    VouchdError,
)
from vouchd.service.permission import Action
from vouchd.threads import in_thread

# The store is away or another was quicker; or the master is away to which this member hands CRLs on.
_PASSING = (StoreUnavailable, StoreConflict, ClientError)


def routes(services: Services, path: str) -> tuple[Route, ...]:
    """The one route of publishing."""

    async def add_crl(request: web.Request, caller: Caller) -> web.StreamResponse:
        fields, upload = await intake_of(request, CRLForm).read(request)
        origin = f"addCRL {caller.origin}"
        try:
            crl = upload.crl
            if crl.is_blank:
                raise ConfigError("Missing CRL.")
            epochs = await in_thread(lambda: take_crl(services, crl, origin, caller))
        except VouchdError as error:
            return _closing(_refusal(fields, error))
        # What the CA publishes next is not answered from the CRL before.
        served = await in_thread(lambda: services.running.settle(epochs=epochs))
        return _closing(_acceptance(fields, served=served))

    limit = services.settings.agent.max_body_bytes
    route = Route("POST", path, Action.ADD_CRL, add_crl, limit, _show_error, lambda: CRLForm("noui", "xml"))
    return (route,)


def _acceptance(fields: Mapping[str, bytes], *, served: bool) -> web.Response:
    """The CRL is taken; where not every worker answers from it yet, HTTP 202 and a fact of its own say so."""
    status = 200 if served else PENDING_STATUS
    if fields.get("noui") == b"true":
        return _lines("status=0" if served else f"status=0\n{UNSERVED}", status)
    return _shown(fields, Result() if served else Result(fixed={"served": "false"}), status)


def _refusal(fields: Mapping[str, bytes], error: VouchdError) -> web.Response:
    status = 503 if _passes(error) else 200
    if fields.get("noui") == b"true":
        return _lines(_failure(error), status)
    return _shown(fields, failed(_message(error)), status)


def _shown(fields: Mapping[str, bytes], result: Result, status: int) -> web.Response:
    return xml_response(result, status) if wants_xml(fields) else page_response(result, status)


def _passes(error: VouchdError) -> bool:
    """Whether the same CRL may be taken a moment later."""
    return isinstance(error, _PASSING) and not isinstance(error, VerificationError)


def _message(error: VouchdError) -> str:
    text = str(error)
    if isinstance(error, CRLStale):
        text = f"{STALE}: {error}"
    elif _passes(error):
        text = f"{FOR_NOW}: {error}"
    return " ".join(text.split())


def _failure(error: VouchdError) -> str:
    return f"status=1\nerror={_message(error)}"


def _lines(text: str, status: int = 200) -> web.Response:
    return web.Response(body=f"{text}\n".encode(), content_type="application/text", status=status)


def _show_error(request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
    """An error before the form was read: a publisher must see it too, and only a browser asks for HTML."""
    if wants_html(request):
        return _closing(page_response(failed(str(error)), status))
    return _closing(_lines(_failure(error), status))


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    response.headers["Connection"] = "close"
    return response
