"""CS.cfg to settings: names become fields, what belongs together is checked."""

from __future__ import annotations

import threading
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

import pytest
from tests.pki import CA

from vouchd.core.facts import DirectoryServer, ExpiredCRLPolicy, Transport
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy, UnknownIssuerPolicy
from vouchd.errors import ConfigError
from vouchd.files import replace_file
from vouchd.settings import cs_cfg, reading
from vouchd.settings.declared import KNOWN, Settings, SourceKind
from vouchd.settings.keys import Composed, KnownKey, declarations, keys_of
from vouchd.settings.kinds import FILE
from vouchd.settings.layout import Layout
from vouchd.settings.reading import KeptSettings, settings_from, write_active
from vouchd.settings.tcp_ports import AgentPort, EEPort, HealthPort, KeyFiles

ROOT = Path("/srv/vouchd")


def settings(text: str, root: Path = ROOT):
    return settings_from(cs_cfg.parse(text, "CS.cfg"), root)


def test_settings_empty_file_are_the_dataclass_defaults():
    """The defaults in the table of keys and those of the dataclasses are the same."""
    empty = settings("")
    assert empty.responder == ResponsePolicy()
    assert empty.ee == EEPort()
    assert empty.health == HealthPort()
    assert empty.max_crl_bytes == 1 << 30
    alias = ROOT / "alias"
    assert empty.agent == AgentPort(tls=KeyFiles(alias / "sslserver.key", alias / "sslserver.pem"))
    assert empty.subsystem == KeyFiles(alias / "subsystem.key", alias / "subsystem.pem")
    assert empty.audit_signing == KeyFiles(alias / "audit_signing.key", alias / "audit_signing.pem")
    assert empty.admin == KeyFiles(alias / "admin.key", alias / "admin.pem")
    assert (empty.signers, empty.default_signer, empty.sources, empty.refresh_seconds) == ((), "", (), 0)
    assert empty.store == ROOT / "db" / "vouchd.sqlite"


def test_settings_agent_keys_reach_the_agent_port():
    """Each key of the agent port sets its field; files start at the instance's folder."""
    values = settings(
        """
vouchd.agent.host=::1
vouchd.agent.port=9443
vouchd.agent.key=alias/sslserver-2.key
vouchd.agent.certificate=/etc/ssl/vouchd.pem
vouchd.agent.trust=trust.pem
vouchd.agent.maxHeaderBytes=2048
vouchd.agent.maxBodyBytes=4096
vouchd.agent.idleInSec=1
vouchd.agent.headerInSec=2
vouchd.agent.bodyInSec=3
vouchd.agent.maxConnections=4
"""
    ).agent
    assert values == AgentPort(
        tls=KeyFiles(ROOT / "alias" / "sslserver-2.key", Path("/etc/ssl/vouchd.pem")),
        host="::1",
        port=9443,
        trust_file=ROOT / "trust.pem",
        max_header_bytes=2048,
        max_body_bytes=4096,
        idle_seconds=1,
        header_seconds=2,
        body_seconds=3,
        max_connections=4,
    )


def test_settings_policy_keys_reach_the_responder():
    """Each policy key sets its field."""
    policy = settings(
        """
ocsp.store.defStore.notFoundAsGood=false
ocsp.store.defStore.includeNextUpdate=false
ocsp.store.defStore.byName=true
ocsp.rejectAlgorithms=SHA1, sha-384
vouchd.request.nonce=require
vouchd.request.signature=verify
vouchd.request.maxCertIDs=7
vouchd.ee.maxBodyBytes=5000
vouchd.response.unknownIssuer=unknown
vouchd.response.expiredCRL=serve
"""
    ).responder
    assert policy == ResponsePolicy(
        nonce=NoncePolicy.REQUIRE,
        signature=RequestSignaturePolicy.VERIFY,
        max_cert_ids=7,
        max_request_bytes=5000,
        reject_algorithms=frozenset({"SHA-1", "SHA-384"}),
        by_name=True,
        unknown_issuer=UnknownIssuerPolicy.UNKNOWN,
        not_found_as_good=False,
        include_next_update=False,
        expired_crl=ExpiredCRLPolicy.SERVE,
    )


