"""Alerts as SNMP traps, version 2c or 3 (RFC 3416, RFC 3414); takes the extra `snmp`.

The objects are those of deploy/snmp/VOUCHD-MIB.txt, below the arc that the settings name. The sender of a trap is the
authoritative engine: its identifier is made of the instance's name, so that a receiver can be told of it once, and its
number of boots grows with the clock, so that no receiver takes a trap for one from before.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping
from typing import Any

from vouchd.alerts.notice import Event, Notice
from vouchd.core.records import rfc3339
from vouchd.errors import ClientError, ConfigError
from vouchd.settings.carriers import CarrierSettings, SNMPVersion
from vouchd.sources.attempt import Deadline, look_up

_PORT = 162
_TRAP = "1.3.6.1.6.3.1.1.4.1.0"  # snmpTrapOID.0
_EVENTS = {Event.RAISED: 1, Event.RESOLVED: 2, Event.TEST: 3}  # the trap, below ARC.0
_FIRST_BOOT = 1_577_836_800  # 2020: boots are seconds since then, which fit for 68 years
_LONGEST_TEXT = 255
_SHORTEST_PASSWORD = 8  # RFC 3414 section 11.2
# The engine of net-snmp's arc, in octets of one's own (RFC 3411, SnmpEngineID).
_ENGINE_PREFIX = bytes.fromhex("80001f8805")


def engine_id(member: str) -> bytes:
    """The identifier of the engine that sends the traps of that instance."""
    return _ENGINE_PREFIX + hashlib.sha256(member.encode()).digest()[:12]


class SNMPCarrier:
    """A trap a notice; nobody says whether it has arrived."""

    def __init__(self, settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> None:
        """Raises: ConfigError when the library or a password is absent."""
        self.name, self.severity = settings.name, settings.severity
        self._settings, self._port = settings, settings.port or _PORT
        self._engine_id = engine_id(member)
        self.where = f"snmp trap {settings.version} to {settings.host}:{self._port}"
        if settings.version is SNMPVersion.V3:
            self.where += f", engine 0x{self._engine_id.hex()}"
        try:
            import pysnmp.entity.engine  # noqa: F401, PLC0415  an extra
        except ImportError as error:
            raise ConfigError(
                f"alerts by {settings.name}: the SNMP library is not installed", hint="pip install 'vouchd[snmp]'"
            ) from error
        name = f"alert.{settings.name}"
        self._password, self._privacy = passwords.get(name, ""), passwords.get(f"{name}.privacy", "")
        if not self._password:
            raise ConfigError(
                f"alerts by {settings.name}: no community or password", hint=f"add a line {name}=… to password.conf"
            )
        if settings.version is SNMPVersion.V3:
            self._require_user()

    def _require_user(self) -> None:
        name = f"alert.{self._settings.name}"
        if not self._settings.user:
            raise ConfigError(f"alerts by {self._settings.name}: no user", hint=f"add vouchd.{name}.user=…")
        for line, password in ((name, self._password), (f"{name}.privacy", self._privacy)):
            if len(password) < _SHORTEST_PASSWORD:
                raise ConfigError(
                    f"{line} has less than {_SHORTEST_PASSWORD} characters, or is absent",
                    hint=f"add a line {line}=PASSWORD to password.conf",
                )

    def send(self, notice: Notice) -> None:
        """See Carrier."""
        deadline = Deadline(f"snmp://{self._settings.host}:{self._port}", self._settings.timeout_seconds)
        try:
            address = look_up(self._settings.host, self._port, deadline)[0]
            message = self._message(notice)
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as channel:
                channel.settimeout(deadline.left())
                channel.connect(address)
                channel.send(message)
        except OSError as error:
            raise ClientError(f"{self.where}: {error.strerror or error}") from None

    def _message(self, notice: Notice) -> bytes:
        """The octets of the trap; the library makes them, and what it would send them with only takes them down."""
        from pysnmp.carrier.asyncio.dgram.udp import DOMAIN_NAME, UdpTransportAddress  # noqa: PLC0415  an extra
        from pysnmp.carrier.base import AbstractTransportDispatcher  # noqa: PLC0415
        from pysnmp.entity import config  # noqa: PLC0415
        from pysnmp.entity.engine import SnmpEngine  # noqa: PLC0415
        from pysnmp.entity.rfc3413.ntforg import NotificationOriginator  # noqa: PLC0415
        from pysnmp.proto.rfc1902 import ObjectIdentifier, OctetString  # noqa: PLC0415

        engine = SnmpEngine(snmpEngineID=OctetString(self._engine_id))
        (boots,) = engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineBoots")
        boots.syntax = boots.syntax.clone(int(time.time()) - _FIRST_BOOT)
        outbox = _Outbox(UdpTransportAddress)
        engine.register_transport_dispatcher(AbstractTransportDispatcher())
        config.add_transport(engine, DOMAIN_NAME, outbox)
        user, level, model, processing = self._sender(engine, config)
        config.add_target_parameters(engine, "sender", user, level, processing)
        config.add_target_address(engine, "receiver", DOMAIN_NAME, ("0.0.0.0", 0), "sender", tagList="all")  # noqa: S104
        config.add_notification_target(engine, "trap", "sender", "all", "trap")
        config.add_vacm_user(engine, model, user, level, notifySubTree=(1, 3, 6))
        arc = self._settings.oid
        bindings = [
            (_TRAP, ObjectIdentifier(f"{arc}.0.{_EVENTS[notice.event]}")),
            *((f"{arc}.1.{number}", OctetString(text)) for number, text in enumerate(_values(notice), 1)),
        ]
        NotificationOriginator().send_varbinds(engine, "trap", None, b"", bindings)
        if not outbox.octets:
            raise ClientError(f"{self.where}: the library made no message of it")
        return outbox.octets

    def _sender(self, engine: Any, config: Any) -> tuple[str, str, int, int]:
        """User, level of security, security model and message processing model (RFC 3411)."""
        if self._settings.version is SNMPVersion.V2C:
            config.add_v1_system(engine, "community", self._password)
            return "community", "noAuthNoPriv", 2, 1
        config.add_v3_user(
            engine,
            self._settings.user,
            config.USM_AUTH_HMAC192_SHA256,
            self._password,
            config.USM_PRIV_CFB128_AES,
            self._privacy,
        )
        return self._settings.user, "authPriv", 3, 3


class _Outbox:
    """What the library takes for a transport."""

    def __init__(self, address_type: type) -> None:
        self.octets = b""
        self.ADDRESS_TYPE = address_type  # as the library calls it

    def is_compatible_with_dispatcher(self, _dispatcher: object) -> bool:
        """It is with any."""
        return True

    def send_message(self, message: bytes, _address: object) -> None:
        """Keep it."""
        self.octets = bytes(message)

    def register_callback(self, _call: object) -> None:
        """Nothing ever comes back."""

    def unregister_callback(self) -> None:
        """Nothing ever comes back."""

    def close_transport(self) -> None:
        """Nothing is open."""


def _values(notice: Notice) -> tuple[bytes, ...]:
    """The objects ARC.1.1, ARC.1.2 … of the MIB, in its order."""
    texts = (
        notice.id,
        notice.instance,
        notice.condition,
        notice.subject,
        notice.severity.value,
        rfc3339(notice.since),
        notice.words,
        notice.remedy,
        notice.page,
    )
    return tuple(text.encode()[:_LONGEST_TEXT] for text in texts)
