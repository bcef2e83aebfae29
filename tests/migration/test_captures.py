"""OCSP requests out of packet captures, logs and folders."""

from __future__ import annotations

import base64
import struct
from urllib.parse import quote

import pytest
from tests.client.answers import ask_for
from tests.pki import CA

from vouchd.client.transport import Method
from vouchd.errors import ConfigError
from vouchd.migration.captures import RecordedRequest, recorded_requests

AUTHORITY = CA.create()
ONE, TWO = (ask_for(AUTHORITY, serial).request_der for serial in (1, 2))


def get(request_der: bytes, *, raw: bool = False) -> bytes:
    """The path of a GET."""
    text = base64.b64encode(request_der).decode()
    return f"/ocsp/ee/ocsp/{text if raw else quote(text, safe='')}".encode()


def http(request_der: bytes, method: Method) -> bytes:
    """What a client sends."""
    if method is Method.GET:
        return b"GET " + get(request_der) + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: {len(request_der)}\r\n\r\n"
    return head.encode() + request_der


def segment(payload: bytes, number: int, *, port: int = 4000, version: int = 4) -> bytes:
    """An IP packet with that part of a client's stream."""
    tcp = struct.pack(">HHIIBBHHH", port, 80, number & 0xFFFFFFFF, 0, 5 << 4, 24, 1000, 0, 0) + payload
    if version == 6:
        return struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + bytes(32) + tcp
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + bytes(8) + tcp


def capture(*packets: bytes, order: str = "<", link: int = 101) -> bytes:
    """A pcap file of those packets."""
    header = {1: bytes(12) + b"\x08\x00", 101: b"", 113: bytes(16)}[link]
    data = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for packet in packets:
        whole = header + packet
        data += struct.pack(f"{order}IIII", 0, 0, len(whole), len(whole)) + whole
    return data


def test_requests_of_a_capture_are_put_in_order_and_together(tmp_path):
    """Segments out of order, sent twice, over the end of the sequence numbers, of two clients, in both versions of IP."""
    stream = http(ONE, Method.POST) + http(TWO, Method.GET)
    begin, cut = 0xFFFFFFFF - 50, 70
    path = tmp_path / "x.pcap"
    path.write_bytes(
        capture(
            segment(stream[:cut], begin),
            segment(stream[cut + 40 :], begin + cut + 40),
            segment(stream[cut : cut + 40], begin + cut),
            segment(stream[cut : cut + 40], begin + cut),
            segment(http(TWO, Method.POST), 7, port=5000, version=6),
        )
    )
    assert sorted((one.request_der, one.method) for one in recorded_requests(path)) == sorted(
        [(ONE, Method.POST), (TWO, Method.GET), (TWO, Method.POST)]
    )


@pytest.mark.parametrize("link", [1, 101, 113])
@pytest.mark.parametrize("order", ["<", ">"])
def test_capture_of_any_usual_kind_is_read(tmp_path, link, order):
    """Ethernet, raw IP and Linux cooked packets, in either byte order."""
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(segment(http(ONE, Method.GET), 1), order=order, link=link))
    assert list(recorded_requests(path)) == [RecordedRequest(ONE, Method.GET)]


def test_capture_that_was_cut_short_gives_what_is_whole(tmp_path):
    """A file that is still written, a packet that is no TCP and a request that is not whole are passed over."""
    data = capture(segment(http(ONE, Method.GET), 1), b"\x45junk", b"", segment(http(TWO, Method.POST)[:-3], 1, port=9))
    path = tmp_path / "x.pcap"
    path.write_bytes(data + b"\0" * 10)
    assert list(recorded_requests(path)) == [RecordedRequest(ONE, Method.GET)]


def test_log_gives_its_get_requests(tmp_path):
    """Lines of the combined format, percent-encoded or raw; other lines are passed over."""
    lines = [get(ONE), get(TWO, raw=True), b"/index.html", b"/ocsp/ee/ocsp/AAAA"]
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(b'192.0.2.1 - - [x] "GET ' + one + b' HTTP/1.1" 200 9 "-" "c"\n' for one in lines))
    assert [one.request_der for one in recorded_requests(path)] == [ONE, TWO]


def test_folder_gives_a_request_of_each_file(tmp_path):
    """DER is posted as it is; a whole HTTP request is sent as it was."""
    (tmp_path / "1.der").write_bytes(ONE)
    (tmp_path / "2.http").write_bytes(http(TWO, Method.GET))
    assert list(recorded_requests(tmp_path)) == [RecordedRequest(ONE, Method.POST), RecordedRequest(TWO, Method.GET)]


@pytest.mark.parametrize("data", [b"\x0a\x0d\x0d\x0a" + bytes(20), b"\xd4\xc3\xb2\xa1", None])
def test_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path, data):
    """pcapng is named with what converts it."""
    path = tmp_path / "x"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError):
        list(recorded_requests(path))
