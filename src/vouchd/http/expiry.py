"""Certificates that end soon are told in the log once a day, while there is time to renew them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from vouchd.core.ports import Clock
from vouchd.pkix.purposes import Validity

_log = logging.getLogger(__name__)

_DAY = 86400


def expiring(certificates: Mapping[str, Validity], at: int) -> dict[str, str]:
    """Words by name on each certificate that has ended or ends soon."""
    return {name: words for name, validity in certificates.items() if (words := validity.warning(at))}


async def warn_daily(
    certificates: Mapping[str, Validity], clock: Clock, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Log each certificate that ends soon, every day for ever, first a day after the start, which warns too."""
    while True:
        await pause(_DAY)
        for name, words in expiring(certificates, clock.now()).items():
            _log.warning("the certificate %s %s; renew it: vouchd certs renew|request %s", name, words, name)
