"""A session of the tunnel: opened, used for pings, misused on request.

Ids of echo requests are the same for a session, sequence numbers count up, so a reply answers one request only.
"""

import asyncio
import ipaddress
import json
import os
from dataclasses import dataclass

from . import packet as inner
from .connection import Answer, Client
from .datagram import DATA, Opener, Refused, Sealer
from .keys import NONCE_BYTES, SessionKeys, nonce_from_text, nonce_to_text


class NoAnswer(Exception):
    """No reply came in time; the text names the request."""


class Refusal(Exception):
    """The server did not open a session."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the server answered {answer.status}")
        self.answer = answer


@dataclass
class Pong:
    """What one echo request cost and brought."""

    sent_datagrams: int
    received_datagrams: int
    ip_fragments: int


class Session:
    """An open session. Made by `open_session`."""

    def __init__(self, client: Client, stream: int, keys: SessionKeys, response: dict) -> None:
        self.client = client
        self.response = response
        self.address = response["client_ip"]
        self.gateway = response["gateway_ip"]
        self.stream = stream
        self.sealer = Sealer(keys.client, response["session_id"], response["mtu"])
        self.opener = Opener(keys.server, response["session_id"])
        self._inbox = inner.Inbox()
        self._ident = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        self.refused: list[str] = []

    def request(self, size: int, source: str | None = None) -> bytes:
        """The next echo request to the gateway, from the session's own address unless told otherwise."""
        self._sequence += 1
        return inner.echo_request(source or self.address, self.gateway, self._ident, self._sequence, size)

    async def ping(self, size: int, within: float) -> Pong:
        """Sends an echo request of that size and waits for its reply. Raises NoAnswer."""
        request = self.request(size)
        datagrams = self.sealer.packet(request)
        self.client.send(self.stream, datagrams)
        received, before = 0, self._inbox.ip_fragments
        try:
            async with asyncio.timeout(within):
                while True:
                    stream, datagram = await self.client.datagrams.get()
                    if stream != self.stream:
                        self.refused.append(f"a datagram of stream {stream}")
                        continue
                    received += 1
                    message = self._open(datagram)
                    if message and message[:2] == (self.gateway, self.address) and inner.answers(message[2], request):
                        return Pong(len(datagrams), received, self._inbox.ip_fragments - before)
        except TimeoutError:
            raise NoAnswer(f"no reply to an echo request of {size} bytes within {within} s") from None

    def _open(self, datagram: bytes) -> tuple[str, str, bytes] | None:
        """The ICMP message that a datagram completes. What is wrong with it is kept in `refused`."""
        try:
            packet = self.opener.open(datagram)
            return self._inbox.take(packet) if packet else None
        except (Refused, ValueError) as wrong:
            self.refused.append(str(wrong))
            return None

    def misbehave(self) -> dict[str, int]:
        """Sends one of each thing that a server must drop; what it has to count, by reason."""
        good = self.sealer.message(DATA, self.request(60))
        forged = bytearray(self.sealer.message(DATA, self.request(60)))
        forged[-1] ^= 1
        foreign = str(ipaddress.IPv4Address(self.address) + 1)
        wrong = {
            "replay": [good],
            "decode": [
                b"junk",
                bytes(forged),
                self.sealer.message(DATA, self.request(60), session=self.sealer.session ^ 1),
                self.sealer.message(9, b""),
            ],
            "src_mismatch": [self.sealer.message(DATA, self.request(60, source=foreign))],
            "bad_packet": [self.sealer.message(DATA, self.request(60)[:-1])],
        }
        self.client.send(self.stream, [good])
        for datagrams in wrong.values():
            self.client.send(self.stream, datagrams)
        return {reason: len(datagrams) for reason, datagrams in wrong.items()}


async def open_session(client: Client, authority: str, token: bytes, mtu: int, early: int = 0) -> Session:
    """Opens a session; `early` junk datagrams go out before the server can have answered. Raises Refusal."""
    nonce = os.urandom(NONCE_BYTES)
    wish = {"version": 1, "client_nonce": nonce_to_text(nonce), "mtu": mtu, "caps": [], "platform": "aioquic"}
    body = json.dumps(wish).encode()
    stream, answer = await client.post_connect(authority, token, body, [b"early"] * early)
    if answer.status != 200:
        raise Refusal(answer)
    response = json.loads(answer.body)
    if response["version"] != 1 or "caps" in response and response["caps"]:
        raise ValueError(f"version {response['version']}, caps {response.get('caps')}: neither was asked for")
    keys = SessionKeys(token, nonce, nonce_from_text(response["server_nonce"]))
    return Session(client, stream, keys, response)
