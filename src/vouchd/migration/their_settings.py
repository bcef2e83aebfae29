"""The CS.cfg of a Certificate System's OCSP manager, read whole: each line has a verdict, and none stops the others.

A rule of this file decides where a line means something else here, or where a value asks for what is not done here.
All other lines go by the declarations of our own settings: a key that has an effect here too is taken over, one that is
accepted and does nothing is said to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vouchd.errors import ConfigError
from vouchd.files import read_file
from vouchd.migration.findings import Finding
from vouchd.settings.cs_cfg import canonical, look_up

NICKNAMES = {  # of the system keys here, by the tags that they have there
    "signing": "the signer's",
    "subsystem": "the subsystem",
    "audit_signing": "the audit log's",
    "sslserver": "the TLS server's",
}
BY_NAME = "ocsp.store.defStore.byName"
NEXT_UPDATE = "ocsp.store.defStore.includeNextUpdate"
NOT_FOUND_AS_GOOD = "ocsp.store.defStore.notFoundAsGood"
_COMMENT = re.compile(r"(.*\.)?_\d+|log\.instance\.SignedAudit\.signedAudit")
_INTERNAL = frozenset({"", "internal", "Internal Key Storage Token"})
_KEY_HASH_SINCE = (11, 7)  # the version from which byName is false when it is absent
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class TheirSettings:
    """The lines of that file by their keys, in our spelling; `broken` are those that are none."""

    name: str
    lines: dict[str, str]
    broken: tuple[str, ...] = ()

    def get(self, key: str, default: str = "") -> str:
        """The value of a key; an empty one counts as absent."""
        return self.lines.get(key) or default

    def nickname(self, tag: str) -> str:
        """The nickname of a system key: without the token that it is on, which stands in front of a colon."""
        first = {"signing": "ocsp.signing.certnickname"}.get(tag, "")
        named = self.get(first) or self.get(f"ocsp.cert.{tag}.nickname") or self.get(f"ocsp.{tag}.nickname")
        return named.rpartition(":")[2]

    def token(self, tag: str) -> str:
        """The token that a system key is on; empty: a file."""
        name = self.get(f"ocsp.{tag}.tokenname")
        return "" if name in _INTERNAL else name

    def certificate(self, tag: str) -> str:
        """The certificate of a system key, base64."""
        return self.get(f"ocsp.{tag}.cert")

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the program, as far as it is told."""
        return tuple(map(int, re.findall(r"\d+", self.get("cms.product.version") or self.get("cms.version"))))

    @property
    def host(self) -> str:
        """The name of the host."""
        return self.get("machineName") or self.get("service.machineName")


def read_their_settings(path: Path) -> TheirSettings:
    """The file at `path`. Raises: ConfigError when it cannot be read, or is not of an OCSP manager."""
    hint = "it is in /etc/pki/INSTANCE/ocsp/CS.cfg, or /var/lib/INSTANCE/conf/CS.cfg"
    try:
        text = read_file(path, error=ConfigError, hint=hint).decode()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    return their_settings(text, str(path))


def their_settings(text: str, name: str) -> TheirSettings:
    """The settings in `text`. Raises: ConfigError when they are not of an OCSP manager."""
    lines: dict[str, str] = {}
    broken: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        if equals:
            lines[canonical(key.strip())] = value.strip()
        else:
            broken.append(f"line {number}")
    kind = lines.get("cs.type") or "nothing"
    if kind != "OCSP":
        raise ConfigError(
            f"{name}: cs.type is {kind}, and an OCSP manager's is OCSP", hint="name the CS.cfg of its ocsp subsystem"
        )
    return TheirSettings(name, lines, tuple(broken))


@dataclass(slots=True)
class JudgedSettings:
    """What the lines become here: the lines of our own CS.cfg, and a finding for each of theirs."""

    values: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def judged(theirs: TheirSettings) -> JudgedSettings:
    """A verdict on every line."""
    result = JudgedSettings()
    comments = 0
    for key, text in theirs.lines.items():
        if _COMMENT.fullmatch(key):
            comments += 1
            continue
        finding, values = _judged(theirs, key, text)
        result.findings.append(finding)
        result.values |= values
    for finding, values in _absent(theirs):
        result.findings.append(finding)
        result.values |= values
    if comments:
        result.findings.append(
            Finding.without_effect(f"{comments} lines of comment", "their keys end in _000 and so on")
        )
    result.findings += [Finding.impossible(where, "it is no key=value line") for where in theirs.broken]
    return result


Judgement = tuple[Finding, dict[str, str]]


def _judged(theirs: TheirSettings, key: str, text: str) -> Judgement:
    what = f"{key}={text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
    for pattern, rule in _RULES:
        if re.fullmatch(pattern, key) and (judgement := rule(theirs, what, key, text)):
            return judgement
    known = look_up(key)
    if known is None:
        return Finding.impossible(what, "nothing here knows this key"), {}
    if known.inert:
        return Finding.without_effect(what, known.about), {}
    try:
        known.kind.read(text)
    except ValueError as error:
        return Finding.impossible(what, f"its value here {error}"), {}
    return Finding.taken(what, known.about), {key: text}


