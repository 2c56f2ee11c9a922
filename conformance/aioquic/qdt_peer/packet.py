"""Inner packets: ICMP echo requests and what comes back, IPv4 fragments joined.

Every packet made here is valid; every packet read is checked (version, lengths, both checksums).
"""

import ipaddress
import struct

_ECHO_REPLY, _ECHO = 0, 8
_HEADER = 20
SMALLEST = _HEADER + 8


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); 0 over data that holds its own."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(source: str, target: str, ident: int, sequence: int, size: int) -> bytes:
    """An echo request of `size` bytes in all, 28 to 65535, whose data count up from the sequence number."""
    if not SMALLEST <= size <= 65535:
        raise ValueError(f"an echo request has 28 to 65535 bytes, not {size}")
    data = bytes((sequence + at) % 256 for at in range(size - SMALLEST))
    icmp = struct.pack(">BBHHH", _ECHO, 0, 0, ident, sequence) + data
    icmp = icmp[:2] + struct.pack(">H", checksum(icmp)) + icmp[4:]
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, sequence, 0, 64, 1, 0) + addresses
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + icmp


class Inbox:
    """Takes inner packets as they come and gives whole ICMP messages."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[bytes, bytes, int], dict[int, tuple[bytes, bool]]] = {}
        self.ip_fragments = 0

    def take(self, packet: bytes) -> tuple[str, str, bytes] | None:
        """Source, target and ICMP message, once whole. Raises ValueError for what no kernel would send."""
        if len(packet) < _HEADER or packet[0] != 0x45:
            raise ValueError("not an IPv4 packet without options")
        total, ident, place = struct.unpack_from(">HHH", packet, 2)
        if total != len(packet):
            raise ValueError(f"total length {total} in a packet of {len(packet)} bytes")
        if checksum(packet[:_HEADER]) != 0:
            raise ValueError("wrong header checksum")
        source, target = packet[12:16], packet[16:20]
        message, more, offset = packet[_HEADER:], bool(place & 0x2000), (place & 0x1FFF) * 8
        if more or offset:
            self.ip_fragments += 1
            pieces = self._pieces.setdefault((source, target, ident), {})
            pieces[offset] = (message, more)
            joined = _join(pieces)
            if joined is None:
                return None
            del self._pieces[(source, target, ident)]
            message = joined
        if packet[9] != 1:
            return None
        if checksum(message) != 0:
            raise ValueError("wrong ICMP checksum")
        return str(ipaddress.IPv4Address(source)), str(ipaddress.IPv4Address(target)), message


def _join(pieces: dict[int, tuple[bytes, bool]]) -> bytes | None:
    """The pieces in a row from offset 0 to the one without more behind it, or None while one lacks."""
    whole = b""
    while len(whole) in pieces:
        data, more = pieces[len(whole)]
        whole += data
        if not more:
            return whole
        if not data:
            return None
    return None


def answers(message: bytes, request: bytes) -> bool:
    """Whether an ICMP message is the echo reply to an echo request made here, data included."""
    return message[0] == _ECHO_REPLY and message[1] == 0 and message[4:] == request[_HEADER + 4 :]
