"""Answers prepared for requests that are alike but for a serial and a nonce: found by octets, without the parser.

How it works. A request for one certificate is octets that its issuer and its client's software decide, with two holes
in them: the serial, and a nonce at the end. A request that was parsed, guarded and decided leaves a template behind
under those octets: the answer, with holes at the same places. `up_to_serial` tells where the serial stands and
`up_to_nonce` where the nonce's octets begin; the next request with the same octets around has its answer put together
from the template, and all that is left to do is to see that no CRL lists its serial, and to sign.

A serial that a CRL lists, a CA that keeps a list of what it has issued, a request for several certificates: there the
octets of the serial decide more than whether it is listed, and the template is kept with its serial: only the nonce is
a hole then, so it serves the same question asked again with another nonce. So does one whose serial was seen not to be
listed: asked again with another nonce it is not looked up again.

Why it is right. A template is found by all octets outside the holes, and by the size of the whole. Say R is the request
that left it behind and Q one that finds it.
- The octets up to a serial tell by themselves where they end: each length stands before what it measures, and
  `_UP_TO_SERIAL` takes an element in one way or not at all, so none of its matches is the beginning of a longer one.
  Hence the hole of Q begins where that of R does, and its size, the octet before it, is the same.
- So Q and R have all lengths of all elements in common and differ in the content of one INTEGER and of one OCTET STRING
  alone: the parser reads Q as it read R. What it asks of the two is looked at here: the INTEGER is minimal (a nonce may
  be any octets, and its size is R's).
- The end of R was its nonce because the parser said so when R was kept; octets in a serial or a nonce that look like a
  nonce's head make a key under which nothing was kept, and the request is parsed.
- What is decided of Q is what was decided of R: both serials are positive and listed nowhere, at times between which no
  CRL and no signer begins or ends to count (`since`, `until`), from a state that is still served (`Basis`).

Bounded: in bytes, by dropping all at once, since what is asked often is back with the next question; a long request,
or one that its client made up for itself alone (`OCSPRequest.unusual`), leaves nothing behind.
"""

from __future__ import annotations

import re

from vouchd.pkix import der
from vouchd.pkix.ocsp import MAX_SERIAL, NONCE, OCSPRequest
from vouchd.service.assembling import Draft, Template

TEMPLATE_BYTES = 64 << 20
MAX_REQUEST_BYTES = 1024
_KEY_BYTES = 150  # what its place in a dictionary takes

_LENGTH = rb"(?:[\x00-\x7f]|\x81[\x80-\xff]|\x82[\x01-\xff].)"
_SEQUENCE = rb"\x30" + _LENGTH
_VERSION = rb"(?:\xa0\x03\x02\x01\x00)?"
_ALGORITHM = rb"\x30(?:\x07.{7}|\x09.{9}|\x0b.{11}|\x0d.{13})"
_HASH = rb"\x04(?:\x14.{20}|\x20.{32}|\x30.{48}|\x40.{64})"
_SERIAL = rb"\x02[\x01-" + bytes((MAX_SERIAL,)) + rb"]"
_UP_TO_SERIAL = re.compile(_SEQUENCE * 2 + _VERSION + _SEQUENCE * 3 + _ALGORITHM + _HASH * 2 + _SERIAL, re.DOTALL).match

_NONCE_START = der.tlv(der.OID, NONCE) + b"\x04"  # up to the tag of extnValue
_NONCE_HEAD = len(_NONCE_START) + 3  # up to the nonce's octets
_MAX_OCTETS = 0x7F - _NONCE_HEAD


def up_to_serial(request_der: bytes) -> int:
    """Where the content of the first serial begins, 0 where that takes the parser to see; its size stands before it."""
    match = _UP_TO_SERIAL(request_der)
    return match.end() if match else 0


def up_to_nonce(request_der: bytes) -> int:
    """Where the octets of a nonce begin that ends the request; its whole size where there seems to be none.

    Only nonces of up to 112 octets are looked for, whose Extension has a length below 128; a longer one takes the
    ordinary way.
    """
    size = len(request_der)
    start = request_der.rfind(_NONCE_START) + _NONCE_HEAD
    octets = size - start
    if start < _NONCE_HEAD + 2 or not 1 <= octets <= _MAX_OCTETS:
        return size
    outer, tag, inner = request_der[start - 3 : start]
    return start if outer == octets + 2 and tag == der.OCTET_STRING and inner == octets else size


