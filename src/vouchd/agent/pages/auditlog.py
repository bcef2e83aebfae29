"""Audit Log: search, newest first, for Auditors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiohttp import web
from msgspec import UNSET, UnsetType

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act
from vouchd.agent.pages.rendering import Pages
from vouchd.api import shapes
from vouchd.api.audit import AuditRecord, AuditTerms
from vouchd.api.services import Services
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, ConfigError, VouchdError

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
        records: list[AuditRecord] = []
        error: VouchdError | None = None
        try:
            terms = _terms(criteria, before)
            answer = await act(self.services, caller, "audit.search", {}, query=terms)
            records = answer.records
        except (ConfigError, BadInput) as refused:
            error = refused
        more = ""
        if len(records) > PAGE:
            records = records[:PAGE]
            kept = {name: value for name, value in criteria.items() if value}
            more = f"{menu.AUDIT}?" + urlencode({**kept, "before": records[-1].seq})
        return self.pages.page(
            request,
            caller,
            "audit.html",
            rows=[(record, shapes.posix(record.time, "time")) for record in records],
            criteria=criteria,
            more=more,
            older=before is not None,
            error=error,
        )


def _terms(criteria: Mapping[str, str], before: int | None) -> AuditTerms:
    return AuditTerms(
        event=criteria["event"],
        outcome=criteria["outcome"],
        caller=criteria["caller"],
        text=criteria["text"],
        since=_day(criteria["since"]),
        until=_day(criteria["until"], seconds=_DAY - 1),
        before=before or UNSET,
        traffic=bool(criteria["traffic"]),
        limit=PAGE + 1,
    )


def _day(text: str, seconds: int = 0) -> str | UnsetType:
    """So many seconds after the beginning of a day (UTC). Raises: ConfigError."""
    if not text:
        return UNSET
    try:
        return shapes.moment(int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) + seconds)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{text!r} is not a day", hint="write it as 2026-11-24") from error


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
