"""What the instance says of itself to anyone, as the Certificate System's servers do: that it runs, and what it is.

Monitoring has no certificate, and asks on the plain port; the Certificate System's `pki` asks before it logs in.
"""

from __future__ import annotations

from collections.abc import Mapping

from vouchd import __version__

PRODUCT = "vouchd"
GET_STATUS = "/ocsp/admin/ocsp/getStatus"
INFO = ("/pki/rest/info", "/pki/v2/info")
XML = "application/xml"

STATUS: Mapping[str, str] = {
    "State": "1",
    "Type": "OCSP",
    "Status": "running",
    "Version": __version__,
    "ProductVersion": f"{PRODUCT} {__version__}",
}
PRODUCT_FACTS: Mapping[str, str] = {"Name": PRODUCT, "Version": __version__}
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'


def status_xml() -> bytes:
    """`getStatus`: that the instance runs."""
    return f"{_DECLARATION}<XMLResponse>{_elements(STATUS)}</XMLResponse>".encode()


def info_xml() -> bytes:
    """`info`: what runs here."""
    return f"{_DECLARATION}<Info><Attributes/>{_elements(PRODUCT_FACTS)}</Info>".encode()


def _elements(facts: Mapping[str, str]) -> str:
    """Our own words and a version (PEP 440), of which no character is one that XML would have escaped."""
    return "".join(f"<{name}>{value}</{name}>" for name, value in facts.items())


# By request target, for the plain port; a query changes nothing.
DOCUMENTS: Mapping[bytes, bytes] = {
    GET_STATUS.encode(): status_xml(),
    **{path.encode(): info_xml() for path in INFO},
}
