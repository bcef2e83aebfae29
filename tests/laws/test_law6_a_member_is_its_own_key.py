"""Law 6: a member is who its own key proves. Every act over the set is tried by everybody who might try it.

The keys that all members share were in many hands: in the PKCS #12, on every host, in the folder of a clone that was
stolen or taken out. So they open nothing but the door of joining, which takes a token as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.agent.agent_port import LOCAL
from tests.agent.domain_site import HOST, Master, a_clone, a_master, own_key
from tests.faults.page import FaultTable

from vouchd.cloning.appointment import administrators, appoint, believed
from vouchd.cloning.client import PeerClient
from vouchd.cloning.leaving import still_known
from vouchd.cloning.proof import MemberKey
from vouchd.errors import PermissionDenied, VouchdError
from vouchd.settings.passwords import INTERNAL, read_passwords
from vouchd.signing.keys import read_key
from vouchd.signing.sealing import public_key_hash
from vouchd.signing.software import SoftwareSigner

MASTER_ID = f"{HOST}:8443"
SECOND, THIRD = a_clone(2), a_clone(3)


TABLE = FaultTable.of("a set")


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Master:
    with a_master(tmp_path_factory.mktemp("law6") / "instance") as master:
        yield master


@pytest.fixture(autouse=True)
def set_of_three(master):
    """Each test begins with the master, the second and the third member."""
    for number in (2, 3):
        master.member(number)
    store = master.services.store
    before = store.members()
    yield
    for member in store.members() if store.members() != before else ():
        if member.host != HOST:
            store.remove_member(member.id)


@dataclass(frozen=True)
class Act:
    """One act of whoever may be behind the client; `changes` tells whether the registry is another one after it."""

    name: str
    run: Callable[[PeerClient, Master], object]
    changes: bool = False


def rejoined(member, **changes):
    return lambda client, _: client.rejoin(replace(member, **changes))


OWN_SHA256 = own_key(SECOND.host).sha256  # what the second member would like to see in the records of others
NOTHING = lambda _: None  # noqa: E731
ACTS = {
    act.name: act
    for act in (
        Act("look at the set", lambda client, _: client.info()),
        Act("follow the facts", lambda client, _: client.state("", 0)),
        Act("fetch a document", lambda client, _: client.document("0" * 64, 10)),
        Act("see what is answered from", lambda client, _: client.epochs()),
        Act("list the CAs", lambda client, _: client.listing()),
        Act("say its own record anew", rejoined(SECOND, ee_port=8090), changes=True),
        Act("rejoin as another member", rejoined(THIRD)),
        Act("rejoin as the master", rejoined(SECOND, host=HOST)),
        Act("put its key into the master's record", rejoined(SECOND, host=HOST, tls_sha256=OWN_SHA256)),
        Act("put its key into another's record", rejoined(THIRD, tls_sha256=OWN_SHA256)),
        Act("join as somebody new without a token", lambda client, _: client.join(a_clone(4), "guess")),
        Act("join as the master with a token", lambda client, site: client.join(a_clone(2, host=HOST), site.token())),
        Act("join as another with a token", lambda client, site: client.join(THIRD, site.token())),
        Act("fill its own directory", lambda client, _: client.replicate(SECOND.id, NOTHING, 30)),
        Act("fill another's directory", lambda client, _: client.replicate(THIRD.id, NOTHING, 30)),
        Act("promote itself", lambda client, _: client.promote(SECOND.id)),
        Act("promote another", lambda client, _: client.promote(THIRD.id)),
        Act("make the master leave", lambda client, _: client.leave(MASTER_ID)),
        Act("make another leave", lambda client, _: client.leave(THIRD.id)),
        Act("leave", lambda client, _: client.leave(SECOND.id), changes=True),
    )
}


def _removed(site: Master) -> PeerClient:
    site.services.domain.leave(SECOND.id, LOCAL)
    return site.joining(2)


CALLERS: dict[str, Callable[[Master], PeerClient]] = {
    "stranger": Master.client,
    "keys of the set alone": lambda site: site.client("enterprise"),
    "keys of the set and an unknown key": lambda site: site.joining(9),
    "second member": lambda site: site.joining(2),
    "removed member": _removed,
}
GRANTED = {  # by the own key of the second member, and by nothing else
    "look at the set",
    "follow the facts",
    "fetch a document",
    "see what is answered from",
    "list the CAs",
    "say its own record anew",
    "fill its own directory",
    "leave",
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", ACTS)
def test_act_over_the_set_takes_the_members_own_key(master, caller, name):
    """A member does to itself what is its own to do; all else is refused, on record, and changes nothing."""
    act, client = ACTS[name], CALLERS[caller](master)
    before = master.services.store.members()
    refusal = None
    try:
        act.run(client, master)
    except VouchdError as error:
        refusal = error
    if caller == "second member" and name in GRANTED:
        assert not isinstance(refusal, PermissionDenied), refusal
        assert (master.services.store.members() != before) is act.changes
        return
    assert refusal is not None
    assert master.services.store.members() == before
    if caller != "stranger" and isinstance(refusal, PermissionDenied):  # without a certificate there is nobody to name
        assert ("AUTHZ", "failure", "enterprise") in master.records()  # the first of a minute; the rest is counted


@pytest.mark.parametrize("number", [2, 9], ids=["second member", "unknown key"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "users"), ("POST", "users"), ("GET", "authorities"), ("GET", "configuration"), ("POST", "restart")],
)
def test_key_of_a_member_gives_no_right_of_a_person(master, number, method, path):
    """Users, policies and settings are the business of people with certificates of their own."""
    users = master.services.store.users()
    body = json.dumps({"id": "mallory", "groups": ["Administrators"]}).encode() if method == "POST" else None
    assert master.ask_as(number, method, f"/api/v1/{path}", body).status in {403, 404}
    assert master.services.store.users() == users


def test_member_that_is_an_administrator_too_is_none_by_the_shared_key(master):
    """Groups given to the user of the members by mistake do not make an administrator of everybody who has its key."""
    users = master.services.users
    before = users.find("enterprise", LOCAL).groups
    users.change("enterprise", LOCAL, groups=[*before, "Administrators"])
    try:
        for number in (2, 9):
            assert master.ask_as(number, "GET", "/api/v1/users").status == 403
    finally:
        users.change("enterprise", LOCAL, groups=before)


def test_proof_of_one_connection_is_none_on_another(master):
    """What a member has sent to somebody is of no use to him."""

    class Bearer:
        """Shows what was shown elsewhere."""

        sha256 = OWN_SHA256
        shown = own_key(SECOND.host).proof(b"the binding of another connection")

        def proof(self, _binding: bytes) -> str:
            return self.shown

    with pytest.raises(VouchdError, match="not signed by the key that it names"):
        master.client("enterprise", own=Bearer()).info()


@pytest.mark.parametrize("value", ["x", "a b", "!! !!", "MIIB AAAA", "A" * 7000, ""])
def test_proof_that_is_none_lets_nobody_in(master, value):
    """Nonsense is the sender's fault and opens nothing."""
    answer = master.ask("GET", "/domain/v1/info", "enterprise", headers={"Vouchd-Member": value})
    assert answer.status in {400, 403}


