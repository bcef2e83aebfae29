"""Users: who may come to the agent port, in which groups, with which certificates."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.agent.pages import menu
from vouchd.agent.pages.acts import act, carry_out, sentence
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import Form, read_form, require_typed
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.services import Services
from vouchd.api.users import NewCertificate, NewUser, User, UserChange, shape
from vouchd.core.facts import Caller, Group
from vouchd.errors import ConfigError, StoreUnavailable, VouchdError
from vouchd.pkix.pem import read_leaf
from vouchd.service.permission import RIGHTS
from vouchd.service.usercertificates import CertificateFacts, describe
from vouchd.threads import in_thread


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with what is shown of its certificates."""

    user: User
    certificates: tuple[CertificateFacts, ...]
    condition: Condition


@dataclass(frozen=True, slots=True)
class UserPages:
    """The list with its form, the page of one user, and what is done there."""

    services: Services
    pages: Pages

    async def listed(self, request: web.Request, caller: Caller) -> web.Response:
        """All users, and the form for another one."""
        return await self._list(request, caller)

    async def add(self, request: web.Request, caller: Caller) -> web.Response:
        """Make a user."""
        form = await read_form(request, self.pages.tokens)
        try:
            new = NewUser(
                id=form.text("id"),
                full_name=form.text("full_name"),
                groups=_groups(form),
                certificates=[_certificate(form)] if _brings_certificate(form) else [],
            )
            user: User = await act(self.services, caller, "users.add", {}, body=new)
        except VouchdError as error:
            return await self._list(request, caller, error=error, form=form)
        return _seen(user, "The user was added.")

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """One user."""
        return await self._show(request, caller)

    async def set_groups(self, request: web.Request, caller: Caller) -> web.Response:
        """Make what was ticked the groups of the user."""
        form = await read_form(request, self.pages.tokens)
        change = UserChange(groups=_groups(form))
        return await self._changed(request, caller, "users.change", change, "The groups were changed.")

    async def set_enabled(self, request: web.Request, caller: Caller) -> web.Response:
        """Refuse the user, or let it in again."""
        form = await read_form(request, self.pages.tokens)
        change = UserChange(enabled=form.text("enabled") == "yes")
        return await self._changed(request, caller, "users.change", change, "The user was changed.")

    async def add_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Let the user in with one more certificate."""
        form = await read_form(request, self.pages.tokens)
        try:
            new = NewCertificate(certificate=_certificate(form))
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        return await self._changed(request, caller, "users.add_certificate", new, "The certificate was registered.")

    async def remove_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a certificate away."""
        form = await read_form(request, self.pages.tokens)
        place = {"user": request.match_info["id"], "certificate": form.text("certificate")}
        try:
            await act(self.services, caller, "users.remove_certificate", place)
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        return see_done(_page_of(place["user"]), "The certificate was taken away.")

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Remove the user."""
        form = await read_form(request, self.pages.tokens)
        user_id = request.match_info["id"]
        try:
            require_typed(form, user_id)
            await act(self.services, caller, "users.remove", {"user": user_id})
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        return see_done(menu.USERS, f"{user_id} was removed.")

    async def _changed(
        self, request: web.Request, caller: Caller, name: str, body: UserChange | NewCertificate, done: str
    ) -> web.Response:
        """Carry that operation out for the user of the page."""
        place = {"user": request.match_info["id"]}
        try:
            user: User = await act(self.services, caller, name, place, body=body)
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        return _seen(user, done)

    async def _list(
        self, request: web.Request, caller: Caller, *, error: VouchdError | None = None, form: Form | None = None
    ) -> web.Response:
        users = await in_thread(lambda: self._users(caller))
        values = form or Form({}, {})
        return self.pages.page(
            request,
            caller,
            "users.html",
            rows=[self._row(user) for user in users],
            groups=tuple(Group),
            ticked=[group for group in Group if group.name in values.fields],
            values=values.fields,
            error=error,
            done=done_text(request),
        )

    async def _show(self, request: web.Request, caller: Caller, *, error: VouchdError | None = None) -> web.Response:
        user = await in_thread(lambda: self._user(request.match_info["id"], caller))
        rights = sorted(action.value for action, groups in RIGHTS.items() if groups.intersection(user.groups))
        return self.pages.page(
            request,
            caller,
            "user.html",
            row=self._row(user),
            groups=tuple(Group),
            rights=rights,
            error=error,
            done=done_text(request),
        )

    def _users(self, caller: Caller) -> list[User]:
        """All users; those known last while the store is away, which the page says."""
        try:
            users: list[User] = carry_out(self.services, caller, "users.list", {})
        except StoreUnavailable:
            if not caller.read_only:  # it went away just now
                raise
            return [shape(user) for user in self.services.known_users.users()]
        return users

    def _user(self, user_id: str, caller: Caller) -> User:
        """One of them. Raises: NotFound."""
        try:
            user: User = carry_out(self.services, caller, "users.get", {"user": user_id})
        except StoreUnavailable:
            known = next((one for one in self._users(caller) if one.id == user_id), None)
            if known is None:
                raise
            return known
        return user

    def _row(self, user: User) -> UserRow:
        certificates = tuple(describe(_der(one.pem.encode())) for one in user.certificates)
        return UserRow(user, certificates, _condition(user, certificates, self.pages.clock.now()))


def _condition(user: User, certificates: tuple[CertificateFacts, ...], at: int) -> Condition:
    if not user.enabled:
        return Condition(Tone.NEUTRAL, "Disabled", "It is refused until somebody enables it.")
    if not certificates:
        return Condition(Tone.WARNING, "No certificate", "It cannot come in before one is registered.")
    if all(one.not_after < at for one in certificates):
        return Condition(Tone.BAD, "Expired", "All its certificates have expired.")
    return Condition(Tone.GOOD, "Enabled", "It is let in with any of its certificates.")


def _groups(form: Form) -> list[Group]:
    return [group for group in Group if group.name in form.fields]


def _brings_certificate(form: Form) -> bool:
    return bool(form.files or form.text("certificate-text"))


def _certificate(form: Form) -> str:
    """The certificate that was given, of a chain its leaf, base64 of DER. Raises: ConfigError."""
    try:
        return base64.b64encode(_der(form.document("certificate"))).decode()
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint="PEM, DER, base64 or a PKCS #7 chain") from error


def _der(certificate: bytes) -> bytes:
    """DER of the certificate, of a chain of its leaf. Raises: ValueError."""
    return read_leaf(certificate).public_bytes(Encoding.DER)


def _seen(user: User, done: str) -> web.Response:
    return see_done(_page_of(user.id), done if user.changes else sentence([], done))


def _page_of(user_id: str) -> str:
    return f"{menu.USERS}/{quote(user_id)}"
