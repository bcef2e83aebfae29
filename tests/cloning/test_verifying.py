"""Comparing members: over HTTP with answers that are alike, or different at one level, and members that are away."""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote, urlsplit

import pytest
from tests.client.answers import HTTPRequest, loopback
from tests.pki import CA, NOW, shared_key
from tests.serving import entry, point, responder, serving, signer, state

from vouchd.cloning.listing import listing
from vouchd.cloning.verdicts import read_verification
from vouchd.cloning.verifying import Verifying
from vouchd.core.facts import Member
from vouchd.core.policy import RequestSignaturePolicy
from vouchd.core.status import ServingState
from vouchd.errors import ClientError
from vouchd.pkix.reasons import Reason
from vouchd.pkix.signatures import ALGORITHMS, DIGESTS
from vouchd.service.answering import Responder

SITE = CA.create("Site CA", key=shared_key("RSA"))
SIGNER = SITE.issue_signer(key=shared_key("RSA", 1))
ENTRIES = (entry(1), entry(2), entry(3, Reason.CERTIFICATE_HOLD))
# In how many more ways one certificate of a CA is asked about: digests, all at once, preferences, signed.
FORMS = 2 * (len(DIGESTS) - 1) + 1 + len(ALGORITHMS) + 1
SEVERAL = 3  # where there are several certificates
SAME = state(serving(SITE, point(SITE, *ENTRIES)))


SETTINGS = {"ocsp.rejectAlgorithms": "", "securitydomain.name": "vouchd"}


@dataclass
class Site:
    """One member: what it lists and how it answers; `away` names the ports that do not."""

    holding: ServingState = SAME
    algorithm: str = "SHA256withRSA"
    policy: dict[str, object] = field(default_factory=dict)
    away: tuple[str, ...] = ()
    late_lists: int = 0  # so often it lists nothing yet
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    late: int = 0  # so often it answers each question a second later
    _questions: Counter[bytes] = field(default_factory=Counter)

    def answers(self, request: HTTPRequest) -> tuple[int, dict[str, str], bytes]:
        """As the EE port does."""
        path = unquote(request.path.removeprefix("/ocsp").removeprefix("/"))
        request_der = request.body if request.method == "POST" else base64.b64decode(path)
        at = NOW + (self._questions[request_der] < self.late)
        self._questions[request_der] += 1
        return 200, {"Content-Type": "application/ocsp-response"}, self._responder.answer(request_der, at).response_der

    @cached_property
    def _responder(self) -> Responder:
        return responder(self.holding, signer(SIGNER, algorithm=self.algorithm), **self.policy)

    def listing(self):
        """As the client of its agent port does."""
        if "agent" in self.away:
            raise ClientError("cannot ask it")
        self.late_lists -= 1
        return listing(state() if self.late_lists >= 0 else self.holding, NOW, self.settings)


class Clock:
    """The moment of all that is said here."""

    def now(self) -> int:
        return NOW


@pytest.fixture
def verified(tmp_path):
    """How members come out of a comparison with one that is `Site()`, or `here`; one alone is returned as such."""
    with ExitStack() as running:

        def compare(*sites: Site, here: Site | None = None, chosen=(), sample: int = 5, settle: float = 0):
            own = running.enter_context(loopback((here or Site()).answers)).url
            members = {}
            for number, site in enumerate(sites):
                url = running.enter_context(loopback(site.answers)).url
                port = 1 if "ee" in site.away else urlsplit(url).port
                member = Member("127.0.0.1", 9000 + number, port, "OCSP", clone=True, joined_at=0)
                members[member.id] = (member, site)
            others = [member for member, _ in members.values()]
            verifying = Verifying(
                lambda: (here or Site()).holding,
                lambda: own,
                lambda: others,
                lambda member: members[member.id][1],
                Clock(),
                tmp_path / "verification.json",
                lambda: (here or Site()).settings,
            )
            verification = verifying.verify(sample, chosen, settle)
            assert not verification.members or read_verification(tmp_path / "verification.json") == verification
            return verification.members if len(sites) != 1 else verification.members[0]

        yield compare


def differences(member) -> set[tuple[str, str]]:
    """Level and field of what is different."""
    return {(one.level, one.field) for one in member.examples}


def test_members_that_are_alike_are_identical(verified):
    """All kinds, three ways each; those with a nonce are signed anew, all others are the same bytes."""
    one, other = verified(Site(), Site())
    assert (one.state, other.state, one.examples) == ("identical", "identical", ())
    kinds = len(ENTRIES) + 2
    assert (one.questions, one.status, one.response_data) == (3 * kinds + FORMS + SEVERAL,) * 3
    # The unknown CA gets an error, which has no nonce; one form has a nonce, and three prefer RSASSA-PSS.
    assert one.bytes == one.bytes_asked == one.questions - (kinds - 1) - 1 - 3


