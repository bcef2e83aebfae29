"""The carriers of alerts as CS.cfg names them: by mail, webhook, SNMP trap or syslog; their passwords are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vouchd.settings.keys import key
from vouchd.settings.kinds import ADDRESSES, FILE, OID, TEXT, integer, word


class AlertWay(StrEnum):
    """How an alert is carried."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    SNMP = "snmp"
    SYSLOG = "syslog"


class Severity(StrEnum):
    """How soon somebody has to look."""

    CRITICAL = "critical"  # clients get no answer, or soon will not, or a revocation may not be seen
    WARNING = "warning"  # it waits for the morning


class MailSecurity(StrEnum):
    """How a mail server is spoken with."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class SyslogTransport(StrEnum):
    """How a syslog server on another host is spoken with."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class SNMPVersion(StrEnum):
    """Of a trap."""

    V2C = "v2c"
    V3 = "v3"


class SyslogFacility(StrEnum):
    """Where a message is sorted into."""

    DAEMON = "daemon"
    AUTHPRIV = "authpriv"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"


@dataclass(frozen=True, slots=True)
class CarrierSettings:
    """One carrier of alerts; its password is `alert.<name>` in password.conf."""

    name: str
    way: AlertWay = key(
        "vouchd.alert.<name>.by",
        word(AlertWay),
        AlertWay.SYSLOG,
        "How alerts are carried: by mail, by a request to a URL, as SNMP traps, to syslog.",
    )
    severity: Severity = key(
        "vouchd.alert.<name>.severity", word(Severity), Severity.WARNING, "The least severity that is carried."
    )
    timeout_seconds: int = key(
        "vouchd.alert.<name>.timeoutInSec", integer(1, 600), 20, "Give up one attempt after.", unit="seconds"
    )
    host: str = key(
        "vouchd.alert.<name>.host",
        TEXT,
        "",
        "`by=mail`, `snmp`, `syslog`: the server. Syslog: empty is this host's; a path is a socket of this host.",
    )
    port: int = key(
        "vouchd.alert.<name>.port",
        integer(0, 65535),
        0,
        "Its port; 0: the usual one (mail 587, with TLS from the first octet 465, without TLS 25; snmp 162;"
        " syslog 514, with TLS 6514).",
    )
    trust_file: Path | None = key(
        "vouchd.alert.<name>.trust", FILE, "", "CAs of the server, where TLS is spoken (PEM); empty: the system's."
    )
    security: MailSecurity = key(
        "vouchd.alert.<name>.security",
        word(MailSecurity),
        MailSecurity.STARTTLS,
        "`by=mail`: StartTLS, TLS from the first octet, or none.",
    )
    sender: str = key("vouchd.alert.<name>.from", TEXT, "", "`by=mail`: the sender's address; empty: vouchd@HOST.")
    recipients: tuple[str, ...] = key("vouchd.alert.<name>.to", ADDRESSES, (), "`by=mail`: who gets it.")
    user: str = key(
        "vouchd.alert.<name>.user",
        TEXT,
        "",
        "`by=mail`: log in as this user, with the password; `by=snmp`, version 3: the user name.",
    )
    url: str = key(
        "vouchd.alert.<name>.url",
        TEXT,
        "",
        "`by=webhook`: where JSON is posted, signed with HMAC-SHA256 under the password.",
    )
    version: SNMPVersion = key(
        "vouchd.alert.<name>.version",
        word(SNMPVersion),
        SNMPVersion.V3,
        "`by=snmp`: v3 signs and enciphers (SHA-256, AES-128; the passwords `alert.<name>` and"
        " `alert.<name>.privacy`); of v2c the password is the community.",
    )
    oid: str = key(
        "vouchd.alert.<name>.oid",
        OID,
        "1.3.6.1.4.1.8072.9999.9999.8443",
        "`by=snmp`: the arc below which traps and their values are; of the site, if it has one.",
    )
    transport: SyslogTransport = key(
        "vouchd.alert.<name>.transport", word(SyslogTransport), SyslogTransport.UDP, "`by=syslog` to another host."
    )
    facility: SyslogFacility = key(
        "vouchd.alert.<name>.facility",
        word(SyslogFacility),
        SyslogFacility.DAEMON,
        "`by=syslog`: where messages are sorted into.",
    )
