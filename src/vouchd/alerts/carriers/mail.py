"""Alerts by mail: SMTP (RFC 5321) with StartTLS or TLS, one deadline for the whole of a session."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from vouchd.alerts.notice import Event, Notice
from vouchd.errors import ClientError, ConfigError
from vouchd.settings.carriers import CarrierSettings, MailSecurity
from vouchd.signing.certificates import trusting
from vouchd.sources.attempt import Deadline, Wire, look_up

_PORTS = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.NONE: 25}
_READY = 220


class MailCarrier:
    """A mail a notice; what is resolved is an answer to what was raised, so that both stand together."""

    def __init__(self, settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> None:
        """Raises: ConfigError when there is no password for the user, or no certificates to trust."""
        self.name, self.severity = settings.name, settings.severity
        self._settings = settings
        self._port = settings.port or _PORTS[settings.security]
        self.where = f"mail to {', '.join(settings.recipients)} by {settings.host}:{self._port}"
        self._domain = member.rpartition(":")[0] or "localhost"
        self._tls = None if settings.security is MailSecurity.NONE else trusting(settings.trust_file)
        self._password = passwords.get(f"alert.{settings.name}", "")
        if settings.user and not self._password:
            raise ConfigError(
                f"alerts by {settings.name}: no password of {settings.user}",
                hint=f"add a line alert.{settings.name}=PASSWORD to password.conf",
            )

    def send(self, notice: Notice) -> None:
        """See Carrier."""
        deadline = Deadline(f"smtp://{self._settings.host}:{self._port}", self._settings.timeout_seconds)
        try:
            with _Session(self._settings.host, self._port, deadline, self._tls, self._settings.security) as session:
                if self._settings.user:
                    session.login(self._settings.user, self._password)
                session.send_message(self._message(notice))
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = next(iter(error.recipients.values()))
            raise ClientError(f"{self.where}: every recipient is refused: {code} {_first_line(reply)}") from None
        except smtplib.SMTPResponseException as error:
            words = f"{error.smtp_code} {_first_line(error.smtp_error)}"
            raise ClientError(f"{self.where}: the server says {words}") from None  # its text never has our password
        except (smtplib.SMTPException, OSError) as error:
            raise ClientError(f"{self.where}: {getattr(error, 'strerror', '') or error}") from None

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._settings.sender or f"vouchd@{self._domain}"
        message["To"] = ", ".join(self._settings.recipients)
        message["Subject"] = notice.title
        message["Date"] = formatdate(notice.at)
        message["Message-ID"] = f"<{notice.id}@{self._domain}>"
        if notice.event is Event.TEST:
            message.replace_header("Message-ID", make_msgid(domain=self._domain))
        if notice.event is Event.RESOLVED:
            message["In-Reply-To"] = message["References"] = f"<{_id_of_raised(notice)}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        message.set_content(notice.text)
        return message


def _id_of_raised(notice: Notice) -> str:
    raised = Notice.of(
        Event.RAISED, notice.instance, notice.condition, notice.subject, notice.severity, notice.since, 0, "", "", ""
    )
    return raised.id


def _first_line(reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return text.partition("\n")[0][:200]


class _Session(smtplib.SMTP):
    """A session over a wire that ends with the deadline."""

    def __init__(
        self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None, security: MailSecurity
    ) -> None:
        self._deadline, self._context, self._security = deadline, context, security
        super().__init__(host, port)
        if security is MailSecurity.STARTTLS:
            self._begin_tls(host)
        self.ehlo_or_helo_if_needed()

    def _get_socket(self, host: str, port: int, timeout: float) -> Wire:  # noqa: ARG002  the deadline is the limit
        wire = Wire(look_up(host, port, self._deadline), self._deadline)
        if self._security is MailSecurity.TLS and self._context is not None:
            wire.start_tls(self._context, host)
        return wire

    def _begin_tls(self, host: str) -> None:
        """Never without: a server that does not offer it is one that somebody stands before."""
        self.ehlo_or_helo_if_needed()
        code, reply = self.docmd("STARTTLS")
        if code != _READY:
            raise smtplib.SMTPResponseException(code, reply)
        wire = self.sock
        if not isinstance(wire, Wire) or self._context is None:
            raise smtplib.SMTPException("the connection is gone")
        if self.file is not None:
            self.file.close()  # what came before TLS is not read after it
        wire.start_tls(self._context, host)
        self.file = self.helo_resp = self.ehlo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False
