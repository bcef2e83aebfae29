"""What goes over the loopback interface from and to some ports, recorded as somebody on the wire would."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.processes.running import DEADLINE_SECONDS

# Of linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h and linux/filter.h.
_ETH_P_IP = 0x0800
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_LOAD_OCTET, _LOAD_HEADER_LENGTH, _LOAD_PORT, _EQUAL, _RETURN = 0x30, 0xB1, 0x48, 0x15, 0x06
_PROTOCOL_AT, _TCP = 9, 6

_BUFFER_BYTES, _PACKET_BYTES = 256 << 20, 1 << 18
_SEQUENCES = 1 << 32


class Capture:
    """The TCP streams of IPv4 from and to `ports`, whoever has them. Raises: PermissionError without CAP_NET_RAW."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._segments: dict[tuple[bytes, int, bytes, int], dict[int, bytes]] = {}
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        steps = _filter(ports)
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        reference = struct.pack("@HP", len(steps), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, reference)
        self._socket.bind(("lo", _ETH_P_IP))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record; at the end all that went over the wire until then is there, and none of it was lost."""
        thread = threading.Thread(target=self._record, name="capture")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(DEADLINE_SECONDS)
            _, lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            self._socket.close()
        assert not thread.is_alive()
        assert not lost

    def streams(self) -> dict[str, bytes]:
        """What each end has sent to the other, by their addresses."""
        return {
            f"{socket.inet_ntoa(source)}:{port} to {socket.inet_ntoa(target)}:{other}": _joined(segments)
            for (source, port, target, other), segments in self._segments.items()
        }

    def _record(self) -> None:
        while True:
            over = self._over.is_set()  # looked at first: what came before it is read
            ready, _, _ = select.select([self._socket], [], [], 0 if over else 0.1)
            if ready:
                self._keep(self._socket.recv(_PACKET_BYTES))
            elif over:
                return

    def _keep(self, packet: bytes) -> None:
        header, (length,) = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)
        port, other, sequence = struct.unpack_from("!HHI", packet, header)
        data = packet[header + (packet[header + 12] >> 4) * 4 : length or None]  # 0: longer than the field can say
        if data:
            stream = self._segments.setdefault((packet[12:16], port, packet[16:20], other), {})
            stream[sequence] = max(stream.get(sequence, b""), data, key=len)


def _filter(ports: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """A program of the kernel's packet filter: code, steps to skip where it is so and where not, operand."""
    steps = [(_LOAD_OCTET, 0, 0, _PROTOCOL_AT), (_EQUAL, 0, 2 * len(ports) + 3, _TCP), (_LOAD_HEADER_LENGTH, 0, 0, 0)]
    for number, place in enumerate((0, 2)):
        steps.append((_LOAD_PORT, 0, 0, place))
        after = (1 - number) * (len(ports) + 1) + 1
        steps += [(_EQUAL, len(ports) - 1 - at + after, 0, port) for at, port in enumerate(ports)]
    return [*steps, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _PACKET_BYTES)]


def _joined(segments: Mapping[int, bytes]) -> bytes:
    """The octets in their order, those that were sent again left out."""
    first, octets, end = next(iter(segments)), bytearray(), 0
    for place, data in sorted(((sequence - first) % _SEQUENCES, data) for sequence, data in segments.items()):
        octets += data[max(0, end - place) :]
        end = max(end, place + len(data))
    return bytes(octets)
