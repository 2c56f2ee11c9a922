"""Records what aioquic 1.7.2 puts on the wire, as JSON on standard output.

Its HTTP/3 layer runs on a connection that only keeps what is written. Each side has read a control
stream like ours before it writes: datagrams on, no dynamic QPACK table.

    python3 -m venv venv && venv/bin/pip install aioquic==1.7.2
    venv/bin/python main.py > capture.json
"""

import json

from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

OUR_CONTROL_STREAM = bytes.fromhex("00040b010006800040000700" "3301")
BODY = b'{"version":1,"client_nonce":"BwcHBwcHBwcHBwcHBwcHBw","mtu":1350}'


class Recorder:
    """As much of a QuicConnection as the HTTP/3 layer asks for."""

    def __init__(self, is_client):
        self.configuration = QuicConfiguration(is_client=is_client)
        self.configuration.max_datagram_frame_size = 65536
        self._is_client = is_client
        self._quic_logger = None
        self._remote_max_datagram_frame_size = 65536
        self._next = {False: 0 if is_client else 1, True: 2 if is_client else 3}
        self.streams = {}

    def get_next_available_stream_id(self, is_unidirectional=False):
        stream_id = self._next[is_unidirectional]
        self._next[is_unidirectional] += 4
        return stream_id

    def send_stream_data(self, stream_id, data, end_stream=False):
        self.streams[stream_id] = self.streams.get(stream_id, b"") + data

    def close(self, error_code, reason_phrase):
        raise SystemExit(f"aioquic closed: {error_code:#x} {reason_phrase}")

    def unidirectional(self):
        return [data.hex() for stream_id, data in sorted(self.streams.items()) if stream_id & 2]


def connect(is_client):
    quic = Recorder(is_client)
    h3 = H3Connection(quic, enable_webtransport=True)  # switches datagrams on
    peer_control = 3 if is_client else 2
    h3.handle_event(StreamDataReceived(OUR_CONTROL_STREAM, False, peer_control))
    return quic, h3


client, h3 = connect(is_client=True)
stream_id = client.get_next_available_stream_id()
h3.send_headers(stream_id, [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"vpn.example:4433"),
    (b":path", b"/connect?x=1"),
    (b"x-qdt-token", b"p\xc3\xa4ssw\xc3\xb6rt"),
    (b"content-length", str(len(BODY)).encode()),
])
h3.send_data(stream_id, BODY, end_stream=False)

server, h3 = connect(is_client=False)
responses = []
for name, status, fields, body in [
    ("200", b"200", [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT")], b'{"version":1}\n'),
    ("401", b"401", [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"13"),
        (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    ], b"unauthorized\n"),
]:
    stream_id = 4 * len(responses)
    # The server answers a request that it has read; GET https://a/.
    h3.handle_event(StreamDataReceived(bytes.fromhex("01080000d1d7c1500161"), True, stream_id))
    h3.send_headers(stream_id, [(b":status", status)] + fields)
    h3.send_data(stream_id, body, end_stream=True)
    responses.append({"name": name, "method": "POST", "stream": server.streams[stream_id].hex()})

print(json.dumps({
    "note": "made by main.py beside this file",
    "client_uni": client.unidirectional(),
    "client_bidi": client.streams[0].hex(),
    "client_body": BODY.decode(),
    "server_uni": server.unidirectional(),
    "responses": responses,
}, indent=1))
