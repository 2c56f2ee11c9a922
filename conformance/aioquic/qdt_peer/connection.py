"""One HTTP/3 connection on aioquic, and one request with the datagrams that belong to it.

The certificate is not checked: the peer is for networks of a test, where the server's identity is not what is tested.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, Setting
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

# The largest UDP payload: a full datagram of the protocol (1242 bytes) with every header around it fits.
_UDP_PAYLOAD = 1350


class Ended(Exception):
    """The connection has ended; the text says how."""


class _Http3(H3Connection):
    """aioquic announces datagrams only together with WebTransport, which this protocol has no part in."""

    def _get_local_settings(self) -> dict[int, int]:
        return super()._get_local_settings() | {Setting.H3_DATAGRAM: 1}


@dataclass
class Answer:
    """What the server has sent on the request stream so far."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    finished: bool = False

    @property
    def complete(self) -> bool:
        """A 200 is one line of JSON on a stream that stays open; everything else ends the stream."""
        return self.finished or (self.status == 200 and self.body.endswith(b"\n"))


class Client(QuicConnectionProtocol):
    """The connection: requests go out, answers and datagrams come in."""

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        self._http = _Http3(self._quic)
        self._answers: dict[int, Answer] = {}
        self._changed = asyncio.Event()
        self.datagrams: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.ended: str | None = None

    def quic_event_received(self, event) -> None:
        """Called by aioquic for each event."""
        if isinstance(event, ConnectionTerminated):
            self.ended = f"code {event.error_code:#x} {event.reason_phrase}".rstrip()
        for event in self._http.handle_event(event):
            if isinstance(event, DatagramReceived):
                self.datagrams.put_nowait((event.stream_id, event.data))
                continue
            answer = self._answers.setdefault(event.stream_id, Answer())
            if isinstance(event, HeadersReceived) and not answer.status:
                pairs = [(name.decode(), value.decode()) for name, value in event.headers]
                answer.status = int(dict(pairs)[":status"])
                answer.headers = [pair for pair in pairs if pair[0] != ":status"]
            elif isinstance(event, DataReceived):
                answer.body += event.data
            answer.finished = answer.finished or event.stream_ended
        self._changed.set()

    def server_settings(self) -> dict[int, int] | None:
        """The SETTINGS that the server sent, once they came."""
        return self._http.received_settings

    async def post_connect(self, authority: str, token: bytes, body: bytes, early: list[bytes]) -> tuple[int, Answer]:
        """Sends POST /connect and waits for the answer; `early` are datagrams that go out before it can have come."""
        stream = self._quic.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", authority), (":path", "/connect")]
        headers = [(name.encode(), value.encode()) for name, value in fields]
        headers += [(b"x-qdt-token", token), (b"content-length", str(len(body)).encode())]
        self._http.send_headers(stream, headers)
        self._http.send_data(stream, body, end_stream=False)
        self.send(stream, early)
        await self.until(lambda: stream in self._answers and self._answers[stream].complete)
        return stream, self._answers[stream]

    def request_is_open(self, stream: int) -> bool:
        """Whether the server has not finished its side of a request."""
        return not self._answers[stream].finished

    def send(self, stream: int, datagrams: list[bytes]) -> None:
        """Sends datagrams of a request."""
        for datagram in datagrams:
            self._http.send_datagram(stream, datagram)
        self.transmit()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits until `reached` holds. Raises Ended when the connection ends first."""
        while not reached():
            if self.ended is not None:
                raise Ended(f"the connection has ended: {self.ended}")
            self._changed.clear()
            await self._changed.wait()


@asynccontextmanager
async def dial(host: str, port: int) -> AsyncIterator[Client]:
    """A connection on which the server has sent its settings; closed with application code 0 at the end."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        idle_timeout=30.0,
        max_datagram_frame_size=65535,
        max_datagram_size=_UDP_PAYLOAD,
        verify_mode=ssl.CERT_NONE,
    )
    async with connect(host, port, configuration=configuration, create_protocol=Client) as protocol:
        client = cast(Client, protocol)
        await client.until(lambda: client.server_settings() is not None)
        yield client
