"""The parts of the agent pages that need no instance."""

from __future__ import annotations

import pytest

from vouchd.agent.pages import showing
from vouchd.agent.pages.authorities import own_policy
from vouchd.agent.pages.charts import NOTHING, Line, draw
from vouchd.agent.pages.conditions import Tone, expiry_condition
from vouchd.agent.pages.crls import KEEP_SECONDS, Staging
from vouchd.agent.pages.forms import FormTokens
from vouchd.agent.pages.history import History, quantile
from vouchd.core.facts import AuthorityPolicy
from vouchd.errors import NotFound, PermissionDenied
from vouchd.pkix.purposes import Validity


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (90, "90 seconds"),
        (86_390, "24 hours"),
        (86400 * 800, "2 years"),
    ],
)
def test_duration_is_in_a_unit_that_tells_enough(seconds, text):
    """There are at least two of the unit, so that rounding hides little."""
    assert showing.duration(seconds) == text


def test_times_apart_tell_the_direction():
    """Past and future cannot be taken for one another."""
    assert [showing.apart(at, 1000) for at in (1000, 900, 1100)] == ["now", "100 seconds ago", "in 100 seconds"]


def test_serial_is_shown_in_hexadecimal_without_its_sign_octet():
    """A serial looks as other tools show it."""
    assert showing.serial_text(b"\x00\xb5\xca") == "0xb5ca"


def test_token_is_bound_to_the_certificate():
    """The token of one certificate is none for another one, nor after a restart."""
    tokens = FormTokens()
    tokens.require(tokens.token(b"mine"), b"mine")
    for token, certificate in (
        (tokens.token(b"mine"), b"yours"),
        ("", b"mine"),
        (FormTokens().token(b"mine"), b"mine"),
    ):
        with pytest.raises(PermissionDenied):
            tokens.require(token, certificate)


def test_staged_crl_is_taken_once_by_its_user_in_time():
    """Nobody takes another user's CRL, nor one that was looked at long ago."""
    staging = Staging(100)
    name = staging.put("ada", b"crl", 0)
    with pytest.raises(NotFound):
        staging.take("bob", name, 1)
    assert staging.take("ada", name, 1) == b"crl"
    with pytest.raises(NotFound):
        staging.take("ada", name, 1)
    name = staging.put("ada", b"crl", 0)
    with pytest.raises(NotFound):
        staging.take("ada", name, KEEP_SECONDS)


def test_staging_holds_no_more_than_its_bound():
    """Users together cannot fill the memory: the oldest goes first."""
    staging = Staging(100)
    first = staging.put("ada", b"a" * 60, 0)
    second = staging.put("bob", b"b" * 60, 0)
    with pytest.raises(NotFound):
        staging.take("ada", first, 1)
    assert staging.take("bob", second, 1) == b"b" * 60


def test_quantile_is_the_bound_of_the_bucket():
    """Half of the signatures were at most as slow as the median says; without any there is none."""
    assert quantile([0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.5) == 0.00025
    assert quantile([0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.95) == 0.0005
    assert quantile([0] * 13, 0.5) is None


def test_chart_stacks_and_keeps_gaps():
    """Lines stand on one another, a time without a sample is a gap, and the scale ends at a round number."""
    lines = [Line("a", "good", (None, 1.0, 2.0)), Line("b", "bad", (None, 1.0, 1.0))]
    chart = draw("both", lines, "{:g}".format, stacked=True)
    assert [tick[1] for tick in chart.ticks] == ["0", "2.5", "5"]
    assert all(line.path.count("M") == 1 and line.path.count("L") == 1 for line in chart.lines)
    assert chart.summary == "both. Now: a 2, b 1"
    assert not chart.empty


def test_chart_without_samples_is_empty_and_says_so():
    """Nothing is drawn where nothing is known."""
    chart = draw("none", [Line("a", "good", (None, None))], str)
    assert chart.empty
    assert chart.lines[0].path == ""
    assert NOTHING in chart.summary


class _Clock:
    """A clock that is set."""

    time = 1000

    def now(self) -> int:
        return self.time


async def test_history_tells_rates_between_samples():
    """What happened per second is the difference of two samples; a restart of the workers is no negative rate."""
    clock, counters = _Clock(), {}

    async def snapshot():
        return {"counters": dict(counters)}

    history = History(snapshot, clock)
    for good, revoked, at in ((10, 0, 1000), (60, 10, 1010), (5, 0, 1020)):
        clock.time = at
        counters.update(cert_statuses={"good": good, "revoked": revoked}, cache_hits=good, cache_misses=good)
        await history.latest()
    first, second = history.intervals()
    assert (first.good, first.revoked, first.hit_share) == (5.0, 1.0, 0.5)
    assert (second.good, second.hit_share) == (0, None)


@pytest.mark.parametrize("life", [90, 40 * 86400, 800 * 86400])
@pytest.mark.parametrize("share", [-0.1, 0.0, 0.3, 0.66, 0.67, 0.97, 1.0, 1.1])
def test_certificate_is_in_one_condition_on_pages_and_for_readiness(life, share):
    """One rule: the page calls a certificate valid exactly when readiness, commands and log have nothing to say of it."""
    validity = Validity(1_000_000_000, 1_000_000_000 + life)
    at = validity.not_before + int(share * life)
    assert (expiry_condition(validity, at).tone is Tone.GOOD) == (validity.warning(at) == "")
    assert (expiry_condition(validity, at).word == "Expired") == (validity.warning(at) == "has expired")


def test_policy_of_a_ca_is_told_by_what_it_says_otherwise():
    """Each setting of a CA stands in the words of its description; what is as for every CA does not."""
    assert own_policy(AuthorityPolicy()) == []
    policy = own_policy(AuthorityPolicy(not_found_as_good=False, slot_seconds=60, signer="tier2"))
    assert policy == [
        ("Whether a serial that no CRL lists is good, else unknown", "no"),
        ("The length of a slot; null: 30", "60"),
    ]
