"""Names under which the members of a set reach each other: each means one host, the same wherever it is looked up."""

from __future__ import annotations

import pytest

from vouchd.core.hostnames import qualified
from vouchd.errors import ConfigError

LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ocsp1.example", "ocsp1.example"),
        ("OCSP1.Example.", "ocsp1.example"),
        ("a.b", "a.b"),
        ("A.LINUX", "a.linux"),
        ("1.example", "1.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a-b.local", "a-b.local"),
        ("localhost1.example", "localhost1.example"),
        ("a.localdomain.example", "a.localdomain.example"),
        (LONGEST, LONGEST),
    ],
)
def test_name_of_a_host_is_taken_in_lower_case(host: str, name: str):
    """Up to 63 characters a label and 253 together (RFC 1035 2.3.4), without the dot at its end."""
    assert qualified(host) == name


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("", "not a host name"),
        (".", "not a host name"),
        ("a..b", "not a host name"),
        ("-a.example", "not a host name"),
        ("a-.example", "not a host name"),
        ("a_b.example", "not a host name"),
        ("ü.example", "not a host name"),
        ("a.example\n", "not a host name"),
        ("a" * 64 + ".example", "not a host name"),
        (LONGEST + "b", "not a host name"),
        ("::1", "not a host name"),
        ("192.0.2.1", "is an address"),
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
        ("localhost.localdomain", "loopback"),
        ("localhost.example", "loopback"),
        ("ds.localhost", "loopback"),
        ("ds1.localdomain", "loopback"),
        ("ocsp1", "not fully qualified"),
    ],
)
def test_name_that_is_of_no_host_or_of_every_one_is_refused(host: str, why: str):
    """With such a name the servers of a set would replicate with themselves, or with nobody, for ever."""
    with pytest.raises(ConfigError, match=why) as refused:
        qualified(host)
    assert "hostname -f" in refused.value.hint
