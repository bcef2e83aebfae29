"""The wizard's pages: who comes in, what each panel asks and keeps, what it says of what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.conftest import ROOT
from tests.ports import free_port
from tests.setup.test_checks import JOINING, MASTER, SERVER, set_of
from tests.setup.wizards import PIN, open_wizard

from vouchd.api.operation import Access
from vouchd.errors import ConfigError, NotFound
from vouchd.pkix.purposes import Purpose
from vouchd.setup.carrying_out import Request
from vouchd.setup.door import COOKIE, MOST_WRONG
from vouchd.setup.fields import fields
from vouchd.setup.pages import LOGIN
from vouchd.setup.panels import ASKING, PANELS, panel_of
from vouchd.setup.questionnaire import Answers
from vouchd.setup.wizard import Progress

SECRET = "a secret of this test"
JOINED = {**JOINING["security_domain"], "token": SECRET}


@pytest.fixture
def opened(tmp_path):
    with open_wizard(tmp_path / "vouchd") as session:
        yield session


@pytest.fixture
def visitor(opened):
    opened.visitor.enter()
    return opened.visitor


@pytest.fixture
def joining(tmp_path):
    """A visitor who joins the domain of a master with a directory server, come to the panel Subsystem Type."""
    info = set_of(replace(MASTER, directory=SERVER))
    with open_wizard(tmp_path / "clone", lambda *_: info) as session:
        session.visitor.enter()
        session.visitor.fill("welcome")
        session.visitor.fill("key-store", kind="software")
        page = session.visitor.fill("security-domain", **JOINED)
        assert page.panel == "Subsystem Type"
        yield session.visitor


def here(**values) -> dict[str, object]:
    """Good answers at Subsystem Type."""
    ports = {"port": free_port(), "agent_port": free_port(), "health_port": 0, "workers": 1}
    return {"kind": "new", "host": "ds2.vouchd.test", "listen": "127.0.0.1", **ports, **values}


def through(visitor, until: str):
    """Go on with good answers of a new subsystem until that panel is open."""
    good = {
        "key-store": {"kind": "software"},
        "security-domain": {"kind": "new", "name": "A domain"},
        "subsystem-type": here(),
        "restore-keys": {"kind": "none"},
        "internal-database": {"kind": "embedded"},
        "subject-names": {"subject": "CN=OCSP", "nickname": "ocspSigningCert", "server_names": ""},
        "requests-and-certificates": {"kind": "csr"},
        "export-keys": {"kind": "none"},
    }
    page = visitor.show("/setup/")
    while panel_of(until).name != page.panel:
        slug = next(panel.slug for panel in PANELS if panel.name == page.panel)
        page = visitor.fill(slug, **good.get(slug, {}))
        assert not page.error, page.error
    return page


# Coming in.


def test_nothing_is_shown_without_the_pin(opened):
    """Deny by default: of all that the wizard answers only the way in and its style are for everybody."""
    public = {route.path for route in opened.pages.routes() if route.access is Access.PUBLIC}
    assert public == {LOGIN, "/static/{name}"}
    for route in opened.pages.routes():
        if route.access is not Access.PUBLIC:
            path = route.path.replace("{form:json|ini}", "json").replace("{panel:[a-z-]+}", "welcome")
            page = opened.visitor.ask(route.method, path)
            assert (page.status, page.panel) == (403, "Set this instance up"), route.path
    assert opened.visitor.ask("GET", "/agent/authorities").status == 404


def test_pin_opens_the_wizard_once(opened):
    """By its URL, with a cookie that no script and no other site gets; who comes after finds it used."""
    page = opened.visitor.ask("GET", opened.visitor.login)
    assert page.status == 200
    assert PIN not in page.text
    name, *rest = page.headers["Set-Cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert set(rest) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
    assert opened.visitor.show("/").panel == "Welcome"
    again = opened.another().ask("GET", opened.visitor.login)
    assert (again.status, "Set-Cookie" in again.headers) == (403, False)
    assert "the PIN was used" in again.error


def test_pin_can_be_typed(opened):
    """Where the URL without it was opened."""
    assert "PIN" in opened.visitor.ask("GET", LOGIN).words
    assert "Set-Cookie" in opened.visitor.ask("POST", LOGIN, f"pin={PIN}".encode()).headers


def test_wrong_pins_count_and_the_tenth_closes_the_wizard(opened):
    """The right one opens nothing any more; the command makes another."""
    for left in range(MOST_WRONG - 1, 0, -1):
        page = opened.visitor.ask("POST", LOGIN, b"pin=guessed")
        assert f"after {left} more" in page.error
        assert not opened.closed
    assert "the wizard closes" in opened.visitor.ask("POST", LOGIN, b"pin=guessed").error
    assert opened.closed == ["too many wrong PINs"]
    assert opened.another().ask("GET", opened.visitor.login).status == 403


def test_page_has_the_headers_of_the_agent_pages(opened, visitor):
    """Nothing from elsewhere, nothing kept, no frame."""
    for page in (visitor.show("/setup/welcome"), opened.another().ask("GET", LOGIN)):
        assert page.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def test_form_of_another_site_or_without_token_is_refused(visitor):
    """The cookie alone does nothing, and a page of another site cannot make it do anything."""
    token = visitor.show("/setup/welcome").token
    assert visitor.ask("POST", "/setup/welcome", b"token=0").status == 403
    sent = f"token={token}".encode()
    assert visitor.ask("POST", "/setup/welcome", sent, headers={"Origin": "https://evil.example"}).status == 403
    assert visitor.ask("POST", "/setup/welcome", sent).status == 303


def test_body_is_bounded(visitor):
    """Two megabytes are more than any panel takes."""
    assert visitor.ask("POST", "/setup/welcome", b"x" * (3 << 20)).status == 413


# The panels.


def test_panels_open_one_after_the_other(visitor):
    """Whoever goes ahead is led back to the one that is open; those gone through stay open."""
    assert visitor.show("/setup/review").panel == "Welcome"
    through(visitor, "subsystem-type")
    assert visitor.show("/setup/export-keys").panel == "Subsystem Type"
    assert visitor.show("/setup/key-store").panel == "Key Store"
    assert visitor.ask("GET", "/setup/no-such-panel").status == 404


@pytest.mark.parametrize("panel", ASKING, ids=lambda panel: panel.slug)
def test_panel_asks_every_field_with_a_label_and_an_explanation(tmp_path, panel):
    """Each explains itself, to whoever hears the page too; each goes by keyboard, being plain HTML."""
    with open_wizard(tmp_path / "vouchd") as session:
        session.visitor.enter()
        page = through(session.visitor, panel.slug)
    assert page.panel == panel.name
    for field in panel.questions(Answers()):
        assert field.about.replace("`", "").split(". ")[0] in page.words, field.path
        if field.choices:
            for option in field.choices:
                assert f'id="{field.name}-{option}"' in page.text
        else:
            assert re.search(
                rf'<label for="{field.name}">|<label class="tick"><input[^>]* id="{field.name}"', page.text
            )
            assert f'id="{field.name}-about"' in page.text
    assert "Back" in page.words


def test_field_of_a_choice_is_shown_with_it_by_a_rule_of_the_style():
    """Without a script; a browser that does not know the rule shows all."""
    style = (ROOT / "src/vouchd/agent/pages/static/agent.css").read_text(encoding="utf-8")
    for kind in {kind for field in fields() for kind in field.when}:
        assert f"form:has(#kind-{kind}:checked) .when-{kind}" in style


@pytest.mark.parametrize(
    ("slug", "values", "complaint", "kept"),
    [
        (
            "key-store",
            {"kind": "token", "token": "ocsp", "module": "/no/module.so", "pin": SECRET},
            "/no/module.so",
            "token",
        ),
        ("security-domain", {**JOINED, "url": "http://x"}, "not the URL of an agent port", "url"),
        ("subsystem-type", here(host="not a host"), "not a host name", "host"),
        ("subsystem-type", here(port="http"), "OCSP port", "port"),
        (
            "internal-database",
            {"kind": "directory", "host": "localhost", "suffix": "o=x", "password": SECRET},
            "loopback interface",
            "host",
        ),
        ("subject-names", {"subject": "nobody"}, "RFC 4514", "subject"),
        ("requests-and-certificates", {"kind": "ca", "ca": "/no/ca"}, "/no/ca", "ca"),
        ("export-keys", {"kind": "file", "path": "/no/k.p12", "password": SECRET}, "nothing can be written", "path"),
        ("administrator", {"password": "short"}, "fewer than 8", ""),
    ],
)
def test_panel_tells_what_it_refuses_and_keeps_what_was_typed(visitor, slug, values, complaint, kept):
    """The reason and the mend stand on the same panel; what was typed too, but for secrets."""
    through(visitor, slug)
    page = visitor.fill(slug, **values)
    assert page.panel == panel_of(slug).name
    assert page.status in {400, 404, 422, 500, 502, 503}, page.status
    assert complaint in page.error
    if kept:
        assert page.value(kept) == str(values[kept])
    assert SECRET not in page.text
    assert SECRET not in visitor.show(f"/setup/{slug}").text


def test_password_that_is_made_up_here_is_typed_twice(visitor):
    """Nobody could open what a slip of the finger has locked."""
    through(visitor, "administrator")
    token = visitor.show("/setup/administrator").token
    sent = {"answer-password": "one password", "again-password": "another password"}
    page = visitor.send("/setup/administrator", token, sent)
    assert "typed differently the second time" in page.error
    assert visitor.send("/setup/administrator", token, {**sent, "again-password": "one password"}).panel == "Review"


def test_answers_outlive_the_process(tmp_path):
    """Killed at any panel: whoever comes back goes on where it was, with what was typed, secrets without being shown."""
    folder = tmp_path / "vouchd"
    with open_wizard(folder) as session:
        session.visitor.enter()
        through(session.visitor, "export-keys")
        session.visitor.fill("export-keys", kind="file", path=str(tmp_path / "k.p12"), password=SECRET)
    with open_wizard(folder) as session:
        assert session.visitor.enter().panel == "Administrator"
        page = session.visitor.show("/setup/export-keys")
        assert page.value("path") == str(tmp_path / "k.p12")
        assert SECRET not in page.text
        assert "kept, if left empty" in page.text
        assert session.visitor.fill("export-keys", kind="file", path=str(tmp_path / "k.p12"), password="").panel == (
            "Administrator"
        )
        assert session.wizard.answers.export_keys.password == SECRET
    for path in (folder / "setup").iterdir():
        assert path.suffix == ".pem" or path.stat().st_mode & 0o777 == 0o600, path


def test_skipped_panels_are_shown_as_such(joining):
    """They cannot be gone to."""
    page = joining.fill("subsystem-type", **here(kind="clone", master=MASTER.id))
    assert "Key Pairs skipped" in page.words
    assert joining.show("/setup/key-pairs").panel == "Restore Keys"


def test_review_shows_all_answers_and_no_secret(visitor, tmp_path):
    """What will be carried out, and the same in a file for the next host."""
    through(visitor, "export-keys")
    visitor.fill("export-keys", kind="file", path=str(tmp_path / "k.p12"), password=SECRET)
    visitor.fill("administrator", password=SECRET)
    review, ini, json = (visitor.show(f"/setup/{name}") for name in ("review", "answers.ini", "answers.json"))
    assert review.panel == "Review"
    for page in (review, ini, json):
        assert str(tmp_path / "k.p12") in page.text
        assert SECRET not in page.text
    assert "typed, not shown" in review.words
    assert ini.headers["Content-Disposition"].startswith("attachment")


def test_review_leads_to_the_panel_that_is_refused_by_now(visitor, tmp_path):
    """Everything is checked once more before anything is changed."""
    through(visitor, "export-keys")
    visitor.fill("export-keys", kind="file", path=str(tmp_path / "k.p12"), password=SECRET)
    visitor.fill("administrator", password="")
    (tmp_path / "k.p12").write_text("somebody else's")
    page = visitor.fill("review")
    assert page.panel == "Export Keys"
    assert "exists already" in page.error


def test_visitor_who_leaves_is_told_how_to_come_back(opened, visitor):
    """The wizard's process ends; what was typed is kept."""
    page = visitor.send("/setup/leave", visitor.show("/setup/welcome").token, {})
    assert "vouchd start opens the wizard again" in page.words
    assert opened.closed == ["left"]