def test_settings_signer_paths_are_made_absolute():
    """Relative file names start at the instance's folder; the default algorithm is the default signer's only."""
    values = settings(
        """
ocsp.signing.certnickname=my signer
ocsp.signing.defaultSigningAlgorithm=SHA512withRSA
vouchd.signer.my signer.key=alias/a.key
vouchd.signer.my signer.certificate=/etc/a.pem
vouchd.signer.other.key=b.key
vouchd.signer.other.certificate=b.pem
vouchd.signer.other.chain=chain.pem
"""
    )
    first, second = values.signers
    assert values.default_signer == first.nickname == "my signer"
    assert (first.key_file, first.certificate_file) == (ROOT / "alias/a.key", Path("/etc/a.pem"))
    assert (first.algorithm, second.algorithm, second.chain_file) == ("SHA512withRSA", "", ROOT / "chain.pem")


def test_roles_are_as_many_as_the_settings_allow():
    """multiroles.enable and the list of groups beside it are those of the Certificate System."""
    assert settings("").roles.exclusive == frozenset()
    assert settings("multiroles.enable=false").roles.exclusive >= {"Administrators", "Auditors"}
    lines = "multiroles.enable=false\nmultiroles.false.groupEnforceList=Administrators, Auditors,Others"
    assert settings(lines).roles.exclusive == {"Administrators", "Auditors", "Others"}


def test_audit_events_are_chosen_and_filtered_by_the_documented_keys():
    """A list of events, and a filter for one; a filter that is none is refused where it stands."""
    assert settings("").audit.events is None
    lines = "log.instance.SignedAudit.events=AUTH, AUTHZ\nlog.instance.SignedAudit.filters.AUTH=(Outcome=Failure)"
    values = settings(lines).audit
    assert (values.events, values.filters) == ({"AUTH", "AUTHZ"}, {"AUTH": "(Outcome=Failure)"})
    with pytest.raises(ConfigError, match=r"CS\.cfg:1: a filter stands in parentheses"):
        settings("log.instance.SignedAudit.filters.AUTH=Outcome")


LDAP_STORE = """
ocsp.storeId=ldapStore
ocsp.store.ldapStore.numConns=2
ocsp.store.ldapStore.host0=ldap.example.org
ocsp.store.ldapStore.baseDN0=ou=CAs, o=Example Corp
ocsp.store.ldapStore.refreshInSec0=10
ocsp.store.ldapStore.host1=2001:db8::1
ocsp.store.ldapStore.port1=3890
ocsp.store.ldapStore.baseDN1=dc=example
ocsp.store.ldapStore.byName=true
ocsp.store.ldapStore.notFoundAsGood=false
ocsp.store.ldapStore.validateConnCertWithCRL=true
"""


def test_ldap_store_is_a_source_for_each_directory():
    """The keys of the guides: each directory is looked into as a source is, for CAs and their CRLs."""
    values = settings(LDAP_STORE)
    first, second = values.sources
    assert (first.name, first.kind, first.interval_seconds) == ("ldapStore0", SourceKind.LDAP, 10)
    search = "?certificateRevocationList;binary?sub?(|(cACertificate=*)(certificateRevocationList=*))"
    assert first.url == f"ldap://ldap.example.org:389/ou=CAs,%20o=Example%20Corp{search}"
    assert second.url == f"ldap://[2001:db8::1]:3890/dc=example{search}"
    assert (second.certificate_attribute, second.interval_seconds) == ("cACertificate;binary", 86400)
    policy = values.responder
    assert (policy.by_name, policy.not_found_as_good, policy.include_next_update) == (True, False, True)


def test_ldap_store_is_without_effect_while_another_is_active():
    """What a CS.cfg holds of a store that is not the active one makes no source and no policy."""
    values = settings(LDAP_STORE.replace("storeId=ldapStore", "storeId=defStore"))
    assert (values.sources, values.responder.by_name, values.responder.not_found_as_good) == ((), False, True)


def test_ldap_store_without_a_directory_s_host_is_refused():
    """A directory that is counted has a host and a base; the key that is missing is named."""
    with pytest.raises(ConfigError, match=r"ocsp\.store\.ldapStore\.host1"):
        settings(LDAP_STORE.replace("ldapStore.host1", "ldapStore.host2"))


def test_settings_only_signer_is_the_default():
    """With one signer there is nothing to choose."""
    assert settings("vouchd.signer.x.key=k\nvouchd.signer.x.certificate=c").default_signer == "x"


