"""Users: who may come to the agent port, in which groups, with which certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from vouchd.agent.pages import menu
from vouchd.agent.pages.conditions import Condition, Tone
from vouchd.agent.pages.forms import Form, read_form
from vouchd.agent.pages.rendering import Pages, done_text, see_done
from vouchd.api.services import Services
from vouchd.core.facts import Caller, Group, User
from vouchd.errors import ConfigError, StoreUnavailable, VouchdError, outcome
from vouchd.pkix.pem import read_leaf
from vouchd.service.effects import Effect
from vouchd.service.permission import RIGHTS
from vouchd.service.usercertificates import CertificateFacts, describe
from vouchd.threads import in_thread

NOT_CONFIRMED = ConfigError("not removed: the box was not ticked", hint="tick it to confirm")


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
            certificates = [_certificate(form)] if _brings_certificate(form) else []
            effect = await in_thread(
                lambda: self.services.users.add(
                    form.text("id"),
                    caller,
                    full_name=form.text("full_name"),
                    groups=_groups(form),
                    certificates=certificates,
                )
            )
        except VouchdError as error:
            return await self._list(request, caller, error=error, form=form)
        await in_thread(self.services.running.settle)
        return _seen(effect, "The user was added.")

    async def shown(self, request: web.Request, caller: Caller) -> web.Response:
        """One user."""
        return await self._show(request, caller)

    async def set_groups(self, request: web.Request, caller: Caller) -> web.Response:
        """Make what was ticked the groups of the user."""
        return await self._changed(
            request,
            caller,
            lambda user, form: self.services.users.set_groups(user, _groups(form), caller),
            "The groups were changed.",
        )

    async def set_enabled(self, request: web.Request, caller: Caller) -> web.Response:
        """Refuse the user, or let it in again."""

        def change(user: str, form: Form) -> Effect[User]:
            return self.services.users.set_enabled(user, caller, enabled=form.text("enabled") == "yes")

        return await self._changed(request, caller, change, "The user was changed.")

    async def add_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Let the user in with one more certificate."""
        return await self._changed(
            request,
            caller,
            lambda user, form: self.services.users.add_certificate(user, _certificate(form), caller),
            "The certificate was registered.",
        )

    async def remove_certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a certificate away."""
        return await self._changed(
            request,
            caller,
            lambda user, form: self.services.users.remove_certificate(user, form.text("certificate"), caller),
            "The certificate was taken away.",
        )

    async def remove(self, request: web.Request, caller: Caller) -> web.Response:
        """Remove the user."""
        form = await read_form(request, self.pages.tokens)
        if form.text("confirmed") != "yes":
            return await self._show(request, caller, error=NOT_CONFIRMED)
        user_id = request.match_info["id"]
        try:
            await in_thread(lambda: self.services.users.remove(user_id, caller))
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        await in_thread(self.services.running.settle)
        return see_done(menu.USERS, f"{user_id} was removed.")

    async def _changed(
        self, request: web.Request, caller: Caller, change: Callable[[str, Form], Effect[User]], done: str
    ) -> web.Response:
        form = await read_form(request, self.pages.tokens)
        try:
            effect = await in_thread(lambda: change(request.match_info["id"], form))
        except VouchdError as error:
            return await self._show(request, caller, error=error)
        await in_thread(self.services.running.settle)
        return _seen(effect, done)

    async def _list(
        self, request: web.Request, caller: Caller, *, error: VouchdError | None = None, form: Form | None = None
    ) -> web.Response:
        users = await in_thread(lambda: self._users(caller))
        values = form or Form({}, {})
        return self.pages.page(
            request,
            caller,
            "users.html",
            status=outcome(error).http_status if error else 200,
            rows=[self._row(user) for user in users],
            groups=tuple(Group),
            ticked=[group for group in Group if group.name in values.fields],
            values=values.fields,
            error=error,
            done=done_text(request),
        )

    async def _show(self, request: web.Request, caller: Caller, *, error: VouchdError | None = None) -> web.Response:
        user = await in_thread(lambda: self._user(request.match_info["id"], caller))
        rights = sorted(action.value for action, groups in RIGHTS.items() if groups & user.groups)
        return self.pages.page(
            request,
            caller,
            "user.html",
            status=outcome(error).http_status if error else 200,
            row=self._row(user),
            groups=tuple(Group),
            rights=rights,
            error=error,
            done=done_text(request),
        )

    def _users(self, caller: Caller) -> tuple[User, ...]:
        """All users; those known last while the store is away, which the page says."""
        try:
            return self.services.users.users(caller)
        except StoreUnavailable:
            if not caller.read_only:  # it went away just now
                raise
            return self.services.known_users.users()

    def _user(self, user_id: str, caller: Caller) -> User:
        """One of them. Raises: NotFound."""
        try:
            return self.services.users.find(user_id, caller)
        except StoreUnavailable:
            user = next((one for one in self._users(caller) if one.id == user_id), None)
            if user is None:
                raise
            return user

    def _row(self, user: User) -> UserRow:
        certificates = tuple(describe(der) for der in user.certificates)
        return UserRow(user, certificates, _condition(user, certificates, self.services.clock.now()))


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


def _certificate(form: Form) -> bytes:
    """DER of the certificate that was given, of a chain its leaf. Raises: ConfigError."""
    try:
        return read_leaf(form.document("certificate")).public_bytes(Encoding.DER)
    except ValueError as error:
        raise ConfigError(f"not a certificate: {error}", hint="PEM, DER, base64 or a PKCS #7 chain") from error


def _seen(effect: Effect[User], done: str) -> web.Response:
    words = done if effect.changes else effect.sentence(done)
    return see_done(f"{menu.USERS}/{quote(effect.subject.id)}", words)
