"""The wizard's pages: each panel shown, what was typed there taken, the last act told of while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import web

from vouchd.agent.pages import static
from vouchd.agent.pages.forms import Form, FormTokens, read_form
from vouchd.agent.pages.rendering import Instance, environment_of, html_response, see_done, see_other
from vouchd.agent.pages.rendering import done_text as sealed_text
from vouchd.agent.routes import Handler, Route
from vouchd.api.operation import Access
from vouchd.clock import SystemClock
from vouchd.core.facts import Caller
from vouchd.errors import BadInput, ConfigError, NotFound, PermissionDenied, VouchdError, outcome
from vouchd.files import read_file
from vouchd.setup.answers_file import ini_text, json_text
from vouchd.setup.carrying_out import as_text
from vouchd.setup.door import COOKIE, Door
from vouchd.setup.fields import Field
from vouchd.setup.panels import DONE, PANELS, REVIEW, Panel, PanelRefused, panel_of
from vouchd.setup.wizard import Wizard
from vouchd.threads import in_thread

LOGIN = "/ocsp/admin/console/config/login"  # as the documented wizard has it
ROOT = "/setup/"
_BODY_BYTES = 2 << 20
_UPLOADS = {"restore_keys": ("path", "keys.p12"), "requests": ("authorities", "authorities.pem")}
_ANSWERS = {"json": (json_text, "application/json"), "ini": (ini_text, "text/plain")}


def address_of(panel: Panel) -> str:
    """Where the panel is."""
    return ROOT + panel.slug


@dataclass(frozen=True, slots=True)
class Line:
    """A panel in the list of all: `state` is done, current, open, closed or skipped."""

    panel: Panel
    state: str
    address: str


class WizardPages:
    """The pages of one wizard; `leave` is called when nobody needs it any more."""

    def __init__(self, wizard: Wizard, door: Door, leave: Callable[[], None]) -> None:
        self._wizard = wizard
        self._door = door
        self._leave = leave
        self._tokens = FormTokens()
        self._environment = environment_of(
            Instance(wizard.layout.root.name, "", ""), "vouchd.setup", "vouchd.agent.pages"
        )

    def routes(self) -> tuple[Route, ...]:
        """All that the wizard answers."""

        def page(method: str, path: str, handler: Handler, access: Access = Access.IDENTIFIED) -> Route:
            return Route(method, path, access, handler, max_body_bytes=_BODY_BYTES, show_error=self.error)

        return (
            page("GET", LOGIN, self.login, Access.PUBLIC),
            page("POST", LOGIN, self.login, Access.PUBLIC),
            page("GET", static.PATH, static.static, Access.PUBLIC),
            page("GET", "/", self.home),
            page("GET", ROOT, self.home),
            page("GET", ROOT + "answers.{form:json|ini}", self.answers_file),
            page("GET", ROOT + "admin.p12", self.administrator_file),
            page("POST", ROOT + "install", self.install),
            page("POST", ROOT + "leave", self.leave),
            page("GET", ROOT + "{panel:[a-z-]+}", self.shown),
            page("POST", ROOT + "{panel:[a-z-]+}", self.answer),
        )

    # Coming in.

    async def login(self, request: web.Request, _: Caller) -> web.Response:
        """The PIN, in the address or typed; with it the browser is let in."""
        pin = request.query.get("pin", "")
        if request.method == "POST":
            pin = str((await request.post()).get("pin", ""))
        if not pin:
            return self._render("login.html", error=None)
        try:
            session = self._door.enter(pin)
        except PermissionDenied as error:
            return self._render("login.html", status=outcome(error).http_status, error=error)
        # A page, no redirection: a cookie that is SameSite=Strict does not go along with one that another site began.
        response = self._render("entered.html", forward=address_of(self._wizard.first_open()))
        response.headers["Set-Cookie"] = f"{COOKIE}={session}; Path=/; Secure; HttpOnly; SameSite=Strict"
        return response

    async def home(self, _: web.Request, __: Caller) -> web.Response:
        """The panel that is open."""
        return see_other(address_of(self._wizard.first_open()))

    # The panels.

    async def shown(self, request: web.Request, _: Caller) -> web.Response:
        """One panel; one that is not open yet leads to the one that is."""
        panel = self._panel(request)
        if not self._wizard.is_reachable(panel):
            return see_other(address_of(self._wizard.first_open()))
        return await self._show(request, panel)

    async def answer(self, request: web.Request, _: Caller) -> web.Response:
        """What was typed at a panel: kept, checked, and the next panel; or the same with the reason."""
        panel, form = self._panel(request), await self._form(request)
        async with self._wizard.changing:
            if not self._wizard.is_reachable(panel):
                return see_other(address_of(self._wizard.first_open()))
            if panel is REVIEW:
                return await self._begin(request)
            values: dict[str, Any] = {}
            try:
                values = await self._values(panel, form)
                if panel.section == "security_domain" and self._unconfirmed(values, form):
                    return await self._show_fingerprint(request, panel, values)
                await self._wizard.answer(panel, values)
            except VouchdError as error:
                return await self._show(request, panel, error=error, typed=values)
        return see_other(address_of(self._wizard.neighbour(panel, 1)))

    async def _begin(self, request: web.Request) -> web.Response:
        try:
            await self._wizard.begin()
        except PanelRefused as refused:
            return await self._show(request, refused.panel, error=refused.error)
        return see_other(address_of(DONE))

    async def _values(self, panel: Panel, form: Form) -> dict[str, Any]:
        """The fields that came; of a secret that was left empty what is kept stays."""
        values: dict[str, Any] = {}
        for field in panel.questions(self._wizard.answers):
            text = form.fields.get(field.input, "") if field.secret else form.text(field.input)
            if field.chosen and text != form.fields.get(f"again-{field.name}", text):
                raise BadInput(f"{field.title}: typed differently the second time", hint="type it twice alike")
            if field.type is bool:
                values[field.name] = text == "yes"
            elif field.input in form.fields and (text or not field.secret):
                values[field.name] = text
        name, file = _UPLOADS.get(panel.section, ("", ""))
        uploaded = form.files.get("uploaded")
        if uploaded:
            values[name] = await in_thread(lambda: self._wizard.keep_file(file, uploaded))
        return values

    @staticmethod
    def _unconfirmed(values: Mapping[str, Any], form: Form) -> bool:
        """Whether the fingerprint of the member, or CA, was not said, or put there by us and not confirmed."""
        if values.get("kind") not in {"join", "certsystem"}:
            return False
        shown = form.text("shown")
        if shown and shown == values.get("fingerprint"):
            return form.text("confirmed") != "yes"
        return not values.get("fingerprint")

    async def _show_fingerprint(self, request: web.Request, panel: Panel, values: dict[str, Any]) -> web.Response:
        """The panel again, with the fingerprint of the certificate that the member shows now, to be compared."""
        asked_before = bool((await request.post()).get("shown"))
        await self._wizard.keep(panel, {**values, "fingerprint": ""})
        fingerprint = await self._wizard.fingerprint()
        error = None
        if asked_before:
            error = ConfigError(
                "the fingerprint was not confirmed", hint="compare it, and tick the box if it is the same"
            )
        typed = {**values, "fingerprint": fingerprint}
        return await self._show(request, panel, error=error, typed=typed, fingerprint=fingerprint)

    async def _show(
        self,
        request: web.Request,
        panel: Panel,
        *,
        error: VouchdError | None = None,
        typed: Mapping[str, Any] | None = None,
        fingerprint: str = "",
    ) -> web.Response:
        wizard = self._wizard
        template = {"welcome": "welcome", "review": "review", "done": "done"}.get(panel.slug, "panel")
        kept = getattr(wizard.answers, panel.section) if panel.section else None
        values = {field.name: getattr(kept, field.name) for field in panel.fields}
        values |= await wizard.proposals(panel) | dict(typed or {})
        masters = await wizard.masters() if panel.section == "subsystem" else ()
        running: bool | None = None
        while running is not wizard.progress.running:  # the last act ended or began meanwhile: all is of one moment
            running = wizard.progress.running
            requests = await in_thread(self._requests) if panel is DONE or panel.section == "requests" else []
            stages = await in_thread(wizard.stages) if panel is DONE else []
        progress = wizard.progress
        return self._render(
            f"{template}.html",
            status=outcome(error).http_status if error else 200,
            error=error or (progress.error if panel in {REVIEW, DONE} else None),
            panel=panel,
            fields=panel.questions(wizard.answers),
            panels=self._lines(panel),
            place=PANELS.index(panel) + 1,
            values=values,
            secrets={field.name for field in panel.fields if field.secret and values[field.name]},
            settled=wizard.is_settled(panel),
            done=sealed_text(request),
            back=address_of(wizard.neighbour(panel, -1)) if panel is not PANELS[0] else "",
            token=self._tokens.token(self._door.holder(request)),
            upload=_UPLOADS.get(panel.section, ("", ""))[0],
            masters=masters,
            fingerprint=fingerprint,
            requests=requests,
            sections=self._sections() if panel is REVIEW else [],
            progress=progress,
            publishes=wizard.answers.enters_certsystem and wizard.answers.security_domain.publish,
            own_password=bool(wizard.answers.administrator.password),
            stages=stages,
        )

    def _requests(self) -> list[dict[str, str]]:
        return [
            {"name": one.name, "purpose": one.purpose.value, "pem": read_file(one.path).decode("ascii", "replace")}
            for one in self._wizard.waiting()
        ]

    def _sections(self) -> list[dict[str, Any]]:
        """What was answered, panel by panel, secrets only as being there."""
        wizard = self._wizard
        sections = []
        for panel in PANELS:
            if panel.section:
                kept = getattr(wizard.answers, panel.section)
                kind = getattr(kept, "kind", "")
                rows = [
                    (field.title, _shown(field, getattr(kept, field.name)))
                    for field in panel.questions(wizard.answers)
                    if not field.when or kind in field.when
                ]
                sections.append(
                    {"panel": panel, "address": address_of(panel), "rows": rows, "skipped": wizard.skipped(panel)}
                )
        return sections

    def _lines(self, current: Panel) -> list[Line]:
        wizard = self._wizard
        lines = []
        for panel in PANELS:
            state = "open" if wizard.is_reachable(panel) else "closed"
            if wizard.skipped(panel):
                state = "skipped"
            elif wizard.is_passed(panel) and panel is not DONE and panel is not REVIEW:
                state = "done"
            if panel is current:
                state = "current"
            reachable = state not in {"closed", "skipped"} and wizard.is_reachable(panel)
            lines.append(Line(panel, state, address_of(panel) if reachable else ""))
        return lines

    # What is given away, and the end.

    async def answers_file(self, request: web.Request, _: Caller) -> web.Response:
        """The answers without secrets, for the next host."""
        form = request.match_info["form"]
        text, media_type = _ANSWERS[form]
        name = f"{self._wizard.answers.subsystem.host or 'answers'}.{form}"
        disposition = f"attachment; filename*=UTF-8''{quote(name)}"
        return web.Response(
            text=text(self._wizard.answers), content_type=media_type, headers={"Content-Disposition": disposition}
        )

    async def administrator_file(self, _: web.Request, __: Caller) -> web.Response:
        """The administrator's key and certificate, under the password that was typed."""
        if self._wizard.progress.outcome is None or not self._wizard.answers.administrator.password:
            raise NotFound("there is no such file here", hint="it lies in the instance's folder: admin.p12")
        content = await in_thread(lambda: read_file(self._wizard.layout.admin_pkcs12))
        return web.Response(
            body=content,
            content_type="application/x-pkcs12",
            headers={"Content-Disposition": 'attachment; filename="admin.p12"'},
        )

    async def install(self, request: web.Request, _: Caller) -> web.Response:
        """The certificate for one of the requests."""
        form, panel = await self._form(request), panel_of("requests-and-certificates")
        if panel is None:  # pragma: no cover  it is in the table
            raise AssertionError("no such panel")
        name = form.text("name")
        async with self._wizard.changing:
            try:
                if name not in {one.name for one in await in_thread(self._wizard.waiting)}:
                    raise BadInput("no request of that name waits", hint="load the page again")
                content = form.document("certificate")
                await self._wizard.install(name, as_text(content))
            except VouchdError as error:
                return await self._show(request, panel, error=error)
        return see_done(address_of(panel), f"The certificate of {name} is in use.")

    async def leave(self, request: web.Request, _: Caller) -> web.Response:
        """The wizard ends, for good when the instance is set up."""
        await self._form(request)
        self._leave()
        return self._render("left.html", outcome=self._wizard.progress.outcome)

    # All pages.

    async def _form(self, request: web.Request) -> Form:
        return await read_form(request, self._tokens, self._door.holder(request))

    @staticmethod
    def _panel(request: web.Request) -> Panel:
        panel = panel_of(request.match_info["panel"])
        if panel is None:
            raise NotFound("no such panel", hint="go back to the start")
        return panel

    def error(self, request: web.Request, error: VouchdError, status: int) -> web.StreamResponse:
        """The page for an error; who is not let in is asked for the PIN."""
        try:
            self._door.holder(request)
        except PermissionDenied:
            if isinstance(error, PermissionDenied):
                return self._render("login.html", status=status, error=error if request.method == "POST" else None)
        return self._render("error.html", status=status, error=error, identified=True)

    def _render(self, template: str, *, status: int = 200, **facts: Any) -> web.Response:
        facts = {"panels": [], "error": None, "status": status, **facts}
        html = self._environment.get_template(template).render(
            now=SystemClock().now(), caller=None, path="", menu=(), login=LOGIN, root=ROOT, **facts
        )
        return html_response(html, status)


def _shown(field: Field, value: Any) -> str:
    """An answer as Review has it."""
    if field.secret:
        return "typed, not shown" if value else "none"
    if field.type is bool:
        return "yes" if value else "no"
    if value in field.choices:
        return field.choices[value][0]
    return str(value) or "-"
