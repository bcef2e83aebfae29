"""Each carrier against a real server of its kind: what arrives, and what is said when it does not."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import re
from contextlib import contextmanager

import pytest
from tests.alerts.planted import NOW
from tests.alerts.receivers import DEADLINE_SECONDS, datagrams, mail_server, nobody, stream_server, tls, web_server

from vouchd.alerts.carriers.snmp import engine_id
from vouchd.alerts.carriers.table import open_carrier, open_carriers
from vouchd.alerts.notice import Event, Notice
from vouchd.errors import ConfigError, VouchdError
from vouchd.settings.carriers import (
    AlertWay,
    CarrierSettings,
    MailSecurity,
    Severity,
    SNMPVersion,
    SyslogFacility,
    SyslogTransport,
)

MEMBER = "o1.example:8443"
SECRETS = {"alert.x": "correct horse", "alert.x.privacy": "battery staple"}


def notice(event: Event = Event.RAISED, subject: str = "Wurzel-CA ü", words: str = "past nextUpdate") -> Notice:
    return Notice.of(
        event,
        MEMBER,
        "crl-expired",
        subject,
        Severity.CRITICAL,
        NOW - 60,
        NOW,
        words,
        "have the CA publish",
        "docs/x.md",
    )


RAISED = notice()


def carrier(way: AlertWay, secrets=SECRETS, **fields):
    return open_carrier(CarrierSettings("x", way, **{"timeout_seconds": DEADLINE_SECONDS, **fields}), secrets, MEMBER)


def next_of(messages: queue.SimpleQueue):
    return messages.get(timeout=DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """The context of a TLS server on loopback, and the roots that its clients trust."""
    return tls(tmp_path_factory.mktemp("tls"))


def by_mail(port: int, roots, **fields):
    return carrier(
        AlertWay.MAIL,
        **{"host": "localhost", "port": port, "trust_file": roots, "recipients": ("pki@example.org",), **fields},
    )


@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
def test_mail_goes_out_within_tls_by_whoever_logs_in(secured, security):
    """Title, text and thread as people read them; the password goes within TLS alone."""
    context, roots = secured
    with mail_server(context, at_once=security is MailSecurity.TLS, login=True) as (port, box):
        sender = by_mail(port, roots, security=security, user="pki")
        sender.send(RAISED)
        sender.send(notice(Event.RESOLVED))
        (first, encrypted), (second, _) = next_of(box.letters), next_of(box.letters)
    assert encrypted
    assert first["Subject"] == f"[vouchd] CRITICAL crl-expired: Wurzel-CA ü at {MEMBER}"
    assert (first["To"], first["From"]) == ("pki@example.org", "vouchd@o1.example")
    assert first["Auto-Submitted"] == "auto-generated"
    text = first.get_content()
    assert text.splitlines()[0] == "past nextUpdate"
    assert "have the CA publish" in text
    assert "docs/x.md" in text
    assert second["Subject"].startswith("[vouchd] RESOLVED")
    assert second["In-Reply-To"] == first["Message-ID"] != second["Message-ID"]


def test_mail_server_without_tls_gets_nothing(secured):
    """Who stands before the server and takes its StartTLS away reads no alert."""
    with mail_server(None) as (port, box):
        with pytest.raises(VouchdError, match=r"STARTTLS|454|5\d\d"):
            by_mail(port, secured[1]).send(RAISED)
        by_mail(port, None, security=MailSecurity.NONE).send(RAISED)
        assert next_of(box.letters)[1] is False
        assert box.letters.empty()


def test_mail_server_that_nobody_vouches_for_gets_nothing(secured):
    """Its certificate has to be of a CA that is trusted."""
    with mail_server(secured[0]) as (port, box):
        with pytest.raises(VouchdError, match=r"certificate verify failed|CERTIFICATE"):
            by_mail(port, None).send(RAISED)
        assert box.letters.empty()


def test_mail_that_the_server_refuses_is_told_without_the_password(secured):
    """A wrong password, a mailbox that is not there, a full server: its own words, and no secret."""
    with mail_server(secured[0], login=True) as (port, box):
        wrong = by_mail(port, secured[1], user="pki", secrets={"alert.x": "wrong horse"})
        with pytest.raises(VouchdError, match="535") as refused:
            wrong.send(RAISED)
        assert "horse" not in str(refused.value)
        box.refused = {"pki@example.org"}
        with pytest.raises(VouchdError, match="550 no such mailbox"):
            by_mail(port, secured[1], user="pki").send(RAISED)
        box.refused, box.broken = set(), True
        with pytest.raises(VouchdError, match="451 try again"):
            by_mail(port, secured[1], user="pki").send(RAISED)


def test_mail_of_a_subject_with_line_ends_has_no_header_more(secured):
    """What a CA is called makes no recipient."""
    with mail_server(secured[0]) as (port, box):
        by_mail(port, secured[1]).send(notice(subject="Root\r\nBcc: all@example.org"))
        letter = next_of(box.letters)[0]
    assert letter["Bcc"] is None
    assert "Root Bcc: all@example.org" in letter["Subject"]


@pytest.mark.parametrize("secure", [True, False])
def test_webhook_posts_json_that_its_key_signs(secured, secure):
    """The receiver proves who sent it, and when, by the key that both have."""
    context, roots = secured
    with web_server(context if secure else None) as (port, requests):
        url = f"http{'s' if secure else ''}://localhost:{port}/hooks/pki?team=7"
        carrier(AlertWay.WEBHOOK, url=url, trust_file=roots).send(RAISED)
        path, headers, body = next_of(requests)
    assert (path, headers["Content-Type"]) == ("/hooks/pki?team=7", "application/json")
    signed = f"{headers['X-Vouchd-Timestamp']}.".encode() + body
    wanted = hmac.new(b"correct horse", signed, hashlib.sha256).hexdigest()
    assert headers["X-Vouchd-Signature"] == f"sha256={wanted}"
    record = json.loads(body)
    assert record["id"] == RAISED.id
    assert (record["event"], record["condition"], record["severity"]) == ("raised", "crl-expired", "critical")
    assert (record["subject"], record["since"], record["at"]) == (
        "Wurzel-CA ü",
        "2027-01-15T07:59:00Z",
        "2027-01-15T08:00:00Z",
    )


@pytest.mark.parametrize("status", [302, 404, 500])
def test_webhook_that_is_not_taken_has_not_arrived(status):
    """Anything but 2xx is a failure, and a redirect takes no alert elsewhere."""
    with web_server(status=status) as (port, requests):
        with pytest.raises(VouchdError, match=f"status {status}"):
            carrier(AlertWay.WEBHOOK, url=f"http://127.0.0.1:{port}/").send(RAISED)
        next_of(requests)
        assert requests.empty()


@pytest.mark.parametrize("url", ["ftp://a/", "https://", "https://u:p@a/", "https://a b/", "nothing"])
def test_webhook_url_that_is_none_is_refused(url):
    """At the start, and in words."""
    with pytest.raises(ConfigError, match="URL"):
        carrier(AlertWay.WEBHOOK, url=url)


def test_syslog_of_this_host_is_as_its_daemons_read_it(tmp_path):
    """Priority, time, program and process, then the line."""
    with datagrams(str(tmp_path / "log")) as (path, taken):
        carrier(AlertWay.SYSLOG, host=path, facility=SyslogFacility.AUTHPRIV).send(RAISED)
        line = taken().decode()
    assert re.fullmatch(
        r"<82>\w{3} [ \d]\d \d\d:\d\d:\d\d vouchd\[\d+\]: raised critical crl-expired Wurzel-CA ü since .*Z: past .*",
        line,
    )


RFC5424 = re.compile(
    r"<(\d+)>1 2027-01-15T08:00:00Z o1\.example vouchd \d+ crl-expired - \ufeff(raised|resolved) critical crl-expired .*"
)


def test_syslog_by_udp_is_of_rfc_5424():
    """One datagram a message; what is over is a notice."""
    with datagrams() as ((_, port), taken):
        sender = carrier(AlertWay.SYSLOG, host="127.0.0.1", port=port, facility=SyslogFacility.LOCAL3)
        sender.send(RAISED)
        assert RFC5424.fullmatch(taken().decode())[1] == str(19 * 8 + 2)
        sender.send(notice(Event.RESOLVED))
        assert RFC5424.fullmatch(taken().decode())[1] == str(19 * 8 + 5)


@pytest.mark.parametrize("transport", [SyslogTransport.TCP, SyslogTransport.TLS])
def test_syslog_by_a_stream_counts_its_octets(secured, transport):
    """RFC 6587 and RFC 5425: the length stands before the message."""
    context, roots = secured
    secure = transport is SyslogTransport.TLS
    with stream_server(context if secure else None) as (port, messages):
        carrier(AlertWay.SYSLOG, host="localhost", port=port, transport=transport, trust_file=roots).send(RAISED)
        length, _, message = next_of(messages).partition(b" ")
    assert int(length) == len(message)
    assert RFC5424.fullmatch(message.decode())


def test_snmp_trap_of_version_2c_has_its_objects():
    """The community, the trap's own object, and what it is about, below the arc of the settings."""
    from pyasn1.codec.ber.decoder import decode
    from pysnmp.proto import api

    arc = "1.3.6.1.4.1.32473.7"
    with datagrams() as ((_, port), taken):
        carrier(AlertWay.SNMP, host="127.0.0.1", port=port, version=SNMPVersion.V2C, oid=arc).send(RAISED)
        octets = taken()
    protocol = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
    message, rest = decode(octets, asn1Spec=protocol.Message())
    assert not rest
    assert bytes(protocol.apiMessage.get_community(message)) == b"correct horse"
    pdu = protocol.apiMessage.get_pdu(message)
    bindings = {str(name): value for name, value in protocol.apiTrapPDU.get_varbinds(pdu)}
    assert str(bindings["1.3.6.1.6.3.1.1.4.1.0"]) == f"{arc}.0.1"
    shown = [bytes(bindings[f"{arc}.1.{number}"]).decode() for number in range(1, 10)]
    assert shown[:3] == [RAISED.id, MEMBER, "crl-expired"]
    assert shown[3:6] == ["Wurzel-CA ü", "critical", "2027-01-15T07:59:00Z"]


