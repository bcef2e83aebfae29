"""List Certificate Authorities, Add Certificate Authority, and the page of one CA, where what was added is mended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act, carry_out, sentence
from vouchd.agent.pages.conditions import AuthorityRow, authority_row
from vouchd.agent.pages.forms import Form, read_form, require_number_lost, require_typed
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.authorities import Authority, NewAuthority, PolicySettings
from vouchd.api.crls import Preview
from vouchd.api.services import Services
from vouchd.core.facts import AuthorityPolicy, Caller
from vouchd.errors import BadInput, ConfigError, VouchdError
from vouchd.instance.hindrances import hindrances
from vouchd.instance.report import ServedPoints
from vouchd.pkix import certs, pem
from vouchd.service.authorities import AuthoritySummary, read_authorities
from vouchd.service.usercertificates import describe
from vouchd.threads import in_thread

PAGE = 100
_MOST_SOUGHT = 200


@dataclass(frozen=True, slots=True)
class AuthorityPages:
    """The pages about CAs."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """List Certificate Authorities: a page of those that have the words sought in label, subject or id."""
        sought = request.query.get("find", "").strip()[:_MOST_SOUGHT]
        summaries = await in_thread(lambda: self.services.authorities.summaries(caller))
        chosen = [one for one in summaries if _has(one, sought.casefold())] if sought else summaries
        last = max(1, -(-len(chosen) // PAGE))
        number = min(last, _page_number(request.query.get("page", "")))
        rows = await self._rows(chosen[(number - 1) * PAGE : number * PAGE])
        page = {
            "number": number,
            "last": last,
            "total": len(chosen),
            "find": sought,
            "searchable": len(summaries) > PAGE,
        }
        done = done_text(request)
        report = self.services.running.report()
        kept = hindrances(report, self.pages.clock.now())
        return self.pages.page(
            request, caller, "authorities.html", rows=rows, done=done, report=report, hindrances=kept, paging=page
        )

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """One CA: its certificate, its CRLs and those held back."""
        row = await self._row(request.match_info["id"], caller)
        return self._show(request, caller, row)

    async def adding(self, request: web.Request, caller: Caller) -> web.Response:
        """The form of Add Certificate Authority."""
        return self.pages.page(request, caller, "add_authority.html", label="", pasted="")

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CA's certificate in."""
        form = await read_form(request, self.pages.tokens)
        label = form.text("label")
        try:
            data = form.document("certificate")
            added, notes = await in_thread(lambda: self._add_all(data, label, caller))
        except VouchdError as error:
            pasted = form.text("certificate-text")
            return self.pages.page(request, caller, "add_authority.html", error=error, label=label, pasted=pasted)
        words = [_added_words(added), *notes]
        return see_done(f"{menu.AUTHORITIES}/{added[-1].id}", " ".join(words))

    def _add_all(self, data: bytes, label: str, caller: Caller) -> tuple[list[Authority], tuple[str, ...]]:
        """Each CA in `data`, added, and what was left out. Raises: VouchdError, which says which were added before."""
        bundle = read_authorities(data)
        if label and len(bundle.certificates) > 1:
            raise ConfigError("one label for several CAs", hint="give them one by one, or no label")
        added: list[Authority] = []
        for certificate in bundle.certificates:
            new = NewAuthority(certificate=pem.as_pem(certificate.public_bytes(Encoding.DER)), label=label)
            try:
                added.append(carry_out(self.services, caller, "authorities.add", {}, body=new))
            except VouchdError as error:
                before = f"{', '.join(one.label for one in added)} added, and then: " if added else ""
                raise type(error)(f"{before}{error}", hint=error.hint) from error
        return added, bundle.notes

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Stop answering for the CA."""
        form = await read_form(request, self.pages.tokens)
        row = await self._row(request.match_info["id"], caller)
        authority = row.summary.authority
        try:
            require_typed(form, authority.label)
        except BadInput as error:
            return self._show(request, caller, row, error=error)
        await act(self.services, caller, "authorities.remove", {"authority": authority.id})
        return see_done(menu.AUTHORITIES, f"{authority.label} was removed.")

    async def releasing(self, request: web.Request, caller: Caller) -> web.Response:
        """What the CRL that is held back would change."""
        place = _held_place(request)
        preview: Preview = await act(self.services, caller, "crls.preview_held", place)
        return self.pages.page(request, caller, "release_crl.html", place=place, preview=preview)

    async def release(self, request: web.Request, caller: Caller) -> web.Response:
        """Take the CRL that is held back; one that un-revokes thousands only with their number."""
        form = await read_form(request, self.pages.tokens)
        place = _held_place(request)
        preview: Preview = await act(self.services, caller, "crls.preview_held", place)
        try:
            require_number_lost(form, preview.lost)
        except BadInput as error:
            return self.pages.page(request, caller, "release_crl.html", error=error, place=place, preview=preview)

        return await self._decided(request, caller, "crls.release", "The CRL was released.")

    async def drop(self, request: web.Request, caller: Caller) -> web.Response:
        """Forget the CRL that is held back."""
        form = await read_form(request, self.pages.tokens)
        row = await self._row(request.match_info["id"], caller)
        try:
            require_typed(form, row.summary.authority.label)
        except BadInput as error:
            return self._show(request, caller, row, error=error)
        return await self._decided(request, caller, "crls.drop", "The CRL was dropped.")

    async def _decided(self, request: web.Request, caller: Caller, name: str, done: str) -> web.Response:
        """Carry that operation out for the CRL that is held back."""
        place = _held_place(request)
        try:
            await act(self.services, caller, name, place)
        except VouchdError as error:
            row = await self._row(place["authority"], caller)
            return self._show(request, caller, row, error=error)
        return see_done(f"{menu.AUTHORITIES}/{place['authority']}", done)

    def _show(
        self, request: web.Request, caller: Caller, row: AuthorityRow, *, error: VouchdError | None = None
    ) -> web.Response:
        certificate = certs.load_certificate(row.summary.authority.certificate_der)
        label, now = row.summary.authority.label, self.pages.clock.now()
        kept = [one for one in hindrances(self.services.running.report(), now) if one.name == label]
        history = [describe(der) for der in row.summary.authority.history]
        policy = own_policy(row.summary.authority.policy)
        signer = row.summary.authority.policy.signer or self.services.settings.default_signer
        facts = {
            "history": history,
            "policy": policy,
            "signer": signer,
            "row": row,
            "certificate": certificate,
            "done": done_text(request),
        }
        return self.pages.page(request, caller, "authority.html", error=error, hindrances=kept, **facts)

    async def _rows(self, summaries: Sequence[AuthoritySummary]) -> tuple[AuthorityRow, ...]:
        served, now = ServedPoints(self.services.running.report()), self.pages.clock.now()
        counts = (await in_thread(self.services.running.snapshot)).get("counters", {}).get("by_authority", {})
        return tuple(authority_row(summary, served, now, counts.get(summary.authority.id, 0)) for summary in summaries)

    async def _row(self, identifier: str, caller: Caller) -> AuthorityRow:
        summary = await in_thread(lambda: self.services.authorities.summary_by_id(identifier, caller))
        (row,) = await self._rows([summary])
        return row


def _held_place(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"], "scope": request.match_info["scope"]}


def own_policy(policy: AuthorityPolicy) -> list[tuple[str, str]]:
    """What a CA's own policy says otherwise than none would: the words of its setting, and its value."""
    plain = AuthorityPolicy()
    return [
        (_meaning(hint), _value_words(getattr(policy, name)))
        for name, hint in get_type_hints(PolicySettings, include_extras=True).items()
        if name != "signer" and getattr(policy, name) != getattr(plain, name)
    ]


