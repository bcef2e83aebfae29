"""CS.cfg: what is read, what is refused and with which words, what a change leaves alone."""

from __future__ import annotations

import pytest

from vouchd.errors import ConfigError
from vouchd.settings import cs_cfg
from vouchd.settings.declared import KNOWN

NAME = "CS.cfg"
KEPT = """\
# Our responder
ocsp.storeId=defStore

  # a clone
OCSP.Responder.store.defStore.refreshInSec = 21600
vouchd.ee.port=2560
"""


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        cs_cfg.parse(text, NAME)
    return caught.value


@pytest.mark.parametrize("text", ["", "\n", KEPT, KEPT.replace("\n", "\r\n"), KEPT.rstrip("\n")])
def test_parse_any_layout_renders_the_same_bytes(text):
    """Comments, blank lines, order and line ends survive reading and writing."""
    assert cs_cfg.parse(text, NAME).render() == text


def test_value_absent_is_the_declared_default():
    """A key that is not there has its documented default; nextUpdate is included unlike in the Certificate System."""
    config = cs_cfg.parse("", NAME)
    assert config.value("ocsp.store.defStore.includeNextUpdate") is True
    assert config.value("vouchd.response.expiredCRL") == "tryLater"


@pytest.mark.parametrize(
    "key",
    [
        "ocsp.store.defStore.refreshInSec",
        "OCSP.Responder.store.defStore.refreshInSec",
        "OCSP.Responder.ocsp.store.defStore.refreshInSec",
        "store.defStore.refreshInSec",
    ],
)
def test_refresh_in_each_spelling_is_one_key(key):
    """The guides' spelling and the code's spelling of refreshInSec both work."""
    assert cs_cfg.parse(f"{key}=600", NAME).value("ocsp.store.defStore.refreshInSec") == 600


def test_both_spellings_with_one_value_are_accepted():
    """Two spellings that say the same do no harm."""
    text = "ocsp.store.defStore.refreshInSec=5\nOCSP.Responder.store.defStore.refreshInSec=5"
    assert cs_cfg.parse(text, NAME).value("ocsp.store.defStore.refreshInSec") == 5


def test_both_spellings_with_different_values_are_refused():
    """Two spellings that contradict each other are not decided silently."""
    error = refused("ocsp.store.defStore.refreshInSec=5\n\nOCSP.Responder.store.defStore.refreshInSec=6")
    assert str(error).startswith("CS.cfg:3: OCSP.Responder.store.defStore.refreshInSec and ocsp.store")
    assert "line 1" in str(error)