OTHERS = {
    "status": (Site(state(serving(SITE, point(SITE, entry(1), entry(2))))), ("status", "certStatus")),
    "policy": (Site(policy={"include_next_update": False}), ("ResponseData", "nextUpdate")),
    "algorithm": (Site(algorithm="SHA512withRSA"), ("bytes", "signatureAlgorithm")),
    "digest refused": (Site(policy={"reject_algorithms": frozenset({"SHA-1"})}), ("status", "responseStatus")),
    "signatures required": (
        Site(policy={"signature": RequestSignaturePolicy.VERIFY}),
        ("status", "responseStatus"),
    ),
    "certificates at once": (Site(policy={"max_cert_ids": 1}), ("status", "responseStatus")),
    "settings": (
        Site(settings={"ocsp.rejectAlgorithms": "SHA-1"}),
        ("list", "ocsp.rejectAlgorithms"),
    ),
    "list": (
        Site(state(serving(SITE, point(SITE, *ENTRIES), archive_cutoff_seconds=9))),
        ("list", "policy archive_cutoff_seconds"),
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_difference_is_found_and_its_level_told(verified, kind):
    """What one member lists, says, signs or sends otherwise is told of it alone, with level and field."""
    site, expected = OTHERS[kind]
    alike, different = verified(Site(), site)
    assert (alike.state, different.state) == ("identical", "different")
    assert expected in differences(different)
    assert different.differences >= len(different.examples) > 0


def test_signatures_made_at_random_are_no_difference(verified):
    """With RSA-PSS no two answers are the same bytes: only errors are asked to be, and all that is signed."""
    at_random = Site(algorithm="SHA256withRSA/PSS")
    member = verified(at_random, here=at_random)
    assert member.state == "identical"
    assert member.bytes == member.bytes_asked == 3 + 3  # those, and who prefers RSA PKCS #1 v1.5
    assert member.response_data == member.questions > 3


def test_chosen_serial_is_asked_about_alone(verified):
    """The certificate that was named is told with its CA and each way of asking."""
    site, _ = OTHERS["policy"]
    member = verified(site, chosen=[b"\x01"])
    assert member.questions == member.differences == 3 + FORMS
    assert {one.what for one in member.examples} == {"chosen 0x1 of CA"}
    assert {one.way for one in member.examples} >= {"GET", "POST", "POST with a nonce", "GET, SHA-1"}


@pytest.mark.parametrize(("away", "compared"), [("agent", True), ("ee", False)])
def test_member_that_is_away_is_told_of_and_the_rest_is_compared(verified, away, compared):
    """One port that is closed hides nothing of the other one, and nothing of other members."""
    one, other = verified(Site(away=(away,)), Site())
    assert (one.state, bool(one.error), bool(one.questions)) == ("no answer", True, compared)
    assert other.state == "identical"


def test_difference_that_ends_in_time_is_none(verified):
    """A change that is on its way to the other members is waited for, so long and no longer."""
    assert verified(Site(late_lists=2), settle=30).state == "identical"
    assert differences(verified(Site(late_lists=2), settle=0)) == {("list", "listed")}


def test_second_that_passes_between_two_answers_is_no_difference(verified):
    """Both are asked again where their answers differ only in when they were made; where that stays so it is told."""
    assert verified(Site(late=2)).identical
    assert differences(verified(Site(late=1 << 20))) == {("ResponseData", "producedAt")}


def test_many_differences_are_counted_and_the_first_told(verified):
    """The result stays small whatever is different."""
    many = state(serving(SITE, point(SITE, *map(entry, range(1, 11)))))
    site, _ = OTHERS["policy"]
    member = verified(Site(many, policy=site.policy), here=Site(many), sample=9)
    assert (len(member.examples), member.differences) == (20, 3 * 10 + FORMS + SEVERAL)


def test_instance_alone_has_nothing_to_compare(verified):
    """Outside a set nothing is asked."""
    assert verified() == ()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1/"])
def test_instance_that_does_not_run_compares_nothing(tmp_path, url):
    """What is not answered here is not blamed on the others."""
    other = Member("127.0.0.1", 9000, 1, "OCSP", clone=True, joined_at=0)
    verifying = Verifying(lambda: SAME, lambda: url, lambda: [other], lambda _: Site(), Clock(), tmp_path / "x")
    with pytest.raises(ClientError, match="this instance does not"):
        verifying.verify(settle_seconds=0)
