//! One simulated client: QUIC handshake, `POST /connect`, then a session that seals and opens as
//! `qdt-client` does and probes the server as often as `qdt-client` does after minutes without
//! traffic.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use conformance::Token;
use qdt_proto::datagram::{Aead, MessageType, OVERHEAD, Opened, Opener, Sealer};
use qdt_proto::handshake::{
    Capabilities, Capability, ConnectRequest, ConnectResponse, Nonce, SessionKeys,
};
use qdt_proto::http3::{
    EncodedVarint, ResponseEvent, ResponseStream, control_stream_preface, datagram_prefix,
    encode_request,
};
use qdt_proto::packet::Segments;
use qdt_transport::WorkerCounters;
use qdt_transport::simulation::{CongestionSignal, KeepAlive, Share};
use quinn_proto::{Connection, ConnectionHandle, Dir, Event, ReadError, StreamEvent, StreamId};

use super::device::Device;

/// `mtu` of both programs' defaults.
pub(super) const MTU: u16 = 1350;
/// The `mtu` requested from an unknown server, as `qdt-client` does; `max_mtu` has the real one.
const UNKNOWN_SERVER_MTU: i64 = 1242;
/// Probes after which `qdt-client` no longer lengthens its probe interval.
const PROBES_BEFORE: usize = 3;
/// Segments of a read bring headers and tags of their own; a read of the smallest segments stays
/// below this.
const SEALED_READ: usize = 65_535 + 65_535 / 536 * 128;

/// See the module.
pub(super) struct Client {
    pub(super) port: usize,
    pub(super) handle: ConnectionHandle,
    pub(super) quic: Connection,
    pub(super) touched: bool,
    /// What it took of the device's queue.
    pub(super) share: Share,
    /// The earliest time for which the simulated clients' heap has an entry.
    pub(super) scheduled: Option<Instant>,
    phase: Phase,
    /// What [`CongestionSignal`] keeps for the connection.
    signals_sent: u64,
    counters: WorkerCounters,
    /// When the client sends its next keep-alive probe, and the pause between probes.
    asks: Option<(Instant, KeepAlive)>,
}

enum Phase {
    Handshaking,
    Connecting(Box<ConnectExchange>),
    Open(Box<Open>),
}

struct ConnectExchange {
    stream: StreamId,
    nonce: Nonce,
    parser: ResponseStream,
    status: Option<u16>,
    body: Vec<u8>,
}

struct Open {
    inner: Ipv4Addr,
    sealer: Sealer,
    opener: Opener,
    prefix: EncodedVarint,
}

impl Client {
    pub(super) fn new(port: usize, handle: ConnectionHandle, quic: Connection) -> Self {
        Self {
            port,
            handle,
            quic,
            touched: false,
            share: Share::default(),
            scheduled: None,
            phase: Phase::Handshaking,
            signals_sent: 0,
            counters: WorkerCounters::default(),
            asks: None,
        }
    }

    /// Its inner address, once it has a session.
    pub(super) fn inner(&self) -> Option<Ipv4Addr> {
        match &self.phase {
            Phase::Open(open) => Some(open.inner),
            _ => None,
        }
    }