def test_settings_default_signer_that_is_not_declared_is_refused():
    """A nickname without key and certificate is named with its line."""
    with pytest.raises(ConfigError, match=r"CS\.cfg:1: there is no signer gone"):
        settings("ocsp.signing.certnickname=gone")


def test_settings_signer_without_certificate_is_refused():
    """Half a signer is named with the key that is missing."""
    with pytest.raises(ConfigError, match=r"signer x has no vouchd\.signer\.x\.certificate"):
        settings("vouchd.signer.x.key=k")


@pytest.mark.parametrize(
    "url, kind",
    [
        ("http://crl.example/a.crl", SourceKind.HTTP),
        ("HTTPS://crl.example/a.crl", SourceKind.HTTP),
        ("/var/crl/a.crl", SourceKind.FILE),
        ("crls/a.crl", SourceKind.FILE),
        ("file:///var/crl/a.crl", SourceKind.FILE),
        ("ldaps://d.example/cn=CA?certificateRevocationList;binary", SourceKind.LDAP),
    ],
)
def test_settings_source_kind_follows_from_the_url(url, kind):
    """One key says where a CRL comes from, and how."""
    (source,) = settings(f"vouchd.source.root.url={url}\nvouchd.source.root.intervalInSec=60").sources
    assert (source.name, source.kind, source.url, source.interval_seconds) == ("root", kind, url, 60)


def test_settings_source_file_of_another_host_is_refused():
    """A file URL names a file of this host; it never means a local file of the same path."""
    with pytest.raises(ConfigError, match=r"CS\.cfg:1: file://otherhost/x is not a file of this host"):
        settings("vouchd.source.root.url=file://otherhost/x")
    assert settings("vouchd.source.root.url=file://localhost/x").sources


def test_settings_source_of_unknown_scheme_is_refused():
    """A URL that nothing here can fetch is refused at start, not at the first attempt."""
    with pytest.raises(ConfigError, match=r"CS\.cfg:1: no source can fetch gopher://"):
        settings("vouchd.source.root.url=gopher://x")


def test_settings_source_without_url_is_refused():
    """A source needs a place."""
    with pytest.raises(ConfigError, match=r"source root has no vouchd\.source\.root\.url"):
        settings("vouchd.source.root.intervalInSec=60")


def test_settings_requestor_trust_is_read(tmp_path):
    """The requestors' certificates are read from their PEM file."""
    ca = CA.create()
    (tmp_path / "trust.pem").write_bytes(ca.pem)
    values = settings("vouchd.request.trust=trust.pem", tmp_path)
    assert values.responder.requestor_trust == (ca.der,)