# A clone.


def test_fingerprint_of_the_member_is_shown_and_has_to_be_confirmed(opened, tmp_path):
    """Left empty it is fetched: here the wizard's own certificate plays the member's."""
    with open_wizard(tmp_path / "clone", lambda *_: set_of(MASTER)) as session:
        visitor = session.visitor
        visitor.enter()
        visitor.fill("welcome")
        visitor.fill("key-store", kind="software")
        url = f"https://127.0.0.1:{opened.visitor.port}"
        typed = {"kind": "join", "url": url, "token": SECRET}
        page = visitor.fill("security-domain", **typed)
        shown = page.value("shown")
        assert shown == opened.visitor._fingerprint
        assert not page.error
        again = visitor.fill("security-domain", **typed, fingerprint=shown, shown=shown)
        assert "the fingerprint was not confirmed" in again.error
        done = visitor.fill("security-domain", **typed, fingerprint=shown, shown=shown, confirmed="yes")
        assert done.panel == "Subsystem Type"


def test_member_that_shows_no_certificate_is_told(visitor):
    """Nobody listens there."""
    through(visitor, "security-domain")
    page = visitor.fill("security-domain", kind="join", url=f"https://127.0.0.1:{free_port()}", token=SECRET)
    assert "does not show a certificate" in page.error


