"""Every reader of foreign bytes lets out errors of ours only; a bounded run of the targets that `make fuzz` runs longer."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import seeds
from fuzz.targets import TARGETS

CHANGES = st.sampled_from(["set", "cut", "double", "insert", "splice", "truncate"])
COUNT, LENGTH, OCTET, OCTETS = st.integers(0, 6), st.integers(0, 16), st.integers(0, 255), st.binary(max_size=8)


@cache
def mutated(name: str) -> st.SearchStrategy[bytes]:
    """A seed after up to six changes: a byte set, a stretch cut out, doubled, or put in from another."""
    originals = st.sampled_from(TARGETS[name].seeds())

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(originals))
        for _ in range(draw(COUNT)):
            at = draw(st.integers(0, len(data)))
            length = draw(LENGTH)
            match draw(CHANGES):
                case "set" if at < len(data):
                    data[at] = draw(OCTET)
                case "cut":
                    del data[at : at + length]
                case "double":
                    data[at:at] = data[at : at + length]
                case "insert":
                    data[at:at] = draw(OCTETS)
                case "splice":
                    other = draw(originals)
                    data[at:] = other[min(at, len(other)) :]
                case "truncate":
                    del data[at:]
        return bytes(data)

    return build()


@pytest.mark.parametrize("name", TARGETS)
def test_reader_given_each_seed_lets_out_our_errors_only(name: str) -> None:
    """The public vectors, good and bad, are read or refused in an orderly way."""
    assert TARGETS[name].seeds()
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
@settings(suppress_health_check=list(HealthCheck))
def test_reader_given_mutated_input_lets_out_our_errors_only(name: str, data: st.DataObject) -> None:
    """A changed vector is read or refused in an orderly way."""
    TARGETS[name].run(data.draw(mutated(name)))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=256))
@settings(suppress_health_check=list(HealthCheck))
def test_reader_given_noise_lets_out_our_errors_only(name: str, data: bytes) -> None:
    """Bytes without any sense are refused in an orderly way."""
    TARGETS[name].run(data)


def test_seeds_have_all_kinds() -> None:
    """The vectors are there: requests, responses, CRLs and certificates."""
    assert min(len(kind()) for kind in (seeds.ocsp_requests, seeds.ocsp_responses, seeds.crls, seeds.certificates)) > 10


LONG_WRONG_KEY = b"# a comme\nocsp.store.defSto" + b"k" * 60 + b"re.notFoundAsGood=true\n"


def test_long_wrong_key_costs_no_more_than_another():
    """Looking for what was meant by a key compares it with few others, however long it is (found by fuzzing)."""
    TARGETS["config"].run(LONG_WRONG_KEY)


def test_pkcs12_whose_mac_ends_in_no_integer_is_refused():
    """Two octets that changed their places at the end, the tag of the iteration count among them (found by fuzzing)."""
    data = bytearray((seeds.ALL_VECTORS / "pkcs12" / "cert-key-aes256cbc.p12").read_bytes())
    data[-4], data[-2] = data[-2], data[-4]
    TARGETS["pkcs12"].run(bytes(data))
