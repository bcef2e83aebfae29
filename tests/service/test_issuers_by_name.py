"""The CA that issued a user's certificate is found by its name, whatever states came before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, new_key
from tests.serving import serving, state

from vouchd.core.key_history import issuer_of, with_certificate
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.pkix import certs
from vouchd.service.issuers_by_name import IssuersByName

KEYS = [new_key(), new_key()]
NAMES = ["One", "Two", "Three"]
CAS = {(name, number): CA.create(name, key=key) for name in NAMES for number, key in enumerate(KEYS)}
USERS = [ca.issue("user").certificate for ca in CAS.values()]


def served(name: str, numbers: tuple[int, ...]) -> ServingAuthority:
    """The CA of that name with these of its keys."""
    one = serving(CAS[name, numbers[0]])
    authority = with_certificate(one.authority, *(CAS[name, number].der for number in numbers))
    return replace(one, authority=replace(authority, id=name, label=name))


HISTORIES = st.sampled_from([(0,), (1,), (0, 1)])
STATES = st.lists(st.dictionaries(st.sampled_from(NAMES), HISTORIES), min_size=1, max_size=6)


@given(STATES, st.booleans())
def test_issuer_is_the_one_that_a_look_at_every_ca_finds(states: list[dict[str, tuple[int, ...]]], says: bool):
    """CAs come, go and change their keys; a state says what changed of it, or it is compared as a whole."""
    issuers, former = IssuersByName(), state(version=0)
    for version, present in enumerate(states, 1):
        every = tuple(served(name, numbers) for name, numbers in sorted(present.items()))
        ids = {one.authority.id: one for one in every}
        changed = frozenset(each for each in ids.keys() | former.by_id if ids.get(each) != former.by_id.get(each))
        now = ServingState(version, every, version - 1 if says else None, changed)
        for user in USERS:
            assert issuers.issuer_of(user, now) == issuer_of(user, [one.authority for one in every])
        former = now


def test_one_signature_is_verified_however_many_cas_there_are(monkeypatch):
    """A request of a user costs what it costs with one CA."""
    verified = []
    is_issued_by = certs.is_issued_by
    monkeypatch.setattr(certs, "is_issued_by", lambda *pair: verified.append(pair) or is_issued_by(*pair))
    key = new_key()
    many = state(*(serving(CA.create(f"CA {number}", key=key)) for number in range(50)))
    user = CA.create("CA 7", key=key).issue("user").certificate
    assert IssuersByName().issuer_of(user, many).authority.id == many.authorities[7].authority.id
    assert len(verified) == 1


def test_state_that_says_nothing_is_compared_with_the_one_before():
    """A state of the same version may be another one: what it serves counts."""
    one, two = serving(CAS["One", 0]), serving(CAS["Two", 0])
    issuers, user = IssuersByName(), CAS["Two", 0].issue("user").certificate
    assert issuers.issuer_of(user, state(one)) is None
    assert issuers.issuer_of(user, state(two)).authority == two.authority
    assert issuers.issuer_of(user, state(one)) is None
