"""The agent pages put together: handlers -> routes."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from vouchd.agent.pages import menu, static
from vouchd.agent.pages.alerts import AlertPages
from vouchd.agent.pages.approvals import ApprovalPages
from vouchd.agent.pages.auditlog import AuditPages
from vouchd.agent.pages.authorities import AuthorityPages, MendingPages
from vouchd.agent.pages.certificates import CertificatePages
from vouchd.agent.pages.checking import CheckPages
from vouchd.agent.pages.clones import ClonePages, MemberPages
from vouchd.agent.pages.crls import CRLHistoryPages, CRLPages, LowerNumberPages, Staging
from vouchd.agent.pages.forced_promotion import ForcedPromotionPage
from vouchd.agent.pages.forms import FormTokens
from vouchd.agent.pages.history import History
from vouchd.agent.pages.rendering import Instance, Pages, see_other
from vouchd.agent.pages.selftests import SelfTestPages
from vouchd.agent.pages.service import ServicePages
from vouchd.agent.pages.settings import SettingsPages
from vouchd.agent.pages.signers import SignerPages
from vouchd.agent.pages.sources import SourcePages
from vouchd.agent.pages.tokens import TokenPages
from vouchd.agent.pages.users import UserPages
from vouchd.agent.routes import Handler, Route
from vouchd.api.operation import Access
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import NotFound
from vouchd.service.permission import Action
from vouchd.threads import in_thread

_CERTIFICATE_BODY_BYTES = 4 << 20
_ONE = menu.AUTHORITIES + "/{id:[0-9a-f]{64}}"
_USER = menu.USERS + "/{id:[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}}"
_SIGNER = menu.SIGNERS + "/{nickname:[A-Za-z0-9_-]{1,64}}"
_MEMBER = menu.CLONES + r"/{member:[A-Za-z0-9._:\[\]-]{1,300}}"
_APPROVAL = menu.APPROVALS + "/{approval:[0-9a-z]{4,32}}"
_SOURCE = menu.SOURCES + "/{name:[A-Za-z0-9_-]{1,64}}"
_POINT = _ONE + "/points/{scope:[0-9a-z]{1,64}}"
_QUARANTINED = _ONE + "/quarantine/{scope:[0-9a-z]{1,64}}"


class Page(Protocol):
    """Makes the route of a page: errors are shown as pages too."""

    def __call__(self, method: str, path: str, access: Action | Access, handler: Handler, limit: int = ...) -> Route:
        """The route; `limit` is the largest body in bytes."""


def routes(services: Services) -> tuple[Route, ...]:
    """All pages, each under the right of what it does."""
    instance = Instance.of(services.layout, services.settings)
    pages = Pages.of(services.permission, FormTokens(), services.clock, instance)

    def page(method: str, path: str, access: Action | Access, handler: Handler, limit: int = 1 << 16) -> Route:
        return Route(method, path, access, handler, max_body_bytes=limit, show_error=pages.error)

    async def home(_: web.Request, caller: Caller) -> web.StreamResponse:
        entries = menu.entries(services.permission, caller)
        if entries:
            return see_other(entries[0].path)
        return pages.page(_, caller, "nothing.html")

    async def to_menu(_: web.Request, _caller: Caller) -> web.StreamResponse:
        return see_other(menu.ROOT)

    async def missing(_: web.Request, caller: Caller) -> web.StreamResponse:
        raise NotFound(f"there is no such page, {caller.name}", hint="the start page links to all there are")

    return (
        *(Route("GET", path, Access.PUBLIC, to_menu) for path in menu.KNOWN_ADDRESSES),
        page("GET", "/", Access.IDENTIFIED, home),
        page("GET", menu.ROOT, Access.IDENTIFIED, home),
        Route("GET", static.PATH, Access.PUBLIC, static.static),
        *_authority_pages(AuthorityPages(services, pages), page),
        *_mending_pages(MendingPages(services, pages), page),
        *_crl_pages(services, pages, page),
        *_other_pages(services, pages, page),
        *_user_pages(UserPages(services, pages), page),
        *_signer_pages(SignerPages(services, pages), page),
        *_approval_pages(ApprovalPages(services, pages), page),
        *_source_pages(SourcePages(services, pages), page),
        *_member_pages(MemberPages(services, pages), ForcedPromotionPage(services, pages), page),
        *_settings_pages(SettingsPages(services, pages), page),
        page("GET", "/agent/{rest:.*}", Access.IDENTIFIED, missing),
    )


def _authority_pages(authorities: AuthorityPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.AUTHORITIES, Action.LIST_AUTHORITIES, authorities.listed),
        page("GET", _ONE, Action.LIST_AUTHORITIES, authorities.shown),
        page("GET", menu.ADD_AUTHORITY, Action.ADD_AUTHORITY, authorities.adding),
        page("POST", menu.ADD_AUTHORITY, Action.ADD_AUTHORITY, authorities.add, _CERTIFICATE_BODY_BYTES),
        page("POST", _ONE + "/remove", Action.REMOVE_AUTHORITY, authorities.remove),
        page("GET", _QUARANTINED + "/release", Action.RELEASE_CRL, authorities.releasing),
        page("POST", _QUARANTINED + "/release", Action.RELEASE_CRL, authorities.release),
        page("POST", _QUARANTINED + "/drop", Action.DROP_CRL, authorities.drop),
    )


def _mending_pages(mending: MendingPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", _POINT + "/retire", Action.RETIRE_POINT, mending.retiring),
        page("POST", _POINT + "/retire", Action.RETIRE_POINT, mending.retire),
        page("POST", _POINT + "/restore", Action.RETIRE_POINT, mending.restore),
        page("POST", _ONE + "/certificates/remove", Action.REMOVE_AUTHORITY, mending.remove_certificate),
        page("POST", _ONE + "/compromise", Action.DECLARE_COMPROMISED, mending.declare_compromised),
        page("POST", _ONE + "/compromise/withdraw", Action.DECLARE_COMPROMISED, mending.withdraw_compromised),
    )


def _crl_pages(services: Services, pages: Pages, page: Page) -> tuple[Route, ...]:
    limit = services.settings.agent.max_body_bytes
    crls = CRLPages(services, pages, Staging(limit))
    history = CRLHistoryPages(services, pages)
    lower = LowerNumberPages(services, pages, Staging(limit))
    return (
        page("GET", menu.ADD_CRL, Action.ADD_CRL, crls.adding),
        page("POST", menu.ADD_CRL, Action.ADD_CRL, crls.preview, limit),
        page("POST", menu.ADD_CRL + "/confirm", Action.ADD_CRL, crls.commit),
        page("GET", _POINT + "/history", Action.READ_CRL, history.listed),
        page("GET", _POINT + "/difference", Action.READ_CRL, history.compared),
        page("GET", menu.LOWER_NUMBER, Action.LOWER_NUMBER, lower.giving),
        page("POST", menu.LOWER_NUMBER, Action.LOWER_NUMBER, lower.preview, limit),
        page("POST", menu.LOWER_NUMBER + "/confirm", Action.LOWER_NUMBER, lower.commit),
    )


def _signer_pages(signers: SignerPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.SIGNERS, Action.LIST_CERTIFICATES, signers.listed),
        page("POST", menu.SIGNERS, Action.CHANGE_CERTIFICATES, signers.add),
        page("POST", _SIGNER + "/request", Action.CHANGE_CERTIFICATES, signers.request),
        page("POST", _SIGNER + "/install", Action.CHANGE_CERTIFICATES, signers.install, _CERTIFICATE_BODY_BYTES),
        page("POST", _SIGNER + "/switch", Action.CHANGE_CERTIFICATES, signers.switch),
        page("POST", _SIGNER + "/retire", Action.CHANGE_CERTIFICATES, signers.retire),
    )


def _approval_pages(approvals: ApprovalPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.APPROVALS, Action.LIST_APPROVALS, approvals.listed),
        page("POST", _APPROVAL + "/approve", Action.DECIDE_APPROVAL, approvals.approve),
        page("POST", _APPROVAL + "/deny", Action.DECIDE_APPROVAL, approvals.deny),
    )


def _source_pages(sources: SourcePages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.SOURCES, Action.READ_STATISTICS, sources.listed),
        page("POST", menu.SOURCES, Action.CHANGE_CONFIGURATION, sources.add),
        page("POST", _SOURCE + "/paused", Action.CHANGE_CONFIGURATION, sources.set_paused),
        page("POST", _SOURCE + "/remove", Action.CHANGE_CONFIGURATION, sources.remove),
        page("POST", _SOURCE + "/fetch", Action.ADD_CRL, sources.fetch),
    )


def _member_pages(members: MemberPages, promotion: ForcedPromotionPage, page: Page) -> tuple[Route, ...]:
    return (
        page("POST", menu.CLONES + "/tokens", Action.ISSUE_TOKEN, members.invite),
        page("POST", menu.CLONES + "/tokens/void", Action.ISSUE_TOKEN, members.void),
        page("POST", menu.CLONES + "/renewal", Action.CHANGE_DOMAIN, members.renew),
        page("GET", menu.FORCED_PROMOTION, Action.READ_DOMAIN, promotion.shown),
        page("GET", menu.FORCED_PROMOTION + "/statement", Action.READ_DOMAIN, promotion.statement),
        page("POST", menu.FORCED_PROMOTION, Action.MOVE_ROLE, promotion.carry_out),
        page("GET", _MEMBER, Action.READ_DOMAIN, members.shown),
        page("POST", _MEMBER + "/promote", Action.MOVE_ROLE, members.promote),
        page("POST", _MEMBER + "/remove", Action.CHANGE_DOMAIN, members.remove),
    )


def _settings_pages(settings: SettingsPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.SETTINGS, Action.READ_CONFIGURATION, settings.listed),
        page("GET", menu.SETTINGS + "/change", Action.CHANGE_CONFIGURATION, settings.changing),
        page("POST", menu.SETTINGS + "/change", Action.CHANGE_CONFIGURATION, settings.preview),
        page("POST", menu.SETTINGS + "/change/confirm", Action.CHANGE_CONFIGURATION, settings.commit),
        page("POST", menu.SETTINGS + "/restart", Action.RESTART, settings.restart),
    )


def _user_pages(users: UserPages, page: Page) -> tuple[Route, ...]:
    return (
        page("GET", menu.USERS, Action.LIST_USERS, users.listed),
        page("POST", menu.USERS, Action.ADD_USER, users.add, _CERTIFICATE_BODY_BYTES),
        page("GET", _USER, Action.LIST_USERS, users.shown),
        page("POST", _USER + "/groups", Action.CHANGE_USER, users.set_groups),
        page("POST", _USER + "/enabled", Action.CHANGE_USER, users.set_enabled),
        page("POST", _USER + "/certificates", Action.CHANGE_USER, users.add_certificate, _CERTIFICATE_BODY_BYTES),
        page("POST", _USER + "/certificates/remove", Action.CHANGE_USER, users.remove_certificate),
        page("POST", _USER + "/remove", Action.REMOVE_USER, users.remove),
    )


def _other_pages(services: Services, pages: Pages, page: Page) -> tuple[Route, ...]:
    checking = CheckPages(services, pages)
    history = History(lambda: in_thread(services.running.snapshot), services.clock)
    history.start()
    clones, tests = ClonePages(services, pages), SelfTestPages(services, pages)
    alerts, tokens = AlertPages(services, pages), TokenPages(services, pages)
    return (
        page("GET", menu.CHECK, Action.CHECK_STATUS, checking.asking),
        page("POST", menu.CHECK, Action.CHECK_STATUS, checking.check, _CERTIFICATE_BODY_BYTES),
        page("GET", menu.SERVICE, Action.READ_STATISTICS, ServicePages(services, pages, history).shown),
        page("GET", menu.CERTIFICATES, Action.LIST_CERTIFICATES, CertificatePages(services, pages).listed),
        page("GET", menu.CLONES, Action.READ_DOMAIN, clones.listed),
        page("POST", menu.CLONES, Action.VERIFY_MEMBERS, clones.compare),
        page("GET", menu.ALERTS, Action.READ_STATISTICS, alerts.listed),
        page("POST", menu.ALERTS, Action.TEST_ALERTS, alerts.test),
        page("GET", menu.AUDIT, Action.READ_AUDIT, AuditPages(services, pages).listed),
        page("GET", menu.SELF_TESTS, Action.LIST_SELFTESTS, tests.listed),
        page("POST", menu.SELF_TESTS, Action.RUN_SELFTESTS, tests.run),
        page("GET", menu.TOKENS, Action.LIST_CERTIFICATES, tokens.listed),
        page("POST", menu.TOKENS, Action.TEST_TOKENS, tokens.test),
    )
