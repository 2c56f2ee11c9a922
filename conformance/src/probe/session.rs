//! A session of a probe: admitted by the server, and then in the test's hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use qdt_proto::handshake::{ConnectResponse, Nonce, SessionKeys};

use super::connection::Probe;
use super::http::{Answer, Exchange, request_body};
use super::seal::{RawMessage, RawOpener, RawSealer};
use crate::{Machine, Token};

/// How long the server may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the probe asks for.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The token it shows.
    pub token: Vec<u8>,
    /// The mtu it asks for.
    pub mtu: i64,
    /// The extensions that it names, by their texts.
    pub caps: Vec<&'static str>,
    /// The ticket that it shows.
    pub resume: Option<String>,
}

impl SessionOptions {
    /// The body of the request.
    fn body(&self, nonce: &Nonce) -> Vec<u8> {
        let mut body = request_body(&nonce.to_text(), self.mtu);
        if !self.caps.is_empty() {
            // The last of two keys counts.
            let caps: Vec<_> = self.caps.iter().map(|cap| format!("\"{cap}\"")).collect();
            let resume = self
                .resume
                .iter()
                .map(|ticket| format!(r#","resume":"{ticket}""#));
            let more = format!(
                r#","caps":[{}]{}}}"#,
                caps.join(","),
                resume.collect::<String>()
            );
            body.pop();
            body.extend_from_slice(more.as_bytes());
        }
        body
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            token: Token::TEXT.into(),
            mtu: 1242,
            caps: Vec::new(),
            resume: None,
        }
    }
}

/// An open session with the keys of both directions.
#[derive(Debug)]
pub struct Session {
    /// The connection that carries it.
    pub probe: Probe,
    /// What the server said.
    pub response: ConnectResponse,
    /// Seals what the client sends.
    pub sealer: RawSealer,
    /// Opens what the server sends.
    pub opener: RawOpener,
    exchange: Exchange,
}

impl Session {
    /// Connects from `machine` and opens a session.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// When the server does not answer at all, or what it answers is no
    /// response of the protocol.
    #[track_caller]
    pub fn open(
        machine: &Machine,
        server: SocketAddr,
        options: &SessionOptions,
    ) -> Result<Self, Answer> {
        Self::open_on(Probe::connect(machine, server), options).map_err(|refused| refused.0)
    }

    /// Opens a session on a connection; with a refusal the connection comes
    /// back.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// As [`Session::open`].
    #[track_caller]
    pub fn open_on(probe: Probe, options: &SessionOptions) -> Result<Self, Box<(Answer, Probe)>> {
        let nonce = Nonce::from_bytes(rand::random());
        let mut exchange = Exchange::open(&probe);
        let answer = connect(&mut exchange, &options.token, &options.body(&nonce));
        if answer.status != 200 {
            return Err(Box::new((answer, probe)));
        }
        let response = ConnectResponse::decode(&answer.body).expect("a 200 has a response in it");
        let server_nonce =
            Nonce::from_text(&response.server_nonce).expect("the server's nonce has 16 bytes");
        let keys = SessionKeys::derive(&options.token, &nonce, &server_nonce)
            .expect("the token is not empty");
        let sealer = RawSealer::new(&keys.client, response.session_id.0);
        let opener = RawOpener::new(&keys.server);
        Ok(Self {
            probe,
            response,
            sealer,
            opener,
            exchange,
        })
    }

    /// The inner address.
    ///
    /// # Panics
    /// When the server sent none.
    #[must_use]
    pub fn inner(&self) -> Ipv4Addr {
        self.response
            .client_ip
            .parse()
            .expect("client_ip is an IPv4 address")
    }

    /// Sends a datagram on this session's stream id, whatever it holds.
    pub fn send(&self, datagram: &[u8]) {
        let mut bytes = quarter(self.exchange.quarter_stream_id());
        bytes.extend_from_slice(datagram);
        self.probe.send_datagram_wait(bytes);
    }

    /// As [`Session::send`], for many.
    pub fn send_many(&self, datagrams: impl IntoIterator<Item = Vec<u8>>) {
        let prefix = quarter(self.exchange.quarter_stream_id());
        let frames = datagrams
            .into_iter()
            .map(|datagram| [&prefix[..], &datagram].concat());
        self.probe.send_datagrams(frames);
    }

    /// Seals an inner packet as data and sends it.
    pub fn send_packet(&mut self, packet: &[u8]) {
        let datagram = self.sealer.seal(0, packet);
        self.send(&datagram);
    }

    /// The next authentic datagram of the server that comes `within` that time.
    #[must_use]
    pub fn receive(&self, within: Duration) -> Option<RawMessage> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let datagram = self.probe.receive_datagram(left)?;
            // The id is below 64 here: one byte.
            if let Some(message) = self.opener.open(datagram.get(1..)?) {
                return Some(message);
            }
        }
    }

    /// Waits for a data message whose packet `is` right.
    #[must_use]
    pub fn receive_packet(&self, within: Duration, is: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let message = self.receive(left)?;
            if message.kind == 0 && is(&message.plaintext) {
                return Some(message.plaintext);
            }
        }
    }
}

/// Sends POST /connect as a good client does and returns the answer.
#[track_caller]
fn connect(exchange: &mut Exchange, token: &[u8], body: &[u8]) -> Answer {
    exchange.write_connect_head(token, Some(body.len()));
    exchange.write_data(body);
    exchange
        .answer(PATIENCE)
        .expect("the server answers a request")
}

/// A quarter stream id in its shortest form, below 2^14.
fn quarter(id: u64) -> Vec<u8> {
    if id < 64 {
        vec![id as u8]
    } else {
        (id as u16 | 0x4000).to_be_bytes().to_vec()
    }
}