@contextmanager
def trap_receiver(port: int):
    """A receiver of traps of version 3 that knows the sender's engine, and a queue of what it could decipher."""
    import asyncio
    import threading

    from pysnmp.carrier.asyncio.dgram import udp
    from pysnmp.entity import config, engine
    from pysnmp.entity.rfc3413 import ntfrcv
    from pysnmp.proto.rfc1902 import OctetString

    traps: queue.SimpleQueue = queue.SimpleQueue()
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        receiver = engine.SnmpEngine()
        config.add_transport(receiver, udp.DOMAIN_NAME, udp.UdpTransport().open_server_mode(("127.0.0.1", port)))
        sha256, aes = config.USM_AUTH_HMAC192_SHA256, config.USM_PRIV_CFB128_AES
        sender = OctetString(engine_id(MEMBER))
        config.add_v3_user(receiver, "pki", sha256, "correct horse", aes, "battery staple", securityEngineId=sender)
        config.add_v3_user(receiver, "pki", sha256, "correct horse", aes, "battery staple")

        def taken(_engine, _state, _context, _name, bindings, _more) -> None:
            traps.put({str(name): value for name, value in bindings})

        ntfrcv.NotificationReceiver(receiver, taken)
        loop.call_soon(ready.set)
        loop.run_forever()
        receiver.close_dispatcher()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(DEADLINE_SECONDS)
    yield traps
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE_SECONDS)


