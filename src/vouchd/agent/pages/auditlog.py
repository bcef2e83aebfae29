"""Audit Log: search, newest first, for Auditors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiohttp import web

from vouchd.agent.pages import menu
from vouchd.agent.pages.rendering import Pages
from vouchd.api.services import Services
from vouchd.audit.chain import AuditRecord
from vouchd.audit.search import AuditQuery
from vouchd.core.facts import Caller
from vouchd.errors import ConfigError
from vouchd.service.permission import Action
from vouchd.threads import in_thread

PAGE = 50
_FIELDS = ("event", "outcome", "caller", "text", "since", "until")
_DAY = 86400


@dataclass(frozen=True, slots=True)
class AuditPages:
    """One page."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """The records that the query asks for."""
        criteria = {name: request.query.get(name, "").strip()[:200] for name in _FIELDS}
        criteria["traffic"] = "yes" if request.query.get("traffic") == "yes" else ""
        before = _number(request.query.get("before", ""))
        records: tuple[AuditRecord, ...] = ()
        error: ConfigError | None = None
        try:
            query = _query(criteria, before)
            records = await in_thread(lambda: self._search(query, caller))
        except ConfigError as found:
            error = found
        more = ""
        if len(records) > PAGE:
            records = records[:PAGE]
            kept = {name: value for name, value in criteria.items() if value}
            more = f"{menu.AUDIT}?" + urlencode({**kept, "before": records[-1].seq})
        return self.pages.page(
            request,
            caller,
            "audit.html",
            status=400 if error else 200,
            records=records,
            criteria=criteria,
            more=more,
            older=before is not None,
            error=error,
        )

    def _search(self, query: AuditQuery, caller: Caller) -> tuple[AuditRecord, ...]:
        self.services.permission.allow(caller, Action.READ_AUDIT, "*")
        return self.services.audit_reader.search(query, limit=PAGE + 1)


def _query(criteria: Mapping[str, str], before: int | None) -> AuditQuery:
    until = _day(criteria["until"])
    return AuditQuery(
        event=criteria["event"],
        outcome=criteria["outcome"],
        caller=criteria["caller"],
        text=criteria["text"],
        since=_day(criteria["since"]),
        until=None if until is None else until + _DAY - 1,
        before=before,
        traffic=bool(criteria["traffic"]),
    )


def _day(text: str) -> int | None:
    """The beginning of a day (UTC) in POSIX seconds. Raises: ConfigError."""
    if not text:
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{text!r} is not a day", hint="write it as 2026-11-24") from error


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
