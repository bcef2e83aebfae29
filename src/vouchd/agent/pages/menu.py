"""The menu of the agent pages: the Certificate System's entries in its order, then ours."""

from __future__ import annotations

from dataclasses import dataclass

from vouchd.core.facts import Caller
from vouchd.service.permission import Action, Permission

ROOT = "/ocsp/agent/ocsp/"
# What the Certificate System's guides print, and what people have in their bookmarks.
KNOWN_ADDRESSES = ("/ocsp", "/ocsp/", "/ocsp/services", "/ocsp/agent", "/ocsp/agent/", "/ocsp/agent/ocsp")
AUTHORITIES = "/agent/authorities"
ADD_AUTHORITY = "/agent/add-authority"
ADD_CRL = "/agent/add-crl"
LOWER_NUMBER = "/agent/lower-crl-number"
CHECK = "/agent/check-certificate"
SERVICE = "/agent/service"
CERTIFICATES = "/agent/certificates"
SIGNERS = "/agent/signers"
TOKENS = "/agent/tokens"
SOURCES = "/agent/sources"
SETTINGS = "/agent/settings"
ALERTS = "/agent/alerts"
AUDIT = "/agent/audit"
SELF_TESTS = "/agent/self-tests"
USERS = "/agent/users"
CLONES = "/agent/clones"
APPROVALS = "/agent/approvals"
FORCED_PROMOTION = CLONES + "/forced-promotion"

SECTIONS = ("Certificate status", "This instance")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu and the right that its page needs."""

    title: str
    path: str
    action: Action
    icon: str
    section: str


MENU = (
    Entry("List Certificate Authorities", AUTHORITIES, Action.LIST_AUTHORITIES, "list", SECTIONS[0]),
    Entry("Add Certificate Authority", ADD_AUTHORITY, Action.ADD_AUTHORITY, "add", SECTIONS[0]),
    Entry("Add Certificate Revocation List", ADD_CRL, Action.ADD_CRL, "crl", SECTIONS[0]),
    Entry("Check Certificate Status", CHECK, Action.CHECK_STATUS, "check", SECTIONS[0]),
    Entry("OCSP Service", SERVICE, Action.READ_STATISTICS, "chart", SECTIONS[0]),
    Entry("Accept Lower CRL Number", LOWER_NUMBER, Action.LOWER_NUMBER, "crl", SECTIONS[0]),
    Entry("Approvals", APPROVALS, Action.LIST_APPROVALS, "eyes", SECTIONS[1]),
    Entry("Alerts", ALERTS, Action.READ_STATISTICS, "bell", SECTIONS[1]),
    Entry("CRL Sources", SOURCES, Action.READ_STATISTICS, "fetch", SECTIONS[1]),
    Entry("System Certificates", CERTIFICATES, Action.LIST_CERTIFICATES, "key", SECTIONS[1]),
    Entry("Signers", SIGNERS, Action.LIST_CERTIFICATES, "pen", SECTIONS[1]),
    Entry("Tokens", TOKENS, Action.LIST_CERTIFICATES, "chip", SECTIONS[1]),
    Entry("Clones", CLONES, Action.READ_DOMAIN, "clones", SECTIONS[1]),
    Entry("Users", USERS, Action.LIST_USERS, "people", SECTIONS[1]),
    Entry("Settings", SETTINGS, Action.READ_CONFIGURATION, "settings", SECTIONS[1]),
    Entry("Audit Log", AUDIT, Action.READ_AUDIT, "log", SECTIONS[1]),
    Entry("Self Tests", SELF_TESTS, Action.LIST_SELFTESTS, "pulse", SECTIONS[1]),
)


def entries(permission: Permission, caller: Caller) -> tuple[Entry, ...]:
    """The entries that `caller` may open; what stands behind them is guarded by itself."""
    return tuple(entry for entry in MENU if permission.grants(caller, entry.action))
