"""The path of an OCSP GET to the DER it carries (RFC 6960 appendix A.1): pure, bytes in, bytes out.

RFC 6960 asks for base64, then percent-encoding. Real clients leave out the second step or the padding, take the
URL-safe alphabet, encode twice, break lines, or pass through a proxy that turns `+` into a space. All of these can be
told apart from each other, so all are read. Slashes are never folded: `//` may stand in the middle of base64.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from vouchd.errors import MalformedRequest

MAX_TARGET_BYTES = 256 * 1024

# Longest first; POST goes to the bare prefix. The long one is what clients of Certificate System are configured with.
PREFIXES = (b"ocsp/ee/ocsp", b"ocsp")

# The first octet of an OCSPRequest is 0x30 (SEQUENCE), so its base64 starts with M, whatever comes next.
_FIRST = (b"M", b"%4D", b"%4d", b"%254D", b"%254d")

# To the standard alphabet: the URL-safe one, and the space that form decoding makes of `+`.
_TO_STANDARD = bytes.maketrans(b"-_ ", b"+/+")


def prefixes(paths: Iterable[str]) -> tuple[bytes, ...]:
    """The paths of the service, its own and `paths` (such as `/ca/ocsp`): longest first, without slashes around."""
    own = {path.strip("/").encode() for path in paths} - {b""}
    return tuple(sorted(own | set(PREFIXES), key=lambda prefix: (-len(prefix), prefix)))


def remainder(target: bytes, prefixes: tuple[bytes, ...] = PREFIXES) -> bytes | None:
    """What follows the path of the OCSP service in a request target (still encoded), None when it is another path.

    `target` is in origin or absolute form (RFC 9112 section 3.2); a query is ignored, base64 has no `?`.
    """
    path = _path(target)
    for prefix in prefixes:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
            return path[len(prefix) :].lstrip(b"/")
    return path if not path or path.startswith(_FIRST) else None


def decode(target: bytes, prefixes: tuple[bytes, ...] = PREFIXES) -> bytes:
    """The octets that the path of `target` carries; whether they are an OCSPRequest is for the responder to say.

    Raises: MalformedRequest when there are none, or what is there is not base64.
    """
    if len(target) > MAX_TARGET_BYTES:
        raise MalformedRequest(f"request target of {len(target)} bytes is too long")
    text = remainder(target, prefixes)
    if not text:
        raise MalformedRequest("no OCSP request in the path", hint="GET /BASE64 or POST the DER to /")
    for _ in range(2):  # `%` is not in the alphabet: what is still there after one round was encoded twice
        if b"%" in text:
            text = unquote_to_bytes(text)
    text = text.translate(_TO_STANDARD, b"\r\n\t").rstrip(b"=")
    if b"=" in text:  # an octet after the padding; the strict decoder below sees none, it is given fresh padding
        raise MalformedRequest("the path goes on after the padding of its base64")
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error as error:
        raise MalformedRequest("the path is not base64") from error


def _path(target: bytes) -> bytes:
    """The path without query and leading slashes."""
    if target[:7].lower() == b"http://" or target[:8].lower() == b"https://":
        _, _, target = target.partition(b"//")[2].partition(b"/")
    return target.partition(b"?")[0].lstrip(b"/")
