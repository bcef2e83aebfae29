"""OCSP requests that clients have sent, out of a packet capture, a web server's log, or a folder of files.

- A capture (pcap, as `tcpdump -w` writes it) of plain HTTP: of each connection what the client sent, put in order by
  its sequence numbers; a request that is not whole is passed over.
- A log in the common or combined format: the GET requests in it. What was posted stands in no log.
- A folder: a file a request, in DER or as a whole HTTP request.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from vouchd.client.transport import Method
from vouchd.errors import ConfigError
from vouchd.files import mapped_copy

MAX_CAPTURE_BYTES = 1 << 32
MAX_REQUEST_BYTES = 1 << 16
_LITTLE = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
_LINK_HEADERS = {1: 14, 12: 0, 101: 0, 113: 16, 276: 20}  # Ethernet, raw IP twice, Linux cooked twice
_TCP, _IPV4, _IPV6 = 6, 4, 6
_LOGGED = re.compile(rb'"GET (\S{1,90000}) HTTP/[0-9.]+"')
_REQUEST = re.compile(rb"(GET|POST) (\S{1,90000}) HTTP/1\.[01]\r\n((?:[^\r\n]{1,8192}\r\n){0,100})\r\n")
_LENGTH = re.compile(rb"content-length:\s*(\d{1,9})\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as a client sent it: DER, and how it travelled."""

    request_der: bytes
    method: Method


def recorded_requests(path: Path) -> Iterator[RecordedRequest]:
    """The requests in `path`: a folder, a packet capture or a log. Raises: ConfigError."""
    if path.is_dir():
        for file in sorted(one for one in path.iterdir() if one.is_file()):
            yield from _of_file(bytes(_contents(file)))
        return
    data = _contents(path)
    if bytes(data[:4]) in _LITTLE:
        yield from _captured(data, path)
    elif bytes(data[:4]) == b"\x0a\x0d\x0d\x0a":
        raise ConfigError(f"{path}: a capture in the pcapng format", hint="editcap -F pcap FILE FILE.pcap")
    else:
        yield from (one for match in _LOGGED.finditer(data) if (one := _got(match[1])) is not None)


def _contents(path: Path) -> memoryview:
    try:
        return memoryview(mapped_copy(path, MAX_CAPTURE_BYTES, error=ConfigError))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _of_file(data: bytes) -> Iterator[RecordedRequest]:
    if data.startswith((b"GET ", b"POST ")):
        yield from _requests(data)
    elif data:
        yield RecordedRequest(data, Method.POST)


def _got(target: bytes) -> RecordedRequest | None:
    """The request in the path of a GET, None when there is none in it."""
    text = target.decode("ascii", "replace").partition("?")[0]
    # The path of the service stands in front; base64 may hold slashes, and `M` begins every request (a SEQUENCE).
    parts = text.split("/")
    for start in range(len(parts)):
        candidate = unquote("/".join(parts[start:]))
        try:
            der = base64.b64decode(candidate, validate=True)
        except (binascii.Error, ValueError):
            continue
        if der.startswith(b"\x30") and len(der) <= MAX_REQUEST_BYTES:
            return RecordedRequest(der, Method.GET)
    return None


def _requests(stream: bytes) -> Iterator[RecordedRequest]:
    """The whole OCSP requests in what one client sent over a connection."""
    position = 0
    while match := _REQUEST.search(stream, position):
        position = match.end()
        if match[1] == b"GET":
            if (one := _got(match[2])) is not None:
                yield one
            continue
        length = _LENGTH.search(match[3])
        size = int(length[1]) if length else 0
        body = stream[position : position + size]
        position += size
        if 0 < size <= MAX_REQUEST_BYTES and len(body) == size and body.startswith(b"\x30"):
            yield RecordedRequest(body, Method.POST)


def _captured(data: memoryview, path: Path) -> Iterator[RecordedRequest]:
    order = _LITTLE[bytes(data[:4])]
    if len(data) < 24:
        raise ConfigError(f"{path}: not a whole packet capture")
    link = struct.unpack(f"{order}I", data[20:24])[0] & 0xFFFF
    if link not in _LINK_HEADERS:
        raise ConfigError(f"{path}: packets of link type {link}, which are not read", hint="tcpdump -i any -w FILE")
    flows: dict[bytes, list[tuple[int, bytes]]] = {}
    for packet in _packets(data, order):
        segment = _segment(packet[_LINK_HEADERS[link] :])
        if segment is not None:
            flow, number, payload = segment
            flows.setdefault(flow, []).append((number, payload))
    for segments in flows.values():
        yield from _requests(_stream(segments))


def _packets(data: memoryview, order: str) -> Iterator[bytes]:
    position = 24
    while position + 16 <= len(data):
        (size,) = struct.unpack(f"{order}I", data[position + 8 : position + 12])
        position += 16
        if position + size > len(data):
            return  # cut short while it was written
        yield bytes(data[position : position + size])
        position += size


def _segment(packet: bytes) -> tuple[bytes, int, bytes] | None:
    """Flow, sequence number and payload of a TCP segment, None of anything else."""
    version = packet[0] >> 4 if packet else 0
    if version == _IPV4 and len(packet) >= 20 and packet[9] == _TCP:
        header, end = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        addresses = packet[12:20]
    elif version == _IPV6 and len(packet) >= 40 and packet[6] == _TCP:
        header, end = 40, 40 + int.from_bytes(packet[4:6], "big")
        addresses = packet[8:40]
    else:
        return None
    segment = packet[header : end or len(packet)]
    if len(segment) < 20:
        return None
    payload = segment[(segment[12] >> 4) * 4 :]
    return (addresses + segment[:4], int.from_bytes(segment[4:8], "big"), payload) if payload else None


def _stream(segments: list[tuple[int, bytes]]) -> bytes:
    """What was sent, in order and once; the numbers count modulo 2^32 from the first one that was seen."""
    first = segments[0][0]
    ordered = sorted(((number - first + (1 << 31)) % (1 << 32), payload) for number, payload in segments)
    stream, end = bytearray(), ordered[0][0]
    for number, payload in ordered:
        stream += payload[max(end - number, 0) :]  # behind a segment that is missing comes another piece
        end = max(end, number + len(payload))
    return bytes(stream)
