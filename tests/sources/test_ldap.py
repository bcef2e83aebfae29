"""CRLs in a real directory: plain, LDAPS and StartTLS, anonymous and bound."""

from __future__ import annotations

import importlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import ldap
import pytest
from tests.api.conftest import opened
from tests.directory.test_client_certificate import identity
from tests.ds389 import PASSWORD, ROOT_DN, directories

from vouchd.directory.client_certificate import known_by
from vouchd.errors import ConfigError, SourceError
from vouchd.service.pulling import Validator
from vouchd.sources.ldap import LDAPSource
from vouchd.wiring.sources import pulls

pytestmark = pytest.mark.interop

BASE, DELTA, BIG = b"\x30\x03crl", b"\x30\x03dlt", b"\x30" + b"B" * 6_000_000
OPEN = b'(targetattr="*")(version 3.0; acl "read"; allow (read, search, compare) userdn="ldap:///anyone";)'
START_TLS = "1.3.6.1.4.1.1466.20037"


ENTRY = [("objectClass", [b"top", b"cRLDistributionPoint"])]
UNIT = [("objectClass", [b"top", b"organizationalUnit"])]


def add(connection, dn: str, **attributes: bytes) -> None:
    """A cRLDistributionPoint entry; `crl` and `delta` are its CRLs."""
    names = {"crl": "certificateRevocationList;binary", "delta": "deltaRevocationList;binary"}
    entry = [("objectClass", [b"top", b"cRLDistributionPoint"]), ("cn", [dn.split(",", maxsplit=1)[0][3:].encode()])]
    entry += [(names[name], [value]) for name, value in attributes.items()]
    connection.add_s(dn, entry)


@pytest.fixture(scope="module")
def directory():
    """A running directory with some CRLs that anyone may read, and one that only its manager may."""
    with directories(suffix="o=crl.example") as (directory,):
        connection = ldap.initialize(directory.url)
        connection.simple_bind_s(ROOT_DN, PASSWORD)
        connection.modify_s("cn=config", [(ldap.MOD_REPLACE, "nsslapd-allow-anonymous-access", [b"on"])])
        suffix = directory.suffix
        connection.add_s(suffix, [("objectClass", [b"top", b"organization"]), ("o", [b"crl.example"]), ("aci", [OPEN])])
        add(connection, f"cn=both,{suffix}", crl=BASE, delta=DELTA)
        add(connection, f"cn=empty,{suffix}")
        add(connection, f"cn=big,{suffix}", crl=BIG)
        connection.add_s(f"ou=parts,{suffix}", [("objectClass", [b"organizationalUnit"]), ("ou", [b"parts"])])
        add(connection, f"cn=2,ou=parts,{suffix}", crl=b"\x30\x01b")
        add(connection, f"cn=1,ou=parts,{suffix}", crl=b"\x30\x01a")
        directory.connection = connection
        yield directory
        connection.unbind_s()


def source(url: str, **changes) -> LDAPSource:
    return LDAPSource(url, **{"timeout_seconds": 20, "max_bytes": 10_000_000, **changes})


def test_entry_gives_its_crls_base_before_delta(directory):
    """Without attributes in the URL all CRL attributes are read, and a delta CRL follows its base."""
    delivery = source(f"{directory.url}/cn=both,{directory.suffix}").fetch(Validator())
    assert delivery.documents == (BASE, DELTA)


@pytest.mark.parametrize("attribute", ["deltaRevocationList", "deltaRevocationList;binary", "DELTArevocationlist"])
def test_attribute_of_the_url_is_the_only_one_read(directory, attribute):
    """An attribute named in the URL is read alone, with or without the binary option, in any case of letters."""
    delivery = source(f"{directory.url}/cn=both,{directory.suffix}?{attribute}").fetch(Validator())
    assert delivery.documents == (DELTA,)


def test_subtree_gives_the_crls_of_all_its_entries(directory):
    """Scope and filter of the URL choose the entries; their CRLs come in the order of their names."""
    delivery = source(f"{directory.url}/ou=parts,{directory.suffix}??one?(cn=*)").fetch(Validator())
    assert delivery.documents == (b"\x30\x01a", b"\x30\x01b")


def test_unchanged_crls_are_no_news_and_changed_ones_are(directory):
    """The same values as before are no news; a replaced value is."""
    dn = f"cn=changing,{directory.suffix}"
    add(directory.connection, dn, crl=BASE)
    watched = source(f"{directory.url}/{dn}")
    first = watched.fetch(Validator())
    assert watched.fetch(first.validator) is None
    directory.connection.modify_s(dn, [(ldap.MOD_REPLACE, "certificateRevocationList;binary", [DELTA])])
    assert watched.fetch(first.validator).documents == (DELTA,)


def test_large_crl_is_read_whole(directory):
    """A CRL of several megabytes comes whole."""
    assert source(f"{directory.url}/cn=big,{directory.suffix}").fetch(Validator()).documents == (BIG,)