def _absent(theirs: TheirSettings) -> Iterator[Judgement]:
    """Settings that are not written there, and whose default there is not ours."""
    version = theirs.version
    absence = f"absent in {'.'.join(map(str, version)) or 'a version that is not told'}"
    by_name = "false" if version >= _KEY_HASH_SINCE else "true"
    for key, value in ((BY_NAME, by_name), (NEXT_UPDATE, "false"), (NOT_FOUND_AS_GOOD, "true")):
        if key not in theirs.lines:
            known = look_up(key)
            about = known.about if known else ""
            yield Finding.taken(f"{key} ({absence})", f"{key}={value}: {about}"), {key: value}
    root = "vouchd.response.sendRoot"
    yield Finding.taken("the CA's certificate in answers", f"{root}=true: sent along as there"), {root: "true"}
    reasons = "vouchd.response.reasons"
    if look_up(reasons) is not None:
        why = f"{reasons}=false: its own OCSPClient cannot read answers that tell one"
        yield Finding.taken("no reason of a revocation in answers", why), {reasons: "false"}
    yield (
        Finding.without_effect(
            "answers after a CRL's nextUpdate",
            "there as if it were fresh, here tryLater; vouchd.response.expiredCRL=serve answers from it",
        ),
        {},
    )


Rule = Callable[[TheirSettings, str, str, str], Judgement | None]


def _always(why: str) -> Rule:
    """Without effect, whatever the value."""
    return lambda _theirs, what, _key, _text: (Finding.without_effect(what, why), {})


def _only(harmless: frozenset[str], why: str, instead: str = "") -> Rule:
    """Not possible, unless the value is one that asks for nothing, or the key has an effect of its own here."""

    def rule(_theirs: TheirSettings, what: str, key: str, text: str) -> Judgement | None:
        known = look_up(key)
        has_effect = known is not None and not known.inert
        return None if has_effect or text.lower() in harmless else (Finding.impossible(what, why, instead), {})

    return rule


def _nickname(theirs: TheirSettings, what: str, key: str, text: str) -> Judgement | None:
    parts = key.split(".")
    tag = "signing" if key.endswith("certnickname") else parts[-2]
    if tag not in NICKNAMES or text.rpartition(":")[2] != theirs.nickname(tag):
        return None
    return Finding.taken(what, f"the key of that name is {NICKNAMES[tag]}"), {}


def _token(theirs: TheirSettings, what: str, key: str, text: str) -> Judgement | None:
    tag = key.split(".")[1]
    if not theirs.token(tag):
        return Finding.without_effect(what, "the key comes from the PKCS #12 file"), {}
    return (
        Finding.impossible(
            what,
            f"the key of {theirs.nickname(tag) or tag} is on the token {text}, which no PKCS #12 file holds",
            "vouchd create --token LABEL --signer-cert FILE, then vouchd directory adopt",
        ),
        {},
    )


def _port(ours: str, about: str) -> Rule:
    def rule(_theirs: TheirSettings, what: str, _key: str, text: str) -> Judgement | None:
        return (Finding.taken(what, f"{ours}={text}: {about}"), {ours: text}) if text.isdigit() else None

    return rule


def _host(_theirs: TheirSettings, what: str, _key: str, _text: str) -> Judgement:
    return Finding.taken(what, "the name in the request for the TLS server's certificate"), {}


def _audit_nickname(_theirs: TheirSettings, what: str, _key: str, text: str) -> Judgement | None:
    return (Finding.taken(what, "the key of that name signs the audit log"), {}) if text else None


_RULES: tuple[tuple[str, Rule], ...] = (
    (
        r"internaldb\..*",
        _always(
            "the Certificate System's own database, which stays its own: facts are kept in db/ here, or in a directory "
            "server of this instance (vouchd directory use)"
        ),
    ),
    (
        r"ocsp\.store\.defStore\.refreshInSec",
        _always("a newer CRL is answered from at once, so nothing has to be read again by the clock"),
    ),
    (
        r"ocsp\.store\.\w+\.class",
        _only(
            frozenset({"com.netscape.cms.ocsp.defstore", "com.netscape.cms.ocsp.ldapstore"}),
            "a store of the site's own is a program of the Certificate System",
        ),
    ),
    (r"ocsp\.(signing\.certnickname|(cert\.)?\w+\.nickname)", _nickname),
    (r"ocsp\.\w+\.tokenname", _token),
    (r"log\.instance\.SignedAudit\.signedAuditCertNickname", _audit_nickname),
    (
        r"log\.instance\.SignedAudit\.enable",
        _only(frozenset({"true"}), "the audit log is always on: it is the proof of who did what"),
    ),
    (r"service\.unsecurePort", _port("vouchd.ee.port", "clients find it where it was")),
    (r"service\.securePort", _port("vouchd.agent.port", "agents and publishing CAs find it where it was")),
    (r"machineName", _host),
    (
        r"multiroles(\.enable)?",
        _only(
            frozenset({"true"}), "a user may have several roles here", "give each user one group: vouchd user groups"
        ),
    ),
    (
        r"jss\.ssl\.cipherpref",
        _only(frozenset({""}), "the TLS ciphers are those of this host's TLS library and its policy"),
    ),
    (
        r"autoShutdown\.(allowed|restart\.enable)",
        _only(
            frozenset({"false"}),
            "an instance that fails says so in /readyz and answers tryLater; its supervisor ends it",
            "vouchd service install",
        ),
    ),
    (r"jobsScheduler\.enabled", _only(frozenset({"false", ""}), "there are no jobs of the site's own", "use cron")),
    (
        r"proxy\.(un)?securePort",
        _only(frozenset({""}), "a proxy's ports are the proxy's", "vouchd.ee.trustedProxies in CS.cfg"),
    ),
    (
        r"auths\.impl\.\w+\.class|authz\.impl\.\w+\.class|accessEvaluator\.impl\.\w+\.class",
        lambda _theirs, what, _key, text: (
            None
            if text.startswith("com.netscape.cms.")
            else (Finding.impossible(what, "a plug-in of the site's own is a program of the Certificate System"), {})
        ),
    ),
)