def _meaning(hint: Any) -> str:
    """What a property of a model means, as its description says."""
    return next(one.description for one in hint.__metadata__ if isinstance(one, Meta) and one.description).rstrip(".")


def _value_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{len(value)}" if isinstance(value, tuple) else str(value)


def _has(summary: AuthoritySummary, sought: str) -> bool:
    authority = summary.authority
    return any(sought in text.casefold() for text in (authority.label, summary.subject, authority.id))


def _page_number(text: str) -> int:
    return int(text) if re.fullmatch("[1-9][0-9]{0,8}", text) else 1


def _added_words(authorities: list[Authority]) -> str:
    """What the page says of the CAs that were to be added."""
    done = "The CA was added."
    if len(authorities) == 1:
        return sentence(authorities[0].changes, done)
    words_of = [(one.label, sentence(one.changes, done)) for one in authorities]
    others = [f"{label}: {words}" for label, words in words_of if words != done]
    return " ".join([f"{len(authorities) - len(others)} CAs were added.", *others])


@dataclass(frozen=True, slots=True)
class MendingPages:
    """The page of an issuing point that is to be retired, and what the page of a CA does besides."""

    services: Services
    pages: Pages

    async def retiring(self, request: web.Request, caller: Caller) -> web.Response:
        """What retiring the issuing point would change."""
        return await self._preview(request, caller)

    async def retire(self, request: web.Request, caller: Caller) -> web.Response:
        """Retire it; where thousands of certificates would no longer be revoked only with their number."""
        form = await read_form(request, self.pages.tokens)
        place = _place(request)
        try:
            change = await act(self.services, caller, "retirement.preview", place)
            require_number_lost(form, change.lost)
            await act(self.services, caller, "retirement.retire", place)
        except BadInput as error:
            return await self._preview(request, caller, error)
        return see_done(_page_of(place), "The issuing point was retired.")

    async def restore(self, request: web.Request, caller: Caller) -> web.Response:
        """Let CRLs of a scope that was retired be taken again."""
        await read_form(request, self.pages.tokens)
        place = _place(request)
        await act(self.services, caller, "retirement.restore", place)
        return see_done(_page_of(place), "CRLs of that scope are taken again.")

    async def remove_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Take one certificate out of the history of the CA's keys."""
        form = await read_form(request, self.pages.tokens)
        require_typed(form, form.text("certificate")[:8])
        place = {"authority": request.match_info["id"], "certificate": form.text("certificate")}
        await act(self.services, caller, "authorities.remove_certificate", place)
        return see_done(_page_of(place), "The certificate was taken out of the CA's history.")

    async def declare_compromised(self, request: web.Request, caller: Caller) -> web.Response:
        """Have all that the CA issued be answered revoked, or tryLater."""
        form = await self._confirmed(request, caller)
        body = {name: form.text(name) for name in ("since", "answer") if form.text(name)}
        await act(self.services, caller, "authorities.compromised", _authority(request), body=body)
        return see_done(_page_of(_authority(request)), "The CA was declared compromised.")

    async def withdraw_compromised(self, request: web.Request, caller: Caller) -> web.Response:
        """Take that declaration back."""
        await self._confirmed(request, caller)
        await act(self.services, caller, "authorities.not_compromised", _authority(request))
        return see_done(_page_of(_authority(request)), "The declaration was taken back.")

    async def _confirmed(self, request: web.Request, caller: Caller) -> Form:
        """The form in which the label of the CA was typed. Raises: BadInput."""
        form = await read_form(request, self.pages.tokens)
        authority = await act(self.services, caller, "authorities.get", _authority(request))
        require_typed(form, authority.label)
        return form

    async def _preview(self, request: web.Request, caller: Caller, error: VouchdError | None = None) -> web.Response:
        place = _place(request)
        change = await act(self.services, caller, "retirement.preview", place)
        return self.pages.page(request, caller, "retire.html", change=change, error=error)


def _authority(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"]}


def _place(request: web.Request) -> dict[str, str]:
    return {"authority": request.match_info["id"], "scope": request.match_info["scope"]}


def _page_of(place: dict[str, str]) -> str:
    return f"{menu.AUTHORITIES}/{place['authority']}"
