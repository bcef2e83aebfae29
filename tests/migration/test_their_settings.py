"""The CS.cfg of a Certificate System: each line has a verdict, and what is not written there has its meaning there."""

from __future__ import annotations

import pytest

from vouchd.errors import ConfigError
from vouchd.migration.findings import Verdict
from vouchd.migration.their_settings import judged, their_settings

HEAD = "cs.type=OCSP\ncms.product.version=10.10.2\nocsp.signing.certnickname=ocsp_signing\n"


def findings(text: str) -> dict[str, tuple[Verdict, str]]:
    """Verdict and reason by what stands in the line, before the sign of equality."""
    result = judged(their_settings(HEAD + text, "CS.cfg"))
    return {one.what.partition("=")[0]: (one.verdict, one.why) for one in result.findings}


def values(text: str) -> dict[str, str]:
    """The lines of our own CS.cfg."""
    return judged(their_settings(HEAD + text, "CS.cfg")).values


def test_file_of_another_subsystem_is_refused():
    """The CS.cfg of a CA is a slip, and said to be one."""
    with pytest.raises(ConfigError, match=r"cs\.type is CA"):
        their_settings("cs.type=CA\n", "CS.cfg")


@pytest.mark.parametrize(
    ("version", "by_name"), [("10.10.2", "true"), ("11.6.0", "true"), ("11.7.0", "false"), ("12.0", "false")]
)
def test_absent_by_name_means_what_that_version_means_by_it(version, by_name):
    """Up to 11.6 an absent byName is true, from 11.7 on false."""
    text = HEAD.replace("10.10.2", version)
    assert judged(their_settings(text, "CS.cfg")).values["ocsp.store.defStore.byName"] == by_name


def test_written_settings_of_answers_are_taken_as_they_are():
    """What is written there holds here, in either spelling."""
    lines = "OCSP.Responder.store.defStore.byName=false\nocsp.store.defStore.includeNextUpdate=true\n"
    taken = values(lines)
    assert taken["ocsp.store.defStore.byName"] == "false"
    assert taken["ocsp.store.defStore.includeNextUpdate"] == "true"


def test_their_database_never_becomes_ours():
    """internaldb.* names the Certificate System's own directory, which an instance must not write into."""
    lines = "internaldb.basedn=o=theirs\ninternaldb.ldapconn.host=ds\ninternaldb.ldapauth.bindDN=cn=Directory Manager\n"
    assert not any(key.startswith("internaldb") for key in values(lines))
    assert findings(lines)["internaldb.basedn"][0] is Verdict.WITHOUT_EFFECT


def test_ports_are_taken_over_under_their_names_here():
    """Clients, agents and publishing CAs find the service where it was."""
    taken = values("service.unsecurePort=8080\nservice.securePort=8443\n")
    assert (taken["vouchd.ee.port"], taken["vouchd.agent.port"]) == ("8080", "8443")


@pytest.mark.parametrize(
    "line",
    [
        "ocsp.signing.tokenname=hsm",
        "autoShutdown.allowed=true",
        "jss.ssl.cipherpref=TLS_RSA_WITH_AES_128_CBC_SHA",
        "ocsp.store.own.class=org.example.OwnStore",
        "auths.impl.Own.class=org.example.OwnAuthentication",
        "jobsScheduler.enabled=true",
        "proxy.securePort=443",
        "ocsp.store.defStore.notFoundAsGood=perhaps",
        "site.own.key=1",
    ],
)
def test_line_that_asks_for_what_is_not_done_here_is_said_to(line):
    """Nobody relies on a setting that does nothing here."""
    assert findings(line + "\n")[line.partition("=")[0]][0] is Verdict.IMPOSSIBLE


@pytest.mark.parametrize(
    "line",
    ["autoShutdown.allowed=false", "ocsp.signing.tokenname=", "jss.ssl.cipherpref=", "proxy.securePort=", "x._000=##"],
)
def test_line_with_the_installers_value_is_no_obstacle(line):
    """A file as it was installed asks for nothing that is not done here."""
    assert not [what for what, (verdict, _) in findings(line + "\n").items() if verdict is Verdict.IMPOSSIBLE]


def test_line_that_is_none_costs_itself_alone():
    """A broken line is told with its number, and the others are taken over."""
    text = "nonsense\nservice.unsecurePort=8080\n"
    assert findings(text)["line 4"][0] is Verdict.IMPOSSIBLE
    assert values(text)["vouchd.ee.port"] == "8080"
