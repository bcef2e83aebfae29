"""Alerts to syslog: this host's socket, or a server by UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from vouchd.alerts.notice import Event, Notice
from vouchd.core.records import rfc3339
from vouchd.errors import ClientError
from vouchd.settings.carriers import CarrierSettings, Severity, SyslogFacility, SyslogTransport
from vouchd.signing.certificates import trusting
from vouchd.sources.attempt import Deadline, Wire, look_up

_LOCAL = "/dev/log"
_PORTS = {SyslogTransport.UDP: 514, SyslogTransport.TCP: 514, SyslogTransport.TLS: 6514}
# RFC 5424 section 6.2.1.
_FACILITIES = {SyslogFacility.DAEMON: 3, SyslogFacility.AUTHPRIV: 10} | {
    facility: 16 + number
    for number, facility in enumerate(one for one in SyslogFacility if one.value.startswith("local"))
}
_LEVELS = {Severity.CRITICAL: 2, Severity.WARNING: 4}
_NOTICE = 5  # the level of what has ended, and of a test


class SyslogCarrier:
    """A message a notice, whose MSGID is the condition."""

    def __init__(self, settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> None:  # noqa: ARG002
        """Raises: ConfigError when there are no certificates to trust."""
        self.name, self.severity = settings.name, settings.severity
        self._timeout, self._transport = settings.timeout_seconds, settings.transport
        self._facility = _FACILITIES[settings.facility]
        self._host = settings.host or _LOCAL
        self._port = settings.port or _PORTS[settings.transport]
        self._local = self._host.startswith("/")
        self._from = member.rpartition(":")[0] or socket.gethostname()
        self._tls = (
            trusting(settings.trust_file) if settings.transport is SyslogTransport.TLS and not self._local else None
        )
        place = self._host if self._local else f"{self._host}:{self._port} by {self._transport}"
        self.where = f"syslog {place}"

    def send(self, notice: Notice) -> None:
        """See Carrier; by UDP nobody says whether it has arrived."""
        deadline = Deadline(self.where.removeprefix("syslog "), self._timeout)
        try:
            if self._local:
                self._send_local(notice)
            elif self._transport is SyslogTransport.UDP:
                self._send_datagram(notice, deadline)
            else:
                self._send_octets(notice, deadline)
        except OSError as error:
            raise ClientError(f"{self.where}: {error.strerror or error}") from None

    def _send_local(self, notice: Notice) -> None:
        """As a host's own daemons read it: the form before RFC 5424, with local time and without a host."""
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(notice.at))
        line = f"<{self._priority(notice)}>{stamp} vouchd[{os.getpid()}]: {notice.line}; {notice.remedy}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(self._timeout)
            channel.connect(self._host)
            channel.send(line.encode())

    def _send_datagram(self, notice: Notice, deadline: Deadline) -> None:
        address = look_up(self._host, self._port, deadline)[0]
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.settimeout(deadline.left())
            channel.connect(address)
            channel.send(self._message(notice))

    def _send_octets(self, notice: Notice, deadline: Deadline) -> None:
        message = self._message(notice)
        wire = Wire(look_up(self._host, self._port, deadline), deadline)
        try:
            if self._tls is not None:
                wire.start_tls(self._tls, self._host)
            wire.sendall(b"%d %s" % (len(message), message))
        finally:
            wire.close()

    def _priority(self, notice: Notice) -> int:
        level = _LEVELS[notice.severity] if notice.event is Event.RAISED else _NOTICE
        return self._facility * 8 + level

    def _message(self, notice: Notice) -> bytes:
        """RFC 5424 section 6; the byte order mark says that it is UTF-8."""
        head = f"<{self._priority(notice)}>1 {rfc3339(notice.at)} {self._from} vouchd {os.getpid()}"
        return f"{head} {notice.condition[:32]} - \ufeff{notice.line}; {notice.remedy}".encode()