def test_snmp_trap_of_version_3_is_signed_and_enciphered():
    """A receiver that knows engine, user and passwords deciphers each, also of a sender that has begun anew."""
    with datagrams() as ((_, port), _):
        pass
    with trap_receiver(port) as traps:
        for event in (Event.RAISED, Event.RESOLVED):
            carrier(AlertWay.SNMP, host="127.0.0.1", port=port, user="pki").send(notice(event))
            bindings = next_of(traps)
            number = {Event.RAISED: 1, Event.RESOLVED: 2}[event]
            assert str(bindings["1.3.6.1.6.3.1.1.4.1.0"]) == f"1.3.6.1.4.1.8072.9999.9999.8443.0.{number}"
            assert bytes(bindings["1.3.6.1.4.1.8072.9999.9999.8443.1.3"]) == b"crl-expired"


WAYS = {
    "mail": (AlertWay.MAIL, {"host": "127.0.0.1", "recipients": ("a@b.example",), "security": MailSecurity.NONE}),
    "webhook": (AlertWay.WEBHOOK, {}),
    "syslog": (AlertWay.SYSLOG, {"host": "127.0.0.1", "transport": SyslogTransport.TCP}),
}


@pytest.mark.parametrize("way", WAYS)
def test_carrier_to_nobody_says_where_and_why(way):
    """A port on which nobody listens: a failure with the place, and no secret."""
    kind, fields = WAYS[way]
    port = nobody()
    where = {"url": f"http://127.0.0.1:{port}/"} if kind is AlertWay.WEBHOOK else {"port": port}
    with pytest.raises(VouchdError, match=f"127.0.0.1:{port}.*[Rr]efused") as failure:
        carrier(kind, **fields, **where).send(RAISED)
    assert "horse" not in str(failure.value)