@pytest.mark.parametrize("option", ["", ";binary"])
def test_attribute_is_read_with_and_without_the_binary_option(directory, option):
    """RFC 4523 has CRLs with `;binary`; the internal database of a Certificate System has them without."""
    dn = f"cn=plain{option.strip(';')},{directory.suffix}"
    directory.connection.add_s(dn, [*ENTRY, (f"certificateRevocationList{option}", [BASE])])
    for query in ("", "?certificateRevocationList", "?certificateRevocationList;binary"):
        assert source(f"{directory.url}/{dn}{query}").fetch(Validator()).documents == (BASE,)


def test_empty_value_stops_no_good_one_beside_it(directory):
    """The place-holders that a Certificate System puts into its directory are no CRLs."""
    directory.connection.add_s(f"ou=holders,{directory.suffix}", [*UNIT, ("ou", [b"holders"])])
    for name, value in (("a", b" "), ("b", BASE)):
        dn = f"cn={name},ou=holders,{directory.suffix}"
        directory.connection.add_s(dn, [*ENTRY, ("certificateRevocationList;binary", [value])])
    assert source(f"{directory.url}/ou=holders,{directory.suffix}??sub").fetch(Validator()).documents == (BASE,)


def test_value_beyond_the_limit_stops_no_good_one_beside_it(directory):
    """What is too large is told, and the others are delivered."""
    url = f"{directory.url}/{directory.suffix}??sub?(|(cn=big)(cn=both))"
    delivered = source(url, max_bytes=1000).fetch(Validator())
    assert delivered.documents == (BASE, DELTA)
    assert "longer than the limit of 1000" in delivered.problem


def test_certificates_are_delivered_where_they_are_asked_for(directory):
    """A directory that is the store has CAs beside their CRLs."""
    dn = f"cn=authority,{directory.suffix}"
    names = [b"top", b"cRLDistributionPoint", b"pkiCA"]
    values = [("cACertificate", [b"0ca"]), ("certificateRevocationList", [BASE])]
    directory.connection.add_s(dn, [("objectClass", names), *values])
    authority_source = source(
        f"{directory.url}/{dn}?certificateRevocationList", certificate_attribute="cACertificate;binary"
    )
    delivered = authority_source.fetch(Validator())
    assert (delivered.certificates, delivered.documents) == ((b"0ca",), (BASE,))
    assert source(f"{directory.url}/{dn}").fetch(Validator()).certificates == ()


def test_crl_beyond_the_limit_is_refused(directory):
    """A CRL larger than the limit is not delivered."""
    with pytest.raises(SourceError, match="limit of 1000"):
        source(f"{directory.url}/cn=big,{directory.suffix}", max_bytes=1000).fetch(Validator())


def test_entry_without_a_crl_is_an_error(directory):
    """An entry that has no CRL is an error that names the attributes looked for."""
    with pytest.raises(SourceError, match="no certificaterevocationlist or"):
        source(f"{directory.url}/cn=empty,{directory.suffix}").fetch(Validator())


def test_missing_entry_is_an_error(directory):
    """An entry that is not there is an error in the directory's words."""
    with pytest.raises(SourceError, match="No such object"):
        source(f"{directory.url}/cn=none,{directory.suffix}").fetch(Validator())


def test_server_that_is_not_there_is_an_error():
    """A directory that cannot be reached is an error with its URL."""
    with pytest.raises(SourceError, match=r"ldap://127\.0\.0\.1:1/cn=x: Can't contact LDAP server"):
        source("ldap://127.0.0.1:1/cn=x").fetch(Validator())


def test_bind_with_a_password_is_made_and_a_wrong_one_is_not_repeated(directory):
    """A bind DN with its password is used; a refused one is an error without the password."""
    url = f"{directory.url}/cn=both,{directory.suffix}"
    assert source(url, bind_dn=ROOT_DN, password=PASSWORD).fetch(Validator()).documents == (BASE, DELTA)
    with pytest.raises(SourceError, match="Invalid credentials") as caught:
        source(url, bind_dn=ROOT_DN, password="not-the-password").fetch(Validator())
    assert "not-the-password" not in str(caught.value)


def test_ldaps_of_a_trusted_server_is_read(directory):
    """LDAPS is spoken with roots from a file."""
    url = f"{directory.secure_url}/cn=both,{directory.suffix}"
    delivery = source(url, trust_file=directory.trust).fetch(Validator())
    assert delivery.documents == (BASE, DELTA)


def test_ldaps_of_an_unknown_server_is_refused(directory):
    """A directory whose certificate nobody vouches for is not read from."""
    with pytest.raises(SourceError):
        source(f"{directory.secure_url}/cn=both,{directory.suffix}").fetch(Validator())


