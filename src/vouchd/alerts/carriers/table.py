"""THE table of carriers: a way of CS.cfg to the class that goes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from vouchd.alerts.notice import Carrier
from vouchd.errors import ConfigError
from vouchd.settings.carriers import AlertWay, CarrierSettings

Open = Callable[[CarrierSettings, Mapping[str, str], str], Carrier]

# Loaded when one is wanted: mail, HTTP and SNMP bring much along.
_CLASSES = {
    AlertWay.MAIL: ("mail", "MailCarrier"),
    AlertWay.WEBHOOK: ("webhook", "WebhookCarrier"),
    AlertWay.SNMP: ("snmp", "SNMPCarrier"),
    AlertWay.SYSLOG: ("syslog", "SyslogCarrier"),
}


def open_carrier(settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> Carrier:
    """The carrier of these settings, for the instance that is called `member`. Raises: ConfigError."""
    module, name = _CLASSES[settings.way]
    opened: Open = getattr(import_module(f"vouchd.alerts.carriers.{module}"), name)
    return opened(settings, passwords, member)


def open_carriers(
    settings: Sequence[CarrierSettings], passwords: Mapping[str, str], member: str
) -> tuple[tuple[str, Carrier | ConfigError], ...]:
    """All of them by their names; where one cannot be opened, why: the others carry all the same."""
    return tuple((one.name, _opened(one, passwords, member)) for one in settings)


def _opened(settings: CarrierSettings, passwords: Mapping[str, str], member: str) -> Carrier | ConfigError:
    try:
        return open_carrier(settings, passwords, member)
    except ConfigError as error:
        return error