    /// When it wants to be looked at again.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.quic
            .poll_timeout()
            .into_iter()
            .chain(self.asks.as_ref().map(|(at, _)| *at))
            .min()
    }

    /// Takes in what happened; true when it has just got its session. `share` from 0 to 1 spreads
    /// the clients' keep-alives over time.
    ///
    /// # Errors
    /// When the connection ended or the server refused: no simulated client may be lost.
    pub(super) fn events(&mut self, now: Instant, share: f64) -> Result<bool> {
        let mut opened = false;
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Connected => self.ask()?,
                Event::Stream(StreamEvent::Readable { id }) => opened |= self.read(id)?,
                Event::ConnectionLost { reason } => {
                    bail!("a simulated client was lost: {reason}")
                }
                _ => {}
            }
        }
        if opened {
            let mut keep_alive = KeepAlive::new(None, &self.quic);
            (0..PROBES_BEFORE).for_each(|_| keep_alive.sent());
            self.asks = Some((now + keep_alive.wait().mul_f64(share), keep_alive));
        }
        Ok(opened)
    }

    fn ask(&mut self) -> Result<()> {
        let control = self
            .quic
            .streams()
            .open(Dir::Uni)
            .context("no control stream granted")?;
        self.quic
            .send_stream(control)
            .write(&control_stream_preface())?;
        let stream = self
            .quic
            .streams()
            .open(Dir::Bi)
            .context("no request stream granted")?;
        let nonce = Nonce::from_bytes(rand::random());
        let body = ConnectRequest {
            version: qdt_proto::handshake::VERSION,
            client_nonce: nonce.to_text(),
            mtu: UNKNOWN_SERVER_MTU,
            caps: Capabilities::all().to_texts(),
            client_id: String::new(),
            platform: std::env::consts::OS.into(),
            max_mtu: Some(MTU),
            resume: None,
        }
        .encode();
        let request = encode_request(b"qdt.test", b"/connect", Token::TEXT.as_bytes(), &body);
        let written = self.quic.send_stream(stream).write(&request)?;
        anyhow::ensure!(
            written == request.len(),
            "the server's flow control has no room for a request"
        );
        self.phase = Phase::Connecting(Box::new(ConnectExchange {
            stream,
            nonce,
            parser: ResponseStream::new(),
            status: None,
            body: Vec::new(),
        }));
        Ok(())
    }

    /// Reads the answer; true when it is complete.
    fn read(&mut self, id: StreamId) -> Result<bool> {
        let Phase::Connecting(exchange) = &mut self.phase else {
            return Ok(false);
        };
        if exchange.stream != id {
            return Ok(false);
        }
        let mut stream = self.quic.recv_stream(id);
        let mut chunks = stream.read(true).context("the request stream")?;
        loop {
            let chunk = match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => chunk,
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(error) => bail!("the request stream: {error}"),
            };
            for event in exchange.parser.handle(&chunk.bytes, false) {
                match event {
                    Ok(ResponseEvent::Head(head)) => exchange.status = Some(head.status),
                    Ok(ResponseEvent::Body(part)) => exchange.body.extend_from_slice(part),
                    Ok(ResponseEvent::End) => {}
                    Err(error) => bail!("no answer of HTTP/3: {}", error.reason),
                }
            }
        }
        let _ = chunks.finalize();
        match exchange.status {
            None => return Ok(false),
            Some(200) => {}
            Some(status) => bail!("the server answered {status} to a simulated client"),
        }
        let Ok(response) = ConnectResponse::decode(&exchange.body) else {
            return Ok(false);
        };
        let open = exchange.open(&response)?;
        self.phase = Phase::Open(Box::new(open));
        Ok(true)
    }

    /// Runs what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.quic.poll_timeout().is_some_and(|at| at <= now) {
            self.quic.handle_timeout(now);
        }
        if let Some((at, keep_alive)) = self.asks.as_mut().filter(|(at, _)| *at <= now) {
            keep_alive.sent();
            *at = now + keep_alive.wait();
            self.quic.ping();
        }
    }

    /// Seals and queues what was read from the TUN; what finds no room is lost, as on any path. A
    /// client that takes more than its share of the device's queue gets a congestion signal.
    pub(super) fn send_read(
        &mut self,
        read: &mut [u8],
        has_vnet_header: bool,
        is_over_share: bool,
    ) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let Ok(mut segments) = Segments::new(read, has_vnet_header) else {
            return;
        };
        let mut buffer = BytesMut::zeroed(SEALED_READ);
        let mut signal = CongestionSignal::new(&self.quic, &mut self.signals_sent)
            .or_for(is_over_share.then_some(&mut self.share));
        while let Some(packet) = segments.next() {
            if signal.drops(packet, &self.counters) {
                continue;
            }
            let needed = open.prefix.len() + OVERHEAD + packet.len();
            if self.quic.datagrams().send_buffer_space() < needed || buffer.len() < needed {
                continue;
            }
            let mut datagram = buffer.split_to(needed);
            open.seal(&mut datagram, MessageType::Data, packet);
            let _ = self.quic.datagrams().send(datagram.freeze(), false);
        }
    }

    /// Opens what has arrived, into the TUN where there is one.
    pub(super) fn receive(&mut self, now: Instant, device: &mut Option<Device>) {
        while let Some(datagram) = self.quic.datagrams().recv() {
            let Phase::Open(open) = &mut self.phase else {
                continue;
            };
            let Some(sealed) = datagram.strip_prefix(open.prefix.as_slice()) else {
                continue;
            };
            let len = sealed.len().saturating_sub(OVERHEAD);
            let Some(device) = device else {
                let mut nowhere = [0; MTU as usize];
                let _ = open.opener.open(now, sealed, &mut nowhere);
                continue;
            };
            let slot = device.out.slot(len);
            match open.opener.open(now, sealed, slot) {
                Ok(Opened::Packet(len)) => device.commit(len),
                _ => device.out.abandon(),
            }
        }
    }
}

impl ConnectExchange {
    /// The session that the answer gives.
    fn open(&self, response: &ConnectResponse) -> Result<Open> {
        let server_nonce =
            Nonce::from_text(&response.server_nonce).context("the server's nonce")?;
        let keys = SessionKeys::derive(Token::TEXT.as_bytes(), &self.nonce, &server_nonce)
            .context("the session's keys")?;
        let caps = Capabilities::negotiate(response.caps.as_deref().unwrap_or_default());
        anyhow::ensure!(
            caps.contains(Capability::Aes256Gcm),
            "the server has no AES inside"
        );
        anyhow::ensure!(
            response.mtu == i64::from(MTU),
            "mtu {} instead of {MTU}",
            response.mtu
        );
        let id = response.session_id;
        Ok(Open {
            inner: response.client_ip.parse().context("client_ip")?,
            sealer: Sealer::new(Aead::Aes256Gcm, &keys.client, id),
            opener: Opener::new(Aead::Aes256Gcm, &keys.server, id, 65_535, true),
            prefix: datagram_prefix(self.stream.into()),
        })
    }
}

impl Open {
    /// Writes one datagram over the whole of `datagram`.
    fn seal(&mut self, datagram: &mut [u8], kind: MessageType, plaintext: &[u8]) {
        let (head, body) = datagram.split_at_mut(self.prefix.len());
        head.copy_from_slice(&self.prefix);
        self.sealer
            .seal(kind, plaintext, body)
            .expect("the datagram was made as long as it has to be");
    }
}
