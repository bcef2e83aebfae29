"""Four eyes over the whole way: what is named needs two users by REST, by the pages and by the former program's paths."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.agent.agent_port import LOCAL, crl, issue
from tests.api.conftest import EVERYBODY, opened
from tests.api.test_effects import OTHER, SINCE, held_back, site_path

from vouchd.api.approvals import OPERATIONS as APPROVAL_OPERATIONS
from vouchd.api.operation import Call, Download, operation_of
from vouchd.api.table import OPERATIONS
from vouchd.cli.instance import Folder
from vouchd.cli.main import main
from vouchd.core.facts import Group
from vouchd.errors import CRLQuarantined, NotFound, PermissionDenied
from vouchd.service.approvals import EVENT
from vouchd.service.permission import READINGS, Action
from vouchd.settings.declared import KNOWN
from vouchd.settings.four_eyes import ALWAYS, VOIDING_KEYS, Guarded
from vouchd.settings.layout import Layout
from vouchd.settings.reading import read_settings

KEY = "vouchd.fourEyes.operations"
NAMED = "authorities.compromised, authorities.not_compromised, authorities.remove, authorities.add, cloning.remove"


@pytest.fixture
def api(tmp_path):
    """An instance where much needs two; `agent` and everybody are agents, `administrator` and everybody administrators."""
    with opened(tmp_path / "vouchd", **{KEY: NAMED}) as site:
        yield site


def approval_id(api, method="PUT", rest="/compromise", body=SINCE, user="agent") -> str:
    """The id of what one agent has asked for, which is not done."""
    before = api.port.facts()
    status, said = api.ask(method, rest if rest.startswith("//") else site_path(api, rest), body, user=user)
    assert (status, said["error"]) == (202, "ApprovalPending"), said
    assert api.port.facts() == before
    (waiting,) = [one for one in api.get("/approvals") if one["state"] == "waiting"]
    assert waiting["id"] in said["hint"]
    return waiting["id"]


def decide(api, approval: str, verb: str = "approve", user: str = EVERYBODY):
    return api.ask("POST", f"/approvals/{approval}/{verb}", user=user)


def compromised_at(api):
    return api.get("/authorities/Site")["policy"]["compromised_at"]


def acts(api) -> list[tuple[str, str, str]]:
    entries = api.get(f"/audit?event={EVENT}&limit=100")["records"]
    return [(one["detail"]["operation"], one["caller"], one["outcome"]) for one in entries]


def test_named_operations_are_changes_whose_arguments_may_be_shown():
    """Each is a change with a right of its own, and has no file and no secret in what is put down or answered."""
    rows = {row.name: row for row in OPERATIONS}
    for name in Guarded:
        row = rows[name]
        assert row.method != "GET"
        assert isinstance(row.access, Action)
        assert row.access not in READINGS
        assert not row.upload
        assert row.answer is not Download
        fields = row.body.__struct_fields__ if row.body else ()
        assert not {one for one in fields if "password" in one or "secret" in one}, name
    assert not {row.name for row in APPROVAL_OPERATIONS} & set(Guarded)
    assert set(Guarded) >= ALWAYS


def test_compromise_is_declared_when_another_agent_approves(api):
    """It is asked for by one, shown with all that will be done, and done as the other approves; both are on record."""
    approval = approval_id(api)
    shown = api.get(f"/approvals/{approval}")
    assert (shown["operation"], shown["subject"], shown["requester"]) == ("authorities.compromised", "Site", "agent")
    assert shown["path"] == f"/api/v1{site_path(api, '/compromise')}"
    assert '"since": "2026-01-02T03:04:05Z"' in shown["body"]
    assert compromised_at(api) is None
    status, done = decide(api, approval)
    assert (status, done["state"], done["decided_by"]) == (200, "done", EVERYBODY)
    assert done["changes"] == ["it was carried out", "compromised_at was changed"]
    assert compromised_at(api) == SINCE["since"]
    assert api.get("/authorities/Site/certificates/0x63")["answer"] == "revoked"
    records = api.get("/audit?event=CONFIG_OCSP_PROFILE&limit=1")["records"]
    assert (records[0]["caller"], "approved by everybody" in records[0]["origin"]) == ("agent", True)
    assert sorted(acts(api)) == [
        ("approve", EVERYBODY, "success"),
        ("execute", EVERYBODY, "success"),
        ("request", "agent", "success"),
    ]
    assert decide(api, approval)[0] == 409


def test_requester_and_who_has_not_the_right_approve_nothing(api):
    """Not who asked for it, whatever the certificate; not an administrator, as agents declare a CA compromised."""
    approval = approval_id(api)
    again = issue(api.port.ca, "agent again")
    api.port.services.users.add_certificate("agent", again.der, LOCAL)
    api.port.publish()
    for user in ("agent", again, "administrator", "domain"):
        assert decide(api, approval, user=user)[0] == 403
    for user in ("auditor", "publisher"):
        assert api.ask("POST", f"/approvals/{approval}/approve", user=user)[0] == 403
    assert compromised_at(api) is None
    assert decide(api, "0000")[0] == 404


def test_two_approvals_at_once_carry_it_out_once(api):
    """Of two that approve at one moment one does it, and the other is told who did."""
    api.port.services.users.change("administrator", LOCAL, groups=[Group.AGENTS])
    approval, answers = approval_id(api), []
    threads = [
        threading.Thread(target=lambda user=user: answers.append(decide(api, approval, user=user)))
        for user in (EVERYBODY, "administrator")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(status for status, _ in answers) == [200, 409]
    assert [act for act, *_ in acts(api)].count("execute") == 1


def test_denied_and_taken_back_is_not_done(api):
    """The second agent may say no, and the first one take it back; nothing was changed then."""
    for user in (EVERYBODY, "agent"):
        approval = approval_id(api)
        status, denied = decide(api, approval, "deny", user)
        assert (status, denied["state"], denied["decided_by"]) == (200, "denied", user)
        assert decide(api, approval)[0] == 409
    assert compromised_at(api) is None


def test_request_survives_a_restart_and_expires(tmp_path):
    """It is a fact of the store: a process that starts anew carries it out, and by its end nobody does."""
    with opened(tmp_path / "vouchd", **{KEY: NAMED, "vouchd.fourEyes.expireInSec": "60"}) as api:
        first = approval_id(api)
        store = api.port.services.store
        aged = store.approvals()
        (one,) = aged.entries
        store.put_approvals(replace(aged, entries=(replace(one, expires_at=one.requested_at),)), aged)
        status, refused = decide(api, first)
        assert (status, "has expired" in refused["title"]) == (409, True)
        second = approval_id(api)
        layout = Layout(api.port.services.layout.root)
    with ExitStack() as until_the_end:
        listed = Folder(layout, until_the_end, talks=False).call("approvals.list")
    assert {one["id"]: one["state"] for one in listed} == {first: "expired", second: "waiting"}


def test_failure_of_what_was_approved_is_told_and_recorded(api):
    """What cannot be done any more fails, and is not tried again by itself."""
    approval = approval_id(api)
    (authority,) = api.port.services.store.authorities()
    api.port.services.authorities.remove(authority.id, LOCAL)
    assert decide(api, approval)[0] == 404
    shown = api.get(f"/approvals/{approval}")
    assert (shown["state"], "no CA" in shown["outcome"] or "no certification" in shown["outcome"]) == ("failed", True)
    assert ("execute", EVERYBODY, "failure") in acts(api)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/users", {"id": "grace", "groups": [Group.AGENTS]}),
        ("PATCH", "/users/auditor", {"groups": [Group.AGENTS]}),
        ("POST", "/users/agent/certificates", {"certificate": OTHER.pem.decode()}),
        ("PATCH", "/configuration", {"changes": {KEY: ""}}),
        ("PATCH", "/configuration", {"changes": {KEY: None}}),
        ("PATCH", "/configuration", {"changes": {"vouchd.fourEyes.expireInSec": "60"}}),
        ("PATCH", "/configuration", {"changes": {"vouchd.store": "directory"}}),
        ("PATCH", "/configuration", {"changes": {"vouchd.renewal.sslserver.command": "/bin/sh"}}),
    ],
    ids=["another user", "another group", "another certificate", "off", "no line", "shorter", "other users", "command"],
)
def test_nobody_makes_a_second_pair_of_eyes_or_does_without(api, method, path, body):
    """With four eyes on, who could approve, and whether anybody has to, is changed by two alone."""
    before = api.port.services.layout.cs_cfg.read_bytes()
    facts = api.port.facts()
    status, said = api.ask(method, path, body, user="administrator")
    assert (status, said["error"]) == (202, "ApprovalPending")
    assert (api.port.services.layout.cs_cfg.read_bytes(), api.port.facts()) == (before, facts)


def test_other_settings_are_changed_by_one_and_four_eyes_by_two(api):
    """What does not bear on four eyes goes on as ever; two switch them off, from the next restart on."""
    assert api.ask("DELETE", "/authorities/Site", user="agent")[0] == 202
    trial = {"changes": {KEY: ""}, "dry_run": True}
    assert "diff" in api.ask("PATCH", "/configuration", trial, user="administrator")[1]
    api.port.services.authorities.remove("Site", LOCAL)  # it has certified no signer, so that CS.cfg is not whole
    other = {"changes": {"vouchd.request.maxCertIDs": "7"}}
    assert api.ask("PATCH", "/configuration", other, user="administrator")[0] == 200
    status, said = api.ask("PATCH", "/configuration", {"changes": {KEY: ""}}, user="administrator")
    assert status == 202, said
    waiting = next(one for one in api.get("/approvals") if one["operation"] == "configuration.change")
    assert decide(api, waiting["id"], user="agent")[0] == 403
    assert decide(api, waiting["id"])[0] == 200
    assert not read_settings(api.port.services.layout).four_eyes.operations


def test_without_four_eyes_one_does_it_and_nothing_waits(tmp_path):
    """It is off unless it is switched on."""
    with opened(tmp_path / "vouchd") as api:
        assert api.get("/four-eyes")["operations"] == []
        assert api.ask("PUT", site_path(api, "/compromise"), SINCE, user="agent")[0] == 200
        assert api.get("/approvals") == []


def test_paths_of_the_former_program_are_no_way_around(api):
    """removeCA and addCA wait like the operations that do the same."""
    before = api.port.facts()
    form = urlencode({"caID": "CN=Site CA", "xml": "true"}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    said = api.port.ask("POST", "/ocsp/agent/ocsp/removeCA", "agent", body=form, headers=headers)
    assert "a second agent has to approve authorities.remove" in said.text
    form = urlencode({"cert": OTHER.pem.decode(), "xml": "true"}).encode()
    said = api.port.ask("POST", "/ocsp/agent/ocsp/addCA", "agent", body=form, headers=headers)
    assert "a second agent has to approve authorities.add" in said.text
    assert api.port.facts() == before
    waiting = {one["operation"]: one["id"] for one in api.get("/approvals")}
    assert [decide(api, waiting[name])[0] for name in ("authorities.add", "authorities.remove")] == [200, 200]
    assert [one["subject"] for one in api.get("/authorities")] == ["CN=Other CA"]


EVERY = ", ".join(Guarded)
DIRECTORY = {"url": "ldap://127.0.0.1:1/dc=example", "manager": "cn=Directory Manager", "password": "secret-12345"}
ORDER = {"term": 2, "certificate": OTHER.pem.decode(), "signature": "AAAA"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/authorities/batch", {"authorities": [{"certificate": OTHER.pem.decode()}]}),
        ("POST", "/directory/adopt", {"url": "ldap://127.0.0.1:1/dc=example"}),
        ("POST", "/directory", DIRECTORY),
        ("POST", "/crls/lower-number?reason=why", b"crl"),
        ("POST", "/sources", {"name": "root", "url": "root.crl"}),
        ("PATCH", "/sources/root", {"url": "other.crl"}),
        ("DELETE", "/sources/root", None),
        ("POST", "/members/destroy", {}),
        ("POST", "/members/forced-promotion", ORDER),
        ("POST", "//domain/v1/leave", {"member": "ocsp2.example:8443"}),
        ("POST", "//domain/v1/promote", {"member": "ocsp2.example:8443"}),
    ],
)
def test_other_operation_of_the_same_effect_is_no_way_around(tmp_path, method, path, body):
    """What cannot wait is refused to one where what it comes to needs two."""
    with opened(tmp_path / "vouchd", **{KEY: EVERY}) as api:
        before = api.port.services.layout.cs_cfg.read_bytes(), api.port.facts()
        if path.startswith("//"):
            headers = {"Content-Type": "application/json"}
            reply = api.port.ask(method, path[1:], EVERYBODY, body=json.dumps(body).encode(), headers=headers)
            status, said = reply.status, json.loads(reply.body)
        else:
            status, said = api.ask(method, path, body)
        assert (status, said["error"]) == (403, "PermissionDenied"), said
        assert "needs two agents" in said["title"]
        assert (api.port.services.layout.cs_cfg.read_bytes(), api.port.facts()) == before


def test_member_that_is_taken_out_with_a_renewal_waits_where_renewing_does(tmp_path):
    """The renewal of the set is no side effect of what one may do alone; and the second sees that it is asked for."""
    with opened(tmp_path / "vouchd", **{KEY: "cloning.renew"}) as api:
        assert api.ask("DELETE", "/members/ocsp2.example:8443?renew=true")[0] == 202
        (waiting,) = api.get("/approvals")
        assert waiting["query"] == "renew=true"
        page = api.port.ask("GET", "/agent/approvals", "administrator")
        assert "<dt>renew</dt>" in page.text
        assert api.ask("DELETE", "/members/ocsp2.example:8443")[0] == 404


def test_crl_that_is_held_back_in_place_of_the_one_asked_about_is_not_released(tmp_path):
    """The second approves the CRL that the first one saw; one that took its place meanwhile stays held back."""
    with opened(tmp_path / "vouchd", **{KEY: "crls.release"}) as api:
        services = api.port.services
        path = held_back(api, "/release")
        assert api.ask("POST", path, user="agent")[0] == 202
        (waiting,) = api.get("/approvals")
        (seen,) = services.store.quarantined()
        assert seen.record.sha256[:16] in waiting["subject"]
        with pytest.raises(CRLQuarantined):
            services.ingesting.accept_crl(crl(api.site, age=30), "test", LOCAL, services.clock.now())
        (another,) = services.store.quarantined()
        assert another.record.sha256 != seen.record.sha256
        assert decide(api, waiting["id"])[0] == 409
        assert api.get(f"/approvals/{waiting['id']}")["state"] == "failed"
        assert services.store.quarantined() == (another,)
        assert api.ask("POST", path, user="agent")[0] == 202
        again = next(one for one in api.get("/approvals") if one["state"] == "waiting")
        assert decide(api, again["id"])[0] == 200
        assert services.store.quarantined() == ()


def test_label_that_comes_to_mean_another_ca_changes_nothing_of_what_was_asked(api):
    """A CA is put down by its id: what is called so when the other one approves is not what was meant."""
    assert api.ask("DELETE", "/authorities/Site", user="agent")[0] == 202
    services = api.port.services
    services.authorities.add(api.site.der, LOCAL, label="Old site")
    services.authorities.add(OTHER.der, LOCAL, label="Site")
    (waiting,) = api.get("/approvals")
    assert waiting["subject"] == "Old site"
    assert decide(api, waiting["id"])[0] == 200
    assert [one.label for one in services.store.authorities()] == ["Site"]


def test_folder_changes_its_settings_alone_and_refuses_the_rest(api):
    """Who works on the folder can do all things anyhow: there is the way back, and the rest is not done by mistake."""
    services = api.port.services
    with ExitStack() as until_the_end:
        folder = Folder(services.layout, until_the_end, talks=False)
        approval = approval_id(api)
        with pytest.raises(PermissionDenied, match="needs two agents"):
            folder.call("authorities.remove", "Site")
        with pytest.raises(PermissionDenied, match="not the folder"):
            folder.call("approvals.approve", approval)
        with pytest.raises(NotFound):
            folder.call("approvals.approve", "0000")
        assert folder.call("approvals.deny", approval)["state"] == "denied"
        services.authorities.remove("Site", LOCAL)
        assert folder.call("configuration.change", body={"changes": {KEY: None}})["applied"]
    assert not read_settings(services.layout).four_eyes.operations


def client_file(api, user: str, folder) -> str:
    """Key and certificate of a user in one PEM file."""
    issued = api.port.users[user]
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / f"{user}.pem"
    path.touch(0o600)
    path.write_bytes(key + issued.pem)
    return str(path)


def test_command_line_asks_shows_and_approves_over_the_port(api, tmp_path, capsys):
    """A script sees by the exit code that nothing is done yet; the second user sees what it is, and approves."""
    (tmp_path / "ca.pem").write_bytes(api.port.ca.pem)
    where = ("--url", f"https://localhost:{api.port.port}", "--trust", str(tmp_path / "ca.pem"))
    first, second = (("--cert", client_file(api, user, tmp_path)) for user in ("agent", EVERYBODY))
    declare = ("authority", "compromised", "Site", "--since", SINCE["since"])
    assert main([*declare, *where, *first]) == 75
    message = capsys.readouterr().err
    assert "nothing is done yet: a second agent has to approve authorities.compromised" in message
    approval = message.split("vouchd approval approve ")[1].split(",")[0]
    assert main(["approval", "list", *where, *second]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == [
        approval[:8],
        "authorities.compromised",
        "Site",
        "agent",
    ]
    assert main(["approval", "show", approval[:6], *where, *second]) == 0
    assert SINCE["since"] in capsys.readouterr().out
    assert main(["approval", "approve", approval, *where, *first]) == 77
    assert main(["approval", "approve", approval, *where, *second]) == 0
    assert f"{approval[:8]}: it was carried out" in capsys.readouterr().err
    assert compromised_at(api) == SINCE["since"]
    assert main(["approval", "approve", approval, *where, *second]) == 75
    assert main(["approval", "list", "--all", "--json", *where, *second]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["requester"], shown["decided_by"]) == ("done", "agent", EVERYBODY)


def test_member_of_the_set_takes_itself_out_without_a_second(api):
    """A member that proved its own key is no person: what it may do it does, and nothing is put down."""
    services, path = api.port.services, {"member": "ocsp2.example:8443"}
    member = replace(LOCAL, name="subsystem", origin="192.0.2.9", member=path["member"])
    call = Call(lambda: services, services.layout, services.running, member, path, {}, None, "")
    with pytest.raises(NotFound):
        operation_of("cloning.remove").perform(call)
    assert api.get("/approvals") == []


def test_keys_that_void_it_are_keys_that_there_are():
    """A key that is renamed does not slip out of what two have to agree on."""
    names = [known.name for known in KNOWN if not known.inert]
    for prefix in VOIDING_KEYS:
        assert [name for name in names if name.startswith(prefix)], prefix
