"""One session's datagrams: sealing with fragmentation, opening with replay window and reassembly.

Every counter is sealed once and opened once. A datagram that is refused changes nothing that a later one meets,
except that a fragment that contradicts its packet ends that packet.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .keys import DirectionKeys

DATA, FRAGMENT, PING, PONG, CLOSE = range(5)
OVERHEAD = 38
FRAGMENT_OVERHEAD = 50
WINDOW = 2048
_HEADER = struct.Struct(">3sBBBQQ")
_FRAGMENT = struct.Struct(">III")
_TAG = 16


class Refused(Exception):
    """A datagram that is not opened; the text says why."""


class Sealer:
    """Seals packets of one direction, counters from 0, fragment ids from 1."""

    def __init__(self, keys: DirectionKeys, session: int, mtu: int, counter: int = 0, fragment_id: int = 1) -> None:
        if mtu <= FRAGMENT_OVERHEAD:
            raise ValueError(f"mtu {mtu} leaves no room for data")
        self._cipher = ChaCha20Poly1305(keys.key)
        self._prefix = keys.prefix
        self.session = session
        self.mtu = mtu
        self.counter = counter
        self._fragment_id = fragment_id

    def message(self, kind: int, plaintext: bytes, session: int | None = None) -> bytes:
        """One datagram of any kind; `session` stands in for the right id where a wrong one is wanted."""
        header = _HEADER.pack(b"QDT", 1, kind, 0, self.session if session is None else session, self.counter)
        nonce = self._prefix + self.counter.to_bytes(8, "big")
        self.counter += 1
        return header + self._cipher.encrypt(nonce, plaintext, header)

    def packet(self, packet: bytes) -> list[bytes]:
        """The datagrams of one inner packet, in the order in which they are to be sent."""
        if len(packet) <= self.mtu - OVERHEAD:
            return [self.message(DATA, packet)]
        ident, step = self._fragment_id, self.mtu - FRAGMENT_OVERHEAD
        self._fragment_id += 1
        pieces = ((at, packet[at : at + step]) for at in range(0, len(packet), step))
        return [self.message(FRAGMENT, _FRAGMENT.pack(ident, at, len(packet)) + data) for at, data in pieces]


class Window:
    """The replay window: a counter passes once, and not when `size` or more behind the highest."""

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._highest: int | None = None
        self._seen: set[int] = set()

    def passes(self, counter: int) -> bool:
        """Whether this counter may still be marked."""
        if self._highest is None:
            return True
        return counter + self._size > self._highest and counter not in self._seen

    def mark(self, counter: int) -> None:
        """Remembers a counter whose datagram was authentic."""
        self._highest = counter if self._highest is None else max(self._highest, counter)
        self._seen.add(counter)
        self._seen = {known for known in self._seen if known + self._size > self._highest}


class _Incomplete:
    """The pieces of one packet so far, by offset."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.pieces: dict[int, bytes] = {}

    def add(self, offset: int, data: bytes) -> bytes | None:
        """Adds a piece; the packet, once it is whole. Overlap is refused."""
        for at, known in self.pieces.items():
            if offset < at + len(known) and at < offset + len(data):
                raise Refused("fragment overlap")
        self.pieces[offset] = data
        if sum(map(len, self.pieces.values())) < self.total:
            return None
        return b"".join(self.pieces[at] for at in sorted(self.pieces))


class Opener:
    """Opens the datagrams of one direction and counts what it saw."""

    def __init__(self, keys: DirectionKeys, session: int, max_packet: int = 65535, window: int = WINDOW) -> None:
        self._cipher = ChaCha20Poly1305(keys.key)
        self._prefix = keys.prefix
        self._session = session
        self._max_packet = max_packet
        self._window = Window(window)
        self._incomplete: dict[int, _Incomplete] = {}
        self.fragments = 0
        self.last_counter: int | None = None

    def open(self, datagram: bytes) -> bytes | None:
        """The inner packet that this datagram completes, or None. Raises Refused."""
        if len(datagram) < _HEADER.size + _TAG:
            raise Refused("invalid datagram")
        header, sealed = datagram[: _HEADER.size], datagram[_HEADER.size :]
        magic, version, kind, _flags, session, counter = _HEADER.unpack(header)
        if magic != b"QDT":
            raise Refused("invalid datagram magic")
        if version != 1:
            raise Refused("unsupported datagram version")
        if session != self._session:
            raise Refused("session id mismatch")
        if not self._window.passes(counter):
            raise Refused("replay detected")
        try:
            plaintext = self._cipher.decrypt(self._prefix + counter.to_bytes(8, "big"), sealed, header)
        except InvalidTag:
            raise Refused("message authentication failed") from None
        self._window.mark(counter)
        self.last_counter = counter
        if kind == DATA:
            return plaintext
        if kind == FRAGMENT:
            return self._fragment(plaintext)
        if kind in (PING, PONG):
            return None
        raise Refused(f"unknown message type: {kind}")

    def _fragment(self, plaintext: bytes) -> bytes | None:
        if len(plaintext) < _FRAGMENT.size:
            raise Refused("fragment payload too small")
        ident, offset, total = _FRAGMENT.unpack_from(plaintext)
        data = plaintext[_FRAGMENT.size :]
        if total == 0:
            raise Refused("invalid fragment total")
        if total > self._max_packet:
            raise Refused("fragment total too large")
        if offset + len(data) > total:
            raise Refused("fragment exceeds total")
        self.fragments += 1
        entry = self._incomplete.setdefault(ident, _Incomplete(total))
        if entry.total != total:
            del self._incomplete[ident]
            raise Refused("fragment totals differ")
        packet = entry.add(offset, data)
        if packet is not None:
            del self._incomplete[ident]
        return packet