def test_duplicate_key_is_refused_with_both_lines():
    """The same key twice is an error even with the same value: one of the lines would be edited in vain."""
    assert str(refused("vouchd.ee.port=1\n#\nvouchd.ee.port=1")) == "CS.cfg:3: vouchd.ee.port is set already in line 1"


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("ocsp.store.defStore.notFoundAsGod", "ocsp.store.defStore.notFoundAsGood"),
        ("OCSP.Responder.store.defStore.refreshinsec", "ocsp.store.defStore.refreshInSec"),
        ("vouchd.source.root.ulr", "vouchd.source.root.url"),
        ("vouchd.signer.my key.certificat", "vouchd.signer.my key.certificate"),
        ("vouchd.ee.prot", "vouchd.ee.port"),
        ("ocsp.signing.certnicknme", "ocsp.signing.certnickname"),
        ("ocsp.rejectAlgoritms", "ocsp.rejectAlgorithms"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_name(wrong, near):
    """A typing error is answered with file, line and what was probably meant."""
    error = refused(f"# settings\n{wrong}=1")
    assert str(error) == f"CS.cfg:2: unknown key {wrong}"
    assert error.hint == f"did you mean {near}?"


def test_unknown_key_like_none_points_to_the_documentation():
    """Where nothing is near, no wild guess is made."""
    assert "docs/use/configuration.md" in refused("zzzzzzzzzzzzz=1").hint


@pytest.mark.parametrize(
    "line", ["vouchd.ee.port", "=1", ".x=1", "a..=1 =", "kéy=1", "[section]", "x" * 300 + "=1", "!comment"]
)
def test_line_that_is_no_assignment_is_refused(line):
    """Every line is a comment, blank or key=value."""
    assert str(refused("\n" + line)).startswith("CS.cfg:2: ")


@pytest.mark.parametrize(
    "line, reason",
    [
        ("vouchd.ee.port=65536", "from 0 to 65535"),
        ("vouchd.ee.port=", "must be an integer"),
        ("vouchd.ee.port=1e3", "must be an integer"),
        ("vouchd.ee.port=٢", "must be an integer"),
        ("ocsp.store.defStore.byName=yes", "true or false"),
        ("ocsp.store.defStore.refreshInSec=-1", "from 0 to"),
        ("ocsp.rejectAlgorithms=SHA-1,MD5", "must be a list of SHA-1"),
        ("vouchd.request.nonce=maybe", "echo, ignore, forbid, require"),
        ("ocsp.storeId=otherStore", "defStore"),
        ("ocsp.signing.tokenname=HSM", "internal"),
    ],
)
def test_malformed_value_is_refused_with_what_would_be_right(line, reason):
    """A value that is not of its key's kind is refused where it stands."""
    error = refused(line)
    assert str(error).startswith("CS.cfg:1: " + line.split("=")[0])
    assert reason in str(error)


@pytest.mark.parametrize(
    "text", ["vouchd.ee.host=a\x00b", "# x\x7f\nvouchd.ee.host=a\tb\x1b", "vouchd.ee.host=a\u2028b"]
)
def test_control_character_is_refused(text):
    """What cannot be seen in an editor does not become a setting."""
    assert "control character" in str(refused(text))


def test_text_and_lines_are_bounded():
    """A settings file has a size limit, and so has each of its lines."""
    assert "larger than" in str(refused("#" * (cs_cfg.MAX_BYTES + 1)))
    assert "longer than" in str(refused("vouchd.ee.host=" + "a" * cs_cfg.MAX_LINE))


def test_signers_of_ten_thousand_cas_have_room(tmp_path):
    """A signer for each of ten thousand CAs is two lines each, and read like any others."""
    path = tmp_path / "CS.cfg"
    files = ("key", "certificate")
    lines = [f"vouchd.signer.s{n}.{file}=/srv/vouchd/alias/signer-{n:05}.pem" for n in range(10_000) for file in files]
    path.write_text("\n".join(lines))
    assert len(cs_cfg.read(path).assignments) == 20_000


@pytest.mark.parametrize(
    "key",
    [
        "ocsp.store.defStore.useCache",
        "ocsp.store.defStore.waitOnCRLUpdate",
        "ocsp.store.ldapStore.class",
        "autoShutdown.allowed",
        "log.instance.SignedAudit.enable",
        "selftests.container.instance.OCSPPresence",
        "internaldb.maxConns",
        "securitydomain.select",
        "cloning.module.token",
        "dbs.beginReplicaNumber",
        "ocsp.signing.cacertnickname",
        "instanceId",
        "_000",
    ],
)
def test_inert_documented_key_is_accepted_with_a_warning(key):
    """A key of the Certificate System that does nothing here is named, not refused and not silent."""
    (warning,) = cs_cfg.parse(f"{key}=whatever", NAME).warnings()
    assert warning.startswith(f"CS.cfg:1: {key} has no effect here")


def test_inert_family_is_warned_about_once():
    """Hundreds of log.* lines of a migrated CS.cfg make one warning."""
    (warning,) = cs_cfg.parse("log.a=1\nlog.b=2\nlog.c=3", NAME).warnings()
    assert "log.a and 2 more of log.*" in warning


def test_with_values_known_line_is_replaced_in_place():
    """A change goes to the line where the key stands, in the spelling used there; all else stays."""
    changed = cs_cfg.parse(KEPT, NAME).with_values({"ocsp.store.defStore.refreshInSec": "14400"})
    assert changed.render() == KEPT.replace("refreshInSec = 21600", "refreshInSec=14400")
    assert changed.value("ocsp.store.defStore.refreshInSec") == 14400


def test_with_values_new_key_is_put_at_the_end():
    """A key that was not there comes after the others, before the final line end."""
    changed = cs_cfg.parse(KEPT, NAME).with_values({"vouchd.health.port": "9000"})
    assert changed.render() == KEPT + "vouchd.health.port=9000\n"


def test_with_values_malformed_is_refused():
    """A change cannot make a file that would not be read again."""
    with pytest.raises(ConfigError, match=r"vouchd\.ee\.port"):
        cs_cfg.parse(KEPT, NAME).with_values({"vouchd.ee.port": "many"})


def test_without_removes_every_spelling():
    """Removing a key removes it however it is written."""
    text = "ocsp.store.defStore.refreshInSec=5\n# x\nOCSP.Responder.store.defStore.refreshInSec=5\n"
    assert cs_cfg.parse(text, NAME).without("ocsp.store.defStore.refreshInSec").render() == "# x\n"


def test_read_missing_file_tells_how_to_make_one(tmp_path):
    """Without an instance the way to one is told."""
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        cs_cfg.read(tmp_path / "CS.cfg")
    assert "vouchd create" in caught.value.hint


def test_read_bytes_that_are_not_text_are_refused_with_their_line(tmp_path):
    """A file in another encoding is refused where it stops being UTF-8."""
    (tmp_path / "CS.cfg").write_bytes(b"# ok\n# \xff\n")
    with pytest.raises(ConfigError, match=r"CS\.cfg:2: not UTF-8"):
        cs_cfg.read(tmp_path / "CS.cfg")


@pytest.mark.parametrize("known", [k for k in KNOWN if not k.inert], ids=lambda k: k.name)
def test_default_of_every_key_can_be_written_and_read_back(known):
    """Each declared default is a value that the key itself accepts."""
    assert known.kind.read(known.kind.write(known.default)) == known.default
