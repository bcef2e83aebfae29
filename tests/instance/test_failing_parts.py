"""What cannot be used now: each CA is looked at when something of it has changed, and in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pki import CA, DAY, NOW, shared_key
from tests.serving import entry, point

from vouchd.core.facts import Authority, AuthorityPolicy
from vouchd.core.status import ServingAuthority, ServingState
from vouchd.errors import SigningError
from vouchd.instance.certificates.signers import Checked, Judgement, LoadedSigners, learn
from vouchd.instance.failing_parts import FailingParts
from vouchd.pkix import certs
from vouchd.signing.software import SoftwareSigner

CAS = [CA.create(f"CA {number}", key=shared_key(number=number)) for number in range(3)]


class Time:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


class Signers(LoadedSigners):
    """Counts the CAs that are looked at."""

    looks: list[str]

    def problem(self, authority: Authority, at: int) -> SigningError | None:
        self.looks.append(authority.label)
        return super().problem(authority, at)


@pytest.fixture
def signers():
    """A signer of each CA but the last."""
    leaves = [ca.issue_signer() for ca in CAS[:2]]
    made = Signers({f"s{n}": SoftwareSigner(f"s{n}", leaf.key, leaf.der) for n, leaf in enumerate(leaves)}, {}, "s0")
    object.__setattr__(made, "looks", [])
    return made


def serving(number: int, *, behind: bool = False, signer: int | None = None) -> ServingAuthority:
    ca = CAS[number]
    policy = AuthorityPolicy(signer=f"s{number if signer is None else signer}")
    authority = Authority(certs.authority_id(ca.certificate), ca.der, f"CA {number}", policy)
    return ServingAuthority(authority, (), behind=behind)


def state(version: int, *cas: ServingAuthority, changed: tuple[int, ...] = ()) -> ServingState:
    ids = frozenset(serving(number).authority.id for number in changed)
    return ServingState(version, cas, version - 1, ids)


def names(parts) -> list[str]:
    return [part.part for part in parts]


def test_signers_whose_keys_were_let_go_are_judged_as_before(signers):
    """The manager signs nothing once its start is proved: it goes by certificates."""
    every = state(1, *(serving(number) for number in range(3)))
    before = FailingParts(Checked(signers, (), {}), Time()).of(every)
    signers.let_keys_go()
    assert FailingParts(Checked(signers, (), {}), Time()).of(every) == before
    with pytest.raises(SigningError):
        signers.ready["s0"].sign(b"", signers.ready["s0"].algorithms[0])


def test_only_cas_that_changed_are_looked_at_again(signers):
    """One CRL among many CAs costs one CA; a CA that nobody may sign for is looked at each time."""
    failing = FailingParts(Checked(signers, (), {}), Time())
    first = [serving(number) for number in range(3)]
    assert names(failing.of(state(1, *first))) == ["CA CA 2"]
    assert sorted(signers.looks) == ["CA 0", "CA 1", "CA 2"]
    signers.looks.clear()
    assert names(failing.of(state(1, *first))) == ["CA CA 2"]
    assert names(failing.of(state(2, serving(0, behind=True), *first[1:], changed=(0,)))) == ["CA CA 2"]
    assert set(signers.looks) <= {"CA 0", "CA 2"}
    assert names(failing.of(state(3, serving(0), first[1], changed=(2,)))) == []


def test_ca_that_is_not_proved_yet_is_judged_when_it_is(signers):
    """What its signer may do is a part of its proof; that it has none is told at once."""
    unproved = {serving(number).authority.id for number in (1, 2)}
    failing = FailingParts(Checked(signers, (), {}), Time(), lambda: frozenset(unproved))
    served = state(1, serving(0), serving(1, signer=0), serving(2))
    assert names(failing.of(served)) == ["CA CA 2"]
    assert sorted(signers.looks) == ["CA 0", "CA 2"]
    unproved.clear()
    assert names(failing.of(served)) == ["CA CA 1", "CA CA 2"]


def test_what_a_proof_has_found_out_of_a_signer_is_not_verified_again(signers, monkeypatch):
    """It is gone by for the octets that it is of, and for no other certificate or signer."""
    served, clock = state(1, serving(0), serving(1)), Time()
    verified: list[object] = []
    verify = certs.verify
    monkeypatch.setattr(certs, "verify", lambda *args: (verified.append(args), verify(*args)))
    for one in served.authorities:
        learn(signers, one.authority, Judgement((NOW - DAY, NOW + 100 * DAY), ()))
    failing = FailingParts(Checked(signers, (), {}), clock)
    assert names(failing.of(served)) == []
    assert not verified
    assert names(failing.of(state(2, serving(0), serving(1, signer=0), changed=(1,)))) == ["CA CA 1"]
    clock.at = NOW + 400 * DAY
    assert names(failing.of(state(2, serving(0), serving(1)))) == ["CA CA 0", "CA CA 1"]


def revoking(number: int, signers: Signers) -> ServingAuthority:
    """That CA with a CRL that lists its signer."""
    serial = certs.load_certificate(signers.ready[f"s{number}"].certificate_der).serial_number
    return replace(serving(number), points=(point(CAS[number], entry(serial)),))


def test_ca_that_is_not_proved_yet_is_not_heard_and_counts_when_it_is(signers):
    """What it says of a signer that another CA is answered for with is told once its own proof is made."""
    trusting = serving(1, signer=0)
    trusting = replace(
        trusting, authority=replace(trusting.authority, policy=AuthorityPolicy(signer="s0", trusted_responder=True))
    )
    waiting = {serving(0).authority.id}
    left = frozenset(waiting)
    failing = FailingParts(Checked(signers, (), {}), Time(), lambda: left, lambda: frozenset(waiting))
    served = state(1, revoking(0, signers), trusting)
    assert names(failing.of(served)) == []
    assert names(failing.of(replace(served, version=2, former=1))) == []
    waiting.clear()  # it did not pass, and what it says is heard all the same
    assert names(failing.of(replace(served, version=2, former=1))) == ["CA CA 1"]


def test_end_of_a_signer_is_noticed_when_it_comes(signers):
    """That nothing changed takes nobody's life longer."""
    clock = Time()
    failing = FailingParts(Checked(signers, (), {}), clock)
    served = state(1, serving(0), serving(1))
    assert names(failing.of(served)) == []
    clock.at = NOW + 400 * DAY
    assert names(failing.of(served)) == ["CA CA 0", "CA CA 1"]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), unique=True), st.integers(0, 2), st.booleans(), st.integers(-400, 400)),
        max_size=8,
    )
)
def test_parts_after_any_changes_are_those_of_a_look_at_everything(steps):
    """What is kept from one report to the next is never other than what a look at all says, wherever the clock jumps."""
    leaves = [ca.issue_signer() for ca in CAS[:2]]
    ready = {f"s{n}": SoftwareSigner(f"s{n}", leaf.key, leaf.der) for n, leaf in enumerate(leaves)}
    checked = Checked(
        LoadedSigners(ready, {}, "s0"), (), {"signer s1": SigningError("x"), "CA CA 1": SigningError("y")}
    )
    clock, before = Time(), dict[int, ServingAuthority]()
    failing = FailingParts(checked, clock)
    for version, (present, signer, behind, days) in enumerate(steps, 1):
        clock.at += days * DAY
        after = {
            number: before.get(number) or serving(number, behind=behind, signer=signer) for number in sorted(present)
        }
        changed = tuple(number for number in range(3) if before.get(number) is not after.get(number))
        made = state(version, *after.values(), changed=changed)
        assert set(failing.of(made)) == set(FailingParts(checked, clock).of(replace(made, former=None)))
        before = after


