"""How the Certificate System's REST API writes a thing, a list of things and an error: in XML and in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web

from vouchd.errors import VouchdError

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_INSTANCE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
# Its clients raise the exception that is named.
_EXCEPTIONS = {
    400: "BadRequestException",
    401: "UnauthorizedException",
    403: "ForbiddenException",
    404: "ResourceNotFoundException",
}

Fact = str | bool | int | Mapping[str, Sequence[str]] | None


@dataclass(frozen=True, slots=True)
class Resource:
    """A thing with its facts by their names; a fact that is None is not there in XML, and null in JSON."""

    kind: str
    id: str
    facts: Mapping[str, Fact]
    link: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Things of one kind; `type` is what XML calls each of them."""

    kind: str
    type: str
    entries: Sequence[Resource]


def response(request: web.Request, resource: Resource) -> web.Response:
    """One thing."""
    if _wants_json(request):
        return web.json_response(_json(resource))
    return _xml(f"<{resource.kind} id={quoteattr(resource.id)}>{_inner(resource)}</{resource.kind}>")


def listing_response(request: web.Request, listing: Listing, shown: slice) -> web.Response:
    """Some of the things, and how many there are in all.

    In either form they stand there twice: older and newer clients look for them under different names.
    """
    entries = listing.entries[shown]
    total = len(listing.entries)
    if _wants_json(request):
        written = [_json(one) for one in entries]
        older = {entries[0].kind: written} if entries else {}
        return web.json_response({"total": total, "entries": written, **older, "Link": []})
    newer = "".join(
        f"<entries {_INSTANCE} xsi:type={quoteattr(listing.type)} id={quoteattr(one.id)}>{_inner(one)}</entries>"
        for one in entries
    )
    older_xml = "".join(f"<{one.kind} id={quoteattr(one.id)}>{_inner(one)}</{one.kind}>" for one in entries)
    return _xml(f"<{listing.kind}>{newer}<total>{total}</total>{older_xml}</{listing.kind}>")


def error_response(request: web.Request, error: VouchdError, status: int) -> web.Response:
    """An error as its clients read it."""
    name = f"com.netscape.certsrv.base.{_EXCEPTIONS.get(status, 'PKIException')}"
    if _wants_json(request):
        facts = {"Attributes": {"Attribute": []}, "ClassName": name, "Code": status, "Message": str(error)}
        return web.json_response(facts, status=status)
    inner = f"<ClassName>{name}</ClassName><Code>{status}</Code><Message>{escape(str(error))}</Message>"
    return _xml(f"<PKIException><Attributes/>{inner}</PKIException>", status)


def _wants_json(request: web.Request) -> bool:
    return request.path.startswith("/ocsp/v2/") or "application/json" in request.headers.get("Accept", "")


def _json(resource: Resource) -> dict[str, Any]:
    link = {"Link": {"href": resource.link, "rel": "self"}} if resource.link else {}
    return {"id": resource.id, **resource.facts, **link, "Attributes": {"Attribute": []}}


def _inner(resource: Resource) -> str:
    """The elements of a thing, in the order of their names, as its clients' schema has them."""
    parts = {name: _element(name, value) for name, value in resource.facts.items() if value is not None}
    if resource.link:
        parts["Link"] = f'<Link href={quoteattr(resource.link)} rel="self"/>'
    return "<Attributes/>" + "".join(parts[name] for name in sorted(parts))


def _element(name: str, value: Fact) -> str:
    if isinstance(value, Mapping):
        inner = "".join(_element(one, text) for one, texts in value.items() for text in texts)
    else:
        inner = escape(str(value).lower() if isinstance(value, bool) else str(value))
    return f"<{name}>{inner}</{name}>"


def _xml(root: str, status: int = 200) -> web.Response:
    return web.Response(body=(_DECLARATION + root).encode(), content_type="application/xml", status=status)