@pytest.mark.parametrize(("extension", "setting"), [("????" + START_TLS, False), ("", True)])
def test_start_tls_is_asked_for_by_url_or_setting(directory, extension, setting):
    """StartTLS is made and the certificate checked, whichever of the two asks for it."""
    url = f"{directory.url}/cn=both,{directory.suffix}{extension}"
    trusted = source(url, trust_file=directory.trust, start_tls=setting)
    assert trusted.fetch(Validator()).documents == (BASE, DELTA)
    with pytest.raises(SourceError):
        source(url, start_tls=setting).fetch(Validator())


@pytest.mark.parametrize("url", ["http://host/x", "ldap:///cn=x", "ldap", f"ldaps://host/cn=x????{START_TLS}"])
def test_url_of_another_kind_is_a_config_error(url):
    """Only LDAP URLs with a host are taken; StartTLS inside TLS is a mistake."""
    with pytest.raises(ConfigError):
        source(url)


def test_missing_library_is_a_config_error_with_the_remedy(monkeypatch):
    """Without python-ldap the error says what to install."""

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError) as caught:
        source("ldap://host/cn=x")
    assert caught.value.hint == "pip install 'vouchd[ldap]'"


def test_directory_that_drips_ends_at_the_time_limit():
    """A server whose answer never comes to its end holds a source no longer than its time limit."""
    over = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"\x30\x84\x00\x0f\x00\x00")
            while not over.wait(0.05):
                try:
                    connection.sendall(b"\x02")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(drip, listener)
        try:
            with pytest.raises(SourceError, match="took longer than 1 s"):
                LDAPSource(f"ldap://127.0.0.1:{listener.getsockname()[1]}/o=x", timeout_seconds=1, max_bytes=100).fetch(
                    Validator()
                )
        finally:
            over.set()


# With a client certificate.


@pytest.fixture(scope="module")
def private(directory):
    """An entry that only an account may read which the server knows by its certificate; that account's certificate."""
    mine, dn = identity("CRL reader", key=3), f"cn=reader,{directory.suffix}"
    entry = [("objectClass", [b"top", b"applicationProcess", b"extensibleObject"]), ("cn", [b"reader"])]
    directory.connection.add_s(dn, [*entry, *((name, list(each)) for name, each in known_by([mine.der]).items())])
    place = f"ou=private,{directory.suffix}"
    aci = f'(targetattr="*")(version 3.0; acl "none"; deny (all) userdn!="ldap:///{dn}";)'
    directory.connection.add_s(place, [*UNIT, ("ou", [b"private"]), ("aci", [aci.encode()])])
    add(directory.connection, f"cn=crl,{place}", crl=BASE)
    return f"cn=crl,{place}", mine


@pytest.mark.parametrize("transport", ["ldaps", "starttls"])
def test_crl_is_read_with_a_client_certificate(directory, private, transport):
    """SASL EXTERNAL in TLS makes the owner of the certificate the account that may read; nobody else does."""
    dn, mine = private
    urls = {"ldaps": f"{directory.secure_url}/{dn}", "starttls": f"{directory.url}/{dn}????{START_TLS}"}
    delivery = source(urls[transport], trust_file=directory.trust, identity=lambda: mine).fetch(Validator())
    assert delivery.documents == (BASE,)
    with pytest.raises(SourceError):
        source(urls[transport], trust_file=directory.trust).fetch(Validator())


def test_certificate_that_is_not_the_account_s_is_refused(directory, private):
    """One of the same name and CA by another key reads nothing, and the server's words are told."""
    dn, _ = private
    other = identity("CRL reader", key=4)
    refused = source(f"{directory.secure_url}/{dn}", trust_file=directory.trust, identity=lambda: other)
    with pytest.raises(SourceError, match=r"redentials|uthentication"):
        refused.fetch(Validator())


def test_certificate_is_shown_in_tls_alone(directory, private):
    """Without TLS there is nobody to show it to: the setting is refused, with both ways to mend it."""
    dn, mine = private
    with pytest.raises(ConfigError, match="TLS, which is off") as caught:
        source(f"{directory.url}/{dn}", identity=lambda: mine)
    assert "ldaps://" in caught.value.hint
    assert START_TLS in caught.value.hint


def test_certificate_that_there_is_not_costs_its_source_alone(tmp_path):
    """The instance starts with a source that names no certificate of its own, and the source says what is wrong."""
    values = {"url": "ldaps://127.0.0.1:1/cn=Root?certificateRevocationList", "clientCertNickname": "nobody"}
    with opened(tmp_path / "vouchd", **{f"vouchd.source.root.{key}": text for key, text in values.items()}) as api:
        services = api.port.services
        (source,) = pulls(services.layout, services.settings, services, services.clock)
        state = source.attempt(services.clock.now())
    assert (state.failures, state.last_error.partition(":")[0]) == (1, "NotFound")
    assert "nobody" in state.last_error