@pytest.mark.parametrize("way", ["mail", "webhook"])
def test_server_that_never_answers_is_given_up(way):
    """One deadline ends the attempt, whatever the server does with the connection."""
    import socket

    kind, fields = WAYS[way]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        where = {"url": f"http://127.0.0.1:{port}/"} if kind is AlertWay.WEBHOOK else {"port": port}
        with pytest.raises(VouchdError, match="took longer than 1 s"):
            carrier(kind, timeout_seconds=1, **fields, **where).send(RAISED)


INCOMPLETE = {
    "no key": CarrierSettings("y", AlertWay.WEBHOOK, url="https://a.example/"),
    "no password of mailer": CarrierSettings("y", AlertWay.MAIL, host="a", recipients=("a@b.c",), user="mailer"),
    "no community": CarrierSettings("y", AlertWay.SNMP, host="a"),
    "no user": CarrierSettings("x", AlertWay.SNMP, host="a"),
    "less than 8": CarrierSettings("z", AlertWay.SNMP, host="a", user="u"),
}


@pytest.mark.parametrize("word", INCOMPLETE)
def test_carrier_without_its_password_costs_no_other(word):
    """It is told by name what is missing, and the others are opened."""
    good = CarrierSettings("good", AlertWay.SYSLOG)
    opened = dict(open_carriers((INCOMPLETE[word], good), {**SECRETS, "alert.z": "short"}, MEMBER))
    assert opened["good"].where == "syslog /dev/log"
    problem = opened[INCOMPLETE[word].name]
    assert isinstance(problem, ConfigError)
    assert word in str(problem)
    assert problem.hint


def test_mib_has_the_objects_and_traps_that_are_sent():
    """What a receiver loads names each of them, in their order, below the arc of the settings' default."""
    from pathlib import Path

    from vouchd.alerts.carriers import snmp

    mib = (Path(__file__).parents[2] / "deploy/snmp/VOUCHD-MIB.txt").read_text()
    objects = re.findall(r"^vouchd(\w+) OBJECT-TYPE.*?::= \{ vouchdObjects (\d+) \}", mib, re.MULTILINE | re.DOTALL)
    assert [int(number) for _, number in objects] == list(range(1, len(snmp._values(RAISED)) + 1))
    traps = re.findall(r"^vouchd(\w+) NOTIFICATION-TYPE.*?::= \{ vouchdTraps (\d+) \}", mib, re.MULTILINE | re.DOTALL)
    assert {name.lower(): int(number) for name, number in traps} == {
        event.value: number for event, number in snmp._EVENTS.items()
    }
    assert "enterprises 8072 9999 9999 8443" in mib
    assert CarrierSettings("x").oid == "1.3.6.1.4.1.8072.9999.9999.8443"