@pytest.mark.parametrize("content", [None, b"nothing"])
def test_settings_requestor_trust_unreadable_is_refused(tmp_path, content):
    """A trust file that is missing or holds no certificate is an error, never an empty trust list."""
    if content is not None:
        (tmp_path / "trust.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=r"CS\.cfg:1: .*trust\.pem"):
        settings("vouchd.request.trust=trust.pem", tmp_path)


def test_settings_warnings_tell_inert_keys():
    """What was accepted without effect is carried along to be shown."""
    assert len(settings("log.level=3").warnings) == 1


def test_settings_declared_default_is_of_the_fields_type():
    """The generic reader trusts the declarations, so each one gives its field what the field's type says."""

    def wrong(cls):
        hints = get_type_hints(cls)
        for name, declared in declarations(cls):
            if isinstance(declared, KnownKey):
                value = next(one.default for one in fields(cls) if one.name == name)
                if not declared.required and not isinstance(value, _plain(hints[name])):
                    yield f"{cls.__name__}.{name}"
            elif isinstance(declared, Composed):
                of = get_type_hints(declared.cls)
                for part, known in declared.keys.items():
                    value = Path(known.default) if known.kind is FILE else known.default
                    if not isinstance(value, _plain(of[part])):
                        yield f"{cls.__name__}.{name}.{part}"
            else:
                yield from wrong(declared.cls)

    assert not list(wrong(Settings))


def _plain(hint):
    """The classes of a type hint: `tuple` of `tuple[str, ...]`, `Path` and `NoneType` of `Path | None`."""
    if isinstance(hint, UnionType):
        return tuple(_plain(one) for one in get_args(hint))
    return get_origin(hint) or hint


def test_settings_each_declared_key_reaches_one_field():
    """No key is declared for nothing: those that fill no field are the ones that fields are made from."""
    loose = {known.name for known in KNOWN if not known.inert} - {known.name for known in keys_of(Settings)}
    assert loose == {
        "internaldb.ldapconn.secureConn",
        "log.instance.SignedAudit.filters.<event>",
        "ocsp.signing.defaultSigningAlgorithm",
        "ocsp.storeId",
        "vouchd.directory.startTLS",
        "vouchd.request.trust",
        "vouchd.store",
    }


@pytest.mark.parametrize("known", [known for known in KNOWN if known.shared], ids=lambda known: known.name)
def test_settings_shared_by_the_set_are_no_matter_of_one_host(known):
    """What a clone takes over from its master names no file, address or port of a host."""
    assert known.kind is not FILE
    assert not known.name.endswith((".host", ".port"))


@pytest.mark.parametrize(
    ("line", "transport"),
    [
        ("", Transport.PLAIN),
        ("internaldb.ldapconn.secureConn=true", Transport.TLS),
        ("vouchd.directory.startTLS=true", Transport.STARTTLS),
    ],
)
def test_settings_directory_keys_make_one_server(line, transport):
    """The keys of the directory server and the two that say how it is spoken to make one value."""
    directory = settings(
        "vouchd.store=directory\ninternaldb.ldapconn.host=ds.example.org\ninternaldb.ldapconn.port=636\n"
        f"internaldb.basedn=o=vouchd\nvouchd.directory.replicaId=7\n{line}\n"
    ).directory
    assert directory is not None
    assert directory.server == DirectoryServer("ds.example.org", 636, transport, "o=vouchd", 7)


def test_kept_settings_are_read_anew_when_the_file_is_another(tmp_path):
    """Who looks all the time reads a file of thousands of signers once, and never goes by what it said before."""
    layout = Layout(tmp_path)
    kept = KeptSettings(layout)
    with pytest.raises(ConfigError, match="cannot be read"):
        kept.read()
    layout.cs_cfg.parent.mkdir(parents=True, exist_ok=True)
    replace_file(layout.cs_cfg, b"vouchd.ee.port=1\n")
    first = kept.read()
    assert kept.read() is first
    replace_file(layout.cs_cfg, b"vouchd.ee.port=2\n")
    assert (first.ee.port, kept.read().ee.port) == (1, 2)


def test_kept_settings_are_those_of_the_start_while_the_file_says_the_same(tmp_path):
    """Of ten thousand signers no second reading is made; another line counts at once, and signers stay as they are."""
    layout = Layout(tmp_path)
    layout.cs_cfg.parent.mkdir(parents=True, exist_ok=True)
    layout.active_cs_cfg.parent.mkdir(parents=True, exist_ok=True)
    replace_file(layout.cs_cfg, b"vouchd.ee.port=1\nvouchd.signer.a.key=a.key\nvouchd.signer.a.certificate=a.pem\n")
    config = cs_cfg.read(layout.cs_cfg)
    write_active(layout, config)
    started = settings_from(config, layout.root)
    kept = KeptSettings(layout, started)
    assert kept.read() is started
    write_active(layout, config.with_values({"vouchd.ee.port": "2"}))
    replace_file(layout.cs_cfg, config.with_values({"vouchd.ee.port": "3"}).render().encode())
    assert (kept.read().ee.port, kept.read().signers) == (3, started.signers)
    layout.active_cs_cfg.unlink()
    replace_file(layout.cs_cfg, config.with_values({"vouchd.ee.port": "4"}).render().encode())
    assert kept.read().ee.port == 4


def test_kept_settings_are_read_once_by_threads_that_want_them_at_one_moment(tmp_path, monkeypatch):
    """At a start several parts look at them as their first act; to read thousands of signers takes long."""
    layout = Layout(tmp_path)
    layout.cs_cfg.parent.mkdir(parents=True, exist_ok=True)
    replace_file(layout.cs_cfg, b"vouchd.ee.port=1\n")
    kept, begun, both, results = KeptSettings(layout), threading.Event(), threading.Event(), list[Settings]()
    read = reading.read_settings

    def reads(where: Layout) -> Settings:
        begun.set()
        both.wait()
        return read(where)

    monkeypatch.setattr(reading, "read_settings", reads)
    first = threading.Thread(target=lambda: results.append(kept.read()))
    first.start()
    begun.wait()
    second = threading.Thread(target=lambda: (both.set(), results.append(kept.read())))
    second.start()
    first.join()
    second.join()
    assert results[0] is results[1]