class Templates:
    """The templates by the octets of their requests: those outside both holes, and all up to the nonce."""

    def __init__(self) -> None:
        self._around: dict[bytes, Template] = {}
        self._whole: dict[bytes, Template] = {}
        self._bytes = 0

    def draft(self, request_der: bytes, at: int) -> Draft | None:
        """The answer to a request at POSIX second `at`, None when it has to be parsed. Raises: IndexFileError."""
        nonce, size = up_to_nonce(request_der), len(request_der)
        nonce_der = whole = b""
        if nonce < size:
            nonce_der, whole = request_der[nonce - _NONCE_HEAD - 2 :], request_der[:nonce]
            template = self._whole.get(whole)
            if template is not None and template.serves(size, at):
                start = template.start
                serial = request_der[start : start + request_der[start - 1]] if start else b""
                return template.draft(at, serial, nonce_der)
        match = _UP_TO_SERIAL(request_der)
        if match is None:
            return None
        start = match.end()
        end = start + request_der[start - 1]
        template = self._around.get(request_der[:start] + request_der[end:nonce])
        if template is None or not template.serves(size, at):
            return None
        serial = request_der[start:end]
        if template.statements is None or not _is_usual(serial) or template.statements.lists(serial, at):
            return None
        if whole:
            self._learn(whole, template)
        return template.draft(at, serial, nonce_der)

    def _learn(self, whole: bytes, template: Template) -> None:
        """Keep a template that has a hole for its serial under all octets up to the nonce, too."""
        more = _KEY_BYTES + len(whole)
        if whole in self._whole or self._bytes + more > TEMPLATE_BYTES:
            self._put(self._whole, whole, template)
        else:  # as most times
            self._whole[whole] = template
            self._bytes += more

    def keep(self, request_der: bytes, request: OCSPRequest, template: Template, *, echoed: bool) -> None:
        """Keep what was made of `request_der`, which was parsed as `request`, if it can be found again.

        `echoed` tells whether a nonce is; one that is not, or stands elsewhere than at the end, is no hole.
        """
        nonce = up_to_nonce(request_der)
        if request.unusual or len(request_der) > MAX_REQUEST_BYTES or (request.nonce is not None and not echoed):
            return
        if _nonce_der(request_der, nonce) != request.nonce_der:
            return
        if template.statements is None:
            if request.nonce is not None:
                self._put(self._whole, request_der[:nonce], template)
            return
        start, (cert_id,) = up_to_serial(request_der), request.cert_ids
        if start and _is_usual(cert_id.serial):
            template.start, end = start, start + len(cert_id.serial)
            self._put(self._around, request_der[:start] + request_der[end:nonce], template)

    def _put(self, kept: dict[bytes, Template], key: bytes, template: Template) -> None:
        former = kept.get(key)
        more = self._cost(kept, template) - (self._cost(kept, former) if former else -_KEY_BYTES - len(key))
        if self._bytes + more > TEMPLATE_BYTES:
            self.clear()
            more = _KEY_BYTES + len(key) + self._cost(kept, template)
        kept[key] = template
        self._bytes += more

    def _cost(self, kept: dict[bytes, Template], template: Template) -> int:
        """What a template takes that is kept there; one with a hole for its serial stands among those as well."""
        return 0 if kept is self._whole and template.start else template.cost

    def clear(self) -> None:
        """Drop all."""
        self._around.clear()
        self._whole.clear()
        self._bytes = 0


def _nonce_der(request_der: bytes, nonce: int) -> bytes:
    """The Extension of a nonce whose octets begin there; empty where the request ends."""
    return request_der[nonce - _NONCE_HEAD - 2 :] if nonce < len(request_der) else b""


def _is_usual(serial: bytes) -> bool:
    """Whether it is the content of a positive INTEGER in DER."""
    return 0 < serial[0] < 0x80 or (serial[0] == 0 and serial[1:2] >= b"\x80")