def test_part_that_failed_at_the_start_is_told_by_itself_where_no_ca_tells_of_it(signers):
    """A signer that no CA names fails by its own name; one that a CA names is told of by that CA."""
    error = SigningError("no such key")
    failing = FailingParts(Checked(signers, (), {"signer s0": error, "signer idle": error}), Time())
    assert names(failing.of(state(1, serving(0)))) == ["signer idle"]


def test_token_that_begins_or_ends_to_fail_is_news_once(signers, monkeypatch):
    """What is shown follows the token at once; one that goes on as it was changes nothing."""
    monkeypatch.setitem(vars(signers), "on_tokens", {"s0": signers.ready["s0"]})
    failing = FailingParts(Checked(signers, (), {}), Time())
    assert not failing.tokens_changed()
    with monkeypatch.context() as patch:
        patch.setattr(SoftwareSigner, "token_problem", lambda _: SigningError("it hangs"))
        assert [failing.tokens_changed(), failing.tokens_changed()] == [True, False]
    assert [failing.tokens_changed(), failing.tokens_changed()] == [True, False]


def test_only_signers_on_tokens_are_asked_for_their_token(signers, monkeypatch):
    """A report costs no look at each of many signers whose keys are in files."""
    questions: list[str] = []
    monkeypatch.setattr(SoftwareSigner, "token_problem", lambda self: questions.append(self.nickname))
    failing = FailingParts(Checked(signers, (), {}), Time())
    assert names(failing.of(state(1, serving(0), serving(2)))) == ["CA CA 2"]
    assert names(failing.of(state(1, serving(0), serving(2)))) == ["CA CA 2"]
    assert not questions