def test_joining_shows_the_keys_of_the_set_before_anything_is_told(master):
    """A join token alone is answered with nothing: neither the replication password nor a place in the registry."""
    token, before = master.token(), master.services.store.members()
    for client in (master.client(), master.client("administrator", own=own_key(a_clone(4).host))):
        with pytest.raises(PermissionDenied):
            client.join(a_clone(4), token)
    assert master.services.store.members() == before
    assert master.joining(4).join(a_clone(4), token).member.clone


def test_renewed_certificate_is_told_by_the_key_before_it(master):
    """The member alone can say by which key it is known from now on, and it says so by the one it is known by."""
    renewed = own_key("renewed.example.org").sha256
    master.joining(2).rejoin(replace(SECOND, tls_sha256=renewed))
    with pytest.raises(PermissionDenied):
        master.joining(2).info()
    known = next(one for one in master.services.store.members() if one.id == SECOND.id)
    assert known.tls_sha256 == renewed


def test_administrator_takes_a_member_out_and_his_name_is_on_record(master):
    """What no member may, a person may, with a certificate of his own."""
    master.client("administrator").leave(THIRD.id)
    assert ("SECURITY_DOMAIN_UPDATE", "success", "administrator") in master.records()
    assert THIRD.id not in {member.id for member in master.services.store.members()}


def _signer_of(master: Master) -> tuple[Path, str]:
    """The key file of the signer, and its password."""
    services = master.services
    (signer,) = services.settings.signers
    return signer.key_file, read_passwords(services.layout.password_conf)[INTERNAL]


@TABLE.fault(
    "a clone, or its folder, is in wrong hands",
    "as before: with its key it does nothing to the others",
    "each try that is refused stands in the audit log (`AUTHZ`, failure; many in a minute are counted)",
    "step by step: [security-domain.md](security-domain.md)",
)
def test_steps_after_a_member_fell_into_wrong_hands(master):
    """The steps of docs/set/security-domain.md: after each, what it was to end has ended, and those who stay go on.

    The thief has everything: the keys of the set, the member's own key, an administrator's key that lay in its folder.
    """
    stolen, stays = master.joining(2), master.joining(3)
    users, administrator = master.services.users, master.users["administrator"]
    assert stolen.state("", 0)

    left = master.client("domain")
    left.leave(SECOND.id, renew=True)  # step 1
    had = public_key_hash(read_key(*_signer_of(master)))
    assert had in master.services.store.keyring().disowned
    for ask in (stolen.info, stolen.epochs, lambda: stolen.state("", 0), lambda: stolen.rejoin(SECOND)):
        with pytest.raises(PermissionDenied):
            ask()
    for token in ("", "guess"):
        with pytest.raises(VouchdError):
            stolen.join(SECOND, token)

    appointed = appoint(SECOND, 2, MemberKey(SoftwareSigner("x", administrator.key, administrator.der)))
    claim = replace(SECOND, clone=False, term=2, appointment=appointed)
    members = master.services.store.members()
    assert believed([claim], members, administrators(users.users(LOCAL))).id == SECOND.id  # with the key that lay there
    try:
        users.remove_certificate("administrator", hashlib.sha256(administrator.der).hexdigest(), LOCAL)  # step 2
        assert believed([claim], members, administrators(users.users(LOCAL))).id == MASTER_ID
        with pytest.raises(PermissionDenied):
            master.client("administrator").promote(THIRD.id)
    finally:
        users.add_certificate("administrator", administrator.der, LOCAL)

    assert {"SECURITY_DOMAIN_UPDATE"} <= {event for event, _, _ in master.records()}  # step 3
    renewal = master.services.set_renewal
    assert [step.name for step in renewal.steps() if not step.done][:2] == ["ask", "request"]
    assert renewal.look()
    assert master.services.store.keyring().versions[-1].public_key != had, "each signer has a new key on its way"
    known = still_known(master.services.settings, replace(SECOND, directory=object()))  # step 4
    assert [bool(one.renewal) for one in known] == [True] * 3
    assert "the master renews it by itself" in known[-1].renewal
    assert stays.info().told_by.host == HOST
