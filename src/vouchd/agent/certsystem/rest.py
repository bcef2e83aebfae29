"""The Certificate System's REST addresses as far as its `pki` reads with them: info, login, users, groups, self tests.

`pki ocsp-user-find`, `ocsp-user-show`, `ocsp-user-cert-find`, `ocsp-user-membership-find`, `ocsp-group-find`,
`ocsp-group-show`, `ocsp-group-member-find`, `ocsp-selftest-find` and `ocsp-selftest-show` work as there. Changes are
made with `vouchd` or its own REST API. A thing, a list of things and an error are written in XML unless the client asks
for JSON, which is all that the newer addresses (`/ocsp/v2`) know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web
from cryptography import x509

from vouchd.agent.routes import Route
from vouchd.api.operation import Access
from vouchd.api.services import Services
from vouchd.core.facts import Caller, Group, User
from vouchd.ee.status_documents import INFO, PRODUCT_FACTS, info_xml
from vouchd.errors import BadInput, NotFound, VouchdError
from vouchd.service.permission import Action
from vouchd.service.selftests import SelfTestInfo
from vouchd.threads import in_thread

ROOTS = ("/ocsp/rest", "/ocsp/v2")
_PAGE = 20  # entries, where the client names no number
_MAX_PAGE = 1000

Handler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
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


def routes(services: Services) -> tuple[Route, ...]:
    """All of them, under the older and the newer address."""
    own = CertificateSystemREST(services)
    table: Mapping[str, tuple[Action | Access, Handler]] = {
        "/account/login": (Access.IDENTIFIED, own.login),
        "/account/logout": (Access.IDENTIFIED, own.logout),
        "/admin/users": (Action.LIST_USERS, own.users),
        "/admin/users/{user}": (Action.LIST_USERS, own.user),
        "/admin/users/{user}/certs": (Action.LIST_USERS, own.user_certificates),
        "/admin/users/{user}/memberships": (Action.LIST_USERS, own.memberships),
        "/admin/groups": (Action.LIST_USERS, own.groups),
        "/admin/groups/{group}": (Action.LIST_USERS, own.group),
        "/admin/groups/{group}/members": (Action.LIST_USERS, own.members),
        "/selftests": (Action.LIST_SELFTESTS, own.self_tests),
        "/selftests/{test}": (Action.LIST_SELFTESTS, own.self_test),
    }
    return (
        *(Route("GET", path, Access.PUBLIC, info) for path in INFO),
        *(
            Route("GET", root + path, access, handler, show_error=error_response)
            for root in ROOTS
            for path, (access, handler) in table.items()
        ),
    )


async def info(request: web.Request, _caller: Caller) -> web.StreamResponse:
    """What runs here; asked before the client logs in."""
    if "application/json" in request.headers.get("Accept", ""):
        return web.json_response({"Attributes": {"Attribute": []}, **PRODUCT_FACTS})
    return web.Response(body=info_xml(), content_type="application/xml")


@dataclass(frozen=True, slots=True)
class CertificateSystemREST:
    """The handlers; nothing is kept between two requests, so logging in and out is a matter of form."""

    services: Services

    async def login(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Who the caller is."""
        facts: dict[str, Fact] = {"FullName": caller.name, "Roles": {"Role": sorted(caller.groups)}}
        return response(request, Resource("Account", caller.name, facts))

    async def logout(self, _request: web.Request, _caller: Caller) -> web.StreamResponse:
        """Nothing: there is no session."""
        return web.Response(status=204)

    async def users(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The users whose id or name holds the filter."""
        users = await in_thread(lambda: self.services.users.users(caller))
        word = request.query.get("filter", "").lower()
        matching = [one for one in users if word in one.id.lower() or word in one.full_name.lower()]
        named = [
            Resource("User", one.id, {"FullName": one.full_name, "UserID": one.id}, _link(request, "users", one.id))
            for one in matching
        ]
        return _listing(request, Listing("Users", "userData", named))

    async def user(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """One user."""
        user = await self._user(request, caller)
        facts = {
            "FullName": user.full_name,
            "State": "1" if user.enabled else "0",
            "Type": "adminType" if Group.ADMINISTRATORS in user.groups else "agentType",
            "UserID": user.id,
        }
        return response(request, Resource("User", user.id, facts, _link(request, "users", user.id)))

    async def user_certificates(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The certificates of a user."""
        user = await self._user(request, caller)
        named = [_certificate(request, user, der) for der in user.certificates]
        return _listing(request, Listing("UserCerts", "userCertData", named))

    async def memberships(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The groups of a user."""
        user = await self._user(request, caller)
        named = [
            Resource("Membership", name, {"UserID": user.id}, _link(request, "users", user.id, "memberships", name))
            for name in sorted(user.groups)
        ]
        return _listing(request, Listing("UserMemberships", "userMembershipData", named))

    async def groups(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """The groups whose name holds the filter."""
        word = request.query.get("filter", "").lower()
        named = [_group(request, group) for group in Group if word in group.lower()]
        return _listing(request, Listing("Groups", "groupData", named))

    async def group(self, request: web.Request, _caller: Caller) -> web.StreamResponse:
        """One group."""
        return response(request, _group(request, _named_group(request)))

    async def members(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The users of a group."""
        group = _named_group(request)
        users = await in_thread(lambda: self.services.users.users(caller))
        named = [
            Resource("Member", one.id, {"GroupID": group}, _link(request, "groups", group, "members", one.id))
            for one in users
            if group in one.groups
        ]
        return _listing(request, Listing("GroupMembers", "groupMemberData", named))

    async def self_tests(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """The self tests whose name holds the filter."""
        word = request.query.get("filter", "").lower()
        named = [_self_test(request, one) for one in await self._tests(caller) if word in one.name.lower()]
        return _listing(request, Listing("SelfTests", "selfTestData", named))

    async def self_test(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """One self test."""
        name = request.match_info["test"]
        for one in await self._tests(caller):
            if one.name == name:
                return response(request, _self_test(request, one))
        raise NotFound(f"Self test {name[:100]} not found")

    async def _user(self, request: web.Request, caller: Caller) -> User:
        return await in_thread(lambda: self.services.users.find(request.match_info["user"], caller))

    async def _tests(self, caller: Caller) -> Iterable[SelfTestInfo]:
        return await in_thread(lambda: self.services.self_tests().tests(caller))


def _certificate(request: web.Request, user: User, der: bytes) -> Resource:
    certificate = x509.load_der_x509_certificate(der)
    version, serial = certificate.version.value, certificate.serial_number
    issuer, subject = certificate.issuer.rfc4514_string(), certificate.subject.rfc4514_string()
    identifier = f"{version};{serial};{issuer};{subject}"
    facts: dict[str, Fact] = {"IssuerDN": issuer, "SerialNumber": hex(serial), "SubjectDN": subject, "Version": version}
    return Resource("Cert", identifier, facts, _link(request, "users", user.id, "certs", identifier))


def _group(request: web.Request, group: Group) -> Resource:
    return Resource("Group", group, {"GroupID": group}, _link(request, "groups", group))


def _named_group(request: web.Request) -> Group:
    """The group in the path, in which the Certificate System's own links have `+` for a blank."""
    name = request.match_info["group"].replace("+", " ")
    try:
        return Group(name)
    except ValueError:
        raise NotFound(f"Group {name[:100]} not found") from None


def _self_test(request: web.Request, one: SelfTestInfo) -> Resource:
    facts = {
        "CriticalAtStartup": one.startup,
        "CriticalOnDemand": one.on_demand,
        "EnabledAtStartup": one.startup is not None,
        "EnabledOnDemand": one.on_demand is not None,
    }
    root = next(root for root in ROOTS if request.path.startswith(root))
    return Resource("SelfTest", one.name, facts, f"{request.url.origin()}{root}/selftests/{quote_plus(one.name)}")


def _link(request: web.Request, *path: str) -> str:
    root = next(root for root in ROOTS if request.path.startswith(root))
    return f"{request.url.origin()}{root}/admin/{'/'.join(map(quote_plus, path))}"


def _listing(request: web.Request, listing: Listing) -> web.StreamResponse:
    """The entries that `start` and `size` ask for, and how many there are in all."""
    start, size = _number(request, "start", 0), _number(request, "size", _PAGE)
    return listing_response(request, listing, slice(start, start + min(size, _MAX_PAGE)))


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadInput(f"{name} takes a number")
    return int(text)


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