def test_domain_says_what_a_clone_has_to_be(joining):
    """Its master is proposed, and the suffix and connection of the directory server."""
    page = joining.show("/setup/subsystem-type")
    assert re.search(r'id="kind-clone"[^>]* checked', page.text)
    assert f"<option selected>{MASTER.id}</option>" in page.text
    page = joining.fill("subsystem-type", **here(kind="clone", master=MASTER.id))
    assert page.panel == "Restore Keys"
    assert re.findall(r'name="answer-(\w+)"', page.text) == ["path", "password"]
    assert "when-" not in page.text


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"kind": "embedded"}, "keep their facts in a directory server"),
        ({"host": "ds1.vouchd.test"}, "has this directory server already"),
        ({"suffix": "o=another"}, "the same suffix"),
        ({"connection": "plain"}, "the same kind of connection"),
        ({"host": "localhost"}, "loopback interface"),
    ],
)
def test_trap_of_the_internal_database_is_refused_at_its_panel(tmp_path, values, complaint):
    """The master's own server, another suffix, another connection, localhost."""
    info = set_of(replace(MASTER, directory=SERVER))
    with open_wizard(tmp_path / "clone", lambda *_: info) as session:
        session.visitor.enter()
        answers = session.wizard.answers
        assert answers == Answers()
        for slug, said in (
            ("welcome", {}),
            ("key-store", {"kind": "software"}),
            ("security-domain", JOINED),
            ("subsystem-type", here(kind="clone", master=MASTER.id)),
        ):
            session.visitor.fill(slug, **said)
        session.wizard._passed |= {"restore-keys"}  # keys.p12 is the subject of test_checks
        good = {"kind": "directory", "host": "ds2.vouchd.test", "suffix": SERVER.suffix, "connection": "starttls"}
        page = session.visitor.fill("internal-database", **{**good, "password": SECRET, **values})
        assert page.panel == "Internal Database"
        assert complaint in page.error


def test_member_that_knows_no_such_token_is_told(tmp_path):
    """As the command tells it."""

    def refuse(*_):
        raise NotFound("this join token is not valid", hint="vouchd domain token gives another")

    with open_wizard(tmp_path / "clone", refuse) as session:
        session.visitor.enter()
        session.visitor.fill("welcome")
        session.visitor.fill("key-store", kind="software")
        page = session.visitor.fill("security-domain", **JOINED)
        assert page.error == "this join token is not valid vouchd domain token gives another"


def test_page_of_the_last_act_is_of_one_moment(opened, visitor, tmp_path, monkeypatch):
    """The act stops for want of certificates while the page is made: it says why, and leads to where they are put in."""
    request = tmp_path / "request.csr"
    request.write_text("PEM")
    reads = [(), (Request("sslserver", Purpose.TLS_SERVER, request),)]
    opened.wizard.progress = progress = Progress(running=True)

    def waiting():
        progress.error, progress.running = ConfigError("certificates have not come yet"), False
        return reads.pop(0)

    monkeypatch.setattr(opened.wizard, "waiting", waiting)
    page = visitor.show("/setup/done")
    assert "certificates have not come yet" in page.error
    assert "Put certificates in" in page.words
    assert not reads
