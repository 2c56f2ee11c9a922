//! The client's side of a worker: each connection starts as an attempt and may get a session, and
//! at most one session carries the tunnel.
//!
//! Invariants: every attempt ends in exactly one of the events `Established`, `Refused` and
//! `Failed` or in a command to close; an established one in exactly one `Closed` or such a command;
//! nothing is reported after that command.

use std::io;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;
use qdt_proto::handshake::{Capability, Ticket};
use qdt_proto::http3::{Side, code};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, Dir, Endpoint, Event, StreamEvent,
};

use super::connect_exchange::{Answer, ConnectExchange, GrantedSession};
use super::dialling::dialling_config;
use super::liveness::{Liveness, Peer};
use super::tunnels::{Inside, Tunnel, TunnelKey, Tunnels};
use super::{AttemptId, ClientCommand, ClientEvent, ClientSettings, Dial, DialError, KeepAlive};
use crate::carrier::CarrierRef;
use crate::engine::{Accepted, Application, Link, Pace};
use crate::http3_streams::{self, UniStreams, error_code, fail, open_control_stream};
use crate::inner::DataPath;
use crate::path::PacketSize;
use crate::udp::{DatagramPort, is_too_large};

/// The time between the requests of two attempts with a ticket. Attempts run in parallel and share
/// their resume ticket; concurrent requests would each take the address from the other's session.
const REQUEST_SPACING: Duration = Duration::from_millis(500);
/// The silence after which a Go server gets echo requests, unless the user configured it.
const ECHO_AFTER: Duration = Duration::from_secs(5);

/// The progress of an attempt.
pub(super) enum Phase {
    /// The QUIC handshake is in progress.
    Handshaking(Option<Ticket>),
    /// The request was sent.
    Requesting(Box<ConnectExchange>),
    /// The answer has arrived, the server's SETTINGS have not.
    Granted(Box<GrantedSession>),
    /// The connection has a session.
    Established(TunnelKey, Box<Liveness>),
    /// The end was reported, or a command closed it.
    Closed,
}

/// The client's state of a connection.
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) size: PacketSize,
    pub(super) phase: Phase,
    /// When it must be established.
    deadline: Instant,
    /// Whether the request waits for that of another attempt.
    is_queued: bool,
    uni: UniStreams,
    end: Option<ConnectionError>,
    too_large_reported: bool,
}

pub(super) struct ClientApp {
    pub(super) settings: ClientSettings,
    pub(super) path: DataPath,
    pub(super) tunnels: Tunnels,
    /// The connection that last sent a request, and when.
    last_request: Option<(ConnectionHandle, Instant)>,
    /// The zero of the timestamps in pings.
    pub(super) started: Instant,
    pub(super) commands: Receiver<ClientCommand>,
    report: Box<dyn Fn(ClientEvent) + Send>,
}

impl ClientApp {
    pub(super) fn new(
        now: Instant,
        settings: ClientSettings,
        commands: Receiver<ClientCommand>,
        report: Box<dyn Fn(ClientEvent) + Send>,
    ) -> Self {
        Self {
            settings,
            path: DataPath::new(None),
            tunnels: Tunnels::default(),
            last_request: None,
            started: now,
            commands,
            report,
        }
    }

    pub(super) fn report(&self, event: ClientEvent) {
        (self.report)(event);
    }

    /// Starts an attempt. Immediate errors are reported like later ones.
    pub(super) fn dial(
        &self,
        now: Instant,
        endpoint: &mut Endpoint,
        port: &impl DatagramPort,
        dial: Dial,
    ) -> Option<Accepted<Attempt>> {
        let Dial {
            attempt,
            address,
            size,
            resume,
        } = dial;
        let bytes = size.bytes(self.settings.mtu, address.is_ipv6());
        let config = dialling_config(&self.settings.tls, bytes);
        let to = port.address_for(address);
        match endpoint.connect(now, config, to, &self.settings.server_name) {
            Ok((handle, quic)) => {
                let deadline = now + self.settings.dial_timeout;
                let app = Attempt {
                    id: attempt,
                    size,
                    phase: Phase::Handshaking(resume),
                    deadline,
                    is_queued: false,
                    uni: UniStreams::new(Side::Client),
                    end: None,
                    too_large_reported: false,
                };
                Some(Accepted {
                    handle,
                    quic,
                    app,
                    wake_at: Some(deadline),
                })
            }
            Err(error) => {
                let error = DialError::Io(format!("{address}: {error}"));
                self.report(ClientEvent::Failed { attempt, error });
                None
            }
        }
    }

    fn fail(&self, now: Instant, quic: &mut Connection, attempt: &mut Attempt, error: DialError) {
        attempt.phase = Phase::Closed;
        self.report(ClientEvent::Failed {
            attempt: attempt.id,
            error,
        });
        quic.close(now, error_code(code::H3_REQUEST_CANCELLED), Bytes::new());
    }

    /// Closes an attempt or connection without an event.
    pub(super) fn close(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let phase = std::mem::replace(&mut link.app.phase, Phase::Closed);
        if let Phase::Established(tunnel, _) = phase {
            self.tunnels.remove(tunnel);
        }
        link.quic.close(
            now,
            error_code(code::H3_NO_ERROR),
            Bytes::from_static(b"client done"),
        );
    }

    /// Sends the request, unless it has a ticket and the last request of another attempt is recent.
    fn send_request(&mut self, now: Instant, link: &mut Link<Attempt>) {
        if let Some((other, since)) = self.last_request
            && matches!(link.app.phase, Phase::Handshaking(Some(_)))
            && other != link.handle
            && now < since + REQUEST_SPACING
        {
            link.app.is_queued = true;
            link.wake_at(since + REQUEST_SPACING);
            return;
        }
        let Link {
            quic, app: attempt, ..
        } = link;
        let Phase::Handshaking(resume) = &attempt.phase else {
            return;
        };
        self.last_request = Some((link.handle, now));
        attempt.is_queued = false;
        match ConnectExchange::start(quic, &self.settings, resume.as_ref()) {
            Ok(exchange) => attempt.phase = Phase::Requesting(Box::new(exchange)),
            Err(error) => self.fail(now, quic, attempt, error),
        }
    }

    fn streams(&mut self, now: Instant, link: &mut Link<Attempt>, event: StreamEvent) {
        let Link {
            quic, app: attempt, ..
        } = link;
        let outcome = match event {
            StreamEvent::Opened { dir: Dir::Uni } => attempt.uni.accept(quic),
            StreamEvent::Readable { id } if id.dir() == Dir::Uni => attempt.uni.read(quic, id),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            if !matches!(attempt.phase, Phase::Established(..) | Phase::Closed) {
                let reason = DialError::InvalidAnswer(error.reason.to_string());
                attempt.phase = Phase::Closed;
                self.report(ClientEvent::Failed {
                    attempt: attempt.id,
                    error: reason,
                });
            }
            fail(quic, now, None, &error);
            return;
        }
        if let Phase::Requesting(exchange) = &mut attempt.phase {
            if let StreamEvent::Writable { id } = event {
                exchange.writable(quic, id);
            }
            match exchange.read(quic, &self.settings) {
                Ok(None) => {}
                Ok(Some(Answer::Granted(granted))) => attempt.phase = Phase::Granted(granted),
                Ok(Some(Answer::Refused(status, body))) => {
                    attempt.phase = Phase::Closed;
                    self.report(ClientEvent::Refused {
                        attempt: attempt.id,
                        status,
                        body,
                    });
                    quic.close(now, error_code(code::H3_NO_ERROR), Bytes::new());
                }
                Err(error) => self.fail(now, quic, attempt, error),
            }
        }
        self.establish(now, link);
    }

    /// Establishes the session once it is granted and the server accepts datagrams.
    fn establish(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let Link {
            quic, app: attempt, ..
        } = link;
        if !matches!(attempt.phase, Phase::Granted(_)) || !attempt.uni.has_settings {
            return;
        }
        if !attempt.uni.peer_takes_datagrams || quic.datagrams().max_size().is_none() {
            let error =
                DialError::InvalidAnswer("the server does not take HTTP/3 datagrams".into());
            self.fail(now, quic, attempt, error);
            return;
        }
        let Phase::Granted(granted) = std::mem::replace(&mut attempt.phase, Phase::Closed) else {
            return;
        };
        let GrantedSession {
            session,
            stream,
            assignment,
        } = *granted;
        let peer = if session.caps.contains(Capability::Ping) {
            Peer::WithPing {
                probes_path: attempt.size > PacketSize::Base,
            }
        } else {
            Peer::WithoutPing {
                echo_after: self.settings.probe_interval.unwrap_or(ECHO_AFTER),
            }
        };
        link.pace = assignment.caps.is_none().then(|| Pace::new(now));
        let keep_alive = KeepAlive::new(self.settings.probe_interval, quic);
        let liveness = Liveness::new(peer, keep_alive, now);
        let tunnel = self.tunnels.insert(Tunnel {
            session,
            carrier: CarrierRef::new(link.handle, stream),
            inside: Inside {
                address: assignment.address.addr(),
                gateway: assignment.gateway,
                received: 0,
                sent: 0,
            },
        });
        attempt.phase = Phase::Established(tunnel, Box::new(liveness));
        self.report(ClientEvent::Established {
            attempt: attempt.id,
            assignment: Box::new(assignment),
            size: attempt.size,
        });
    }
}

impl Application for ClientApp {
    type Connection = Attempt;

    fn event(&mut self, now: Instant, link: &mut Link<Attempt>, event: Event) {
        match event {
            Event::Connected => {
                open_control_stream(&mut link.quic);
                self.send_request(now, link);
            }
            Event::Stream(event) => self.streams(now, link, event),
            Event::ConnectionLost { reason } => link.app.end = Some(reason),
            Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
        }
    }

    fn datagrams(&mut self, now: Instant, link: &mut Link<Attempt>) {
        self.receive_from_server(now, link);
    }

    fn deadline(&mut self, now: Instant, link: &mut Link<Attempt>) {
        match &link.app.phase {
            Phase::Handshaking(_) | Phase::Requesting(_) | Phase::Granted(_) => {
                if now >= link.app.deadline {
                    self.fail(now, &mut link.quic, &mut link.app, DialError::Timeout);
                } else {
                    let deadline = link.app.deadline;
                    link.wake_at(deadline);
                    if link.app.is_queued {
                        self.send_request(now, link);
                    }
                }
            }
            Phase::Established(tunnel, _) if self.tunnels.is_active(*tunnel) => {
                self.poll_liveness(now, link);
            }
            Phase::Established(..) | Phase::Closed => {}
        }
    }

    fn closed(&mut self, _now: Instant, link: &mut Link<Attempt>) {
        if self
            .last_request
            .is_some_and(|(handle, _)| handle == link.handle)
        {
            self.last_request = None;
        }
        let attempt = link.app.id;
        let end = link.app.end.take();
        match std::mem::replace(&mut link.app.phase, Phase::Closed) {
            Phase::Closed => {}
            Phase::Established(tunnel, _) => {
                self.tunnels.remove(tunnel);
                let reason = end.map_or_else(|| "closed".into(), |end| end_text(&end));
                self.report(ClientEvent::Closed { attempt, reason });
            }
            Phase::Handshaking(_) | Phase::Requesting(_) | Phase::Granted(_) => {
                let error = end.map_or(DialError::Timeout, dial_error);
                self.report(ClientEvent::Failed { attempt, error });
            }
        }
    }

    fn drained(&mut self, _link: Box<Link<Attempt>>) {}

    fn send_failed(&mut self, now: Instant, link: &mut Link<Attempt>, error: &io::Error) {
        let attempt = link.app.id;
        match &link.app.phase {
            Phase::Handshaking(_) => {
                link.app.phase = Phase::Closed;
                let error = DialError::Io(format!(
                    "sending to {}: {error}",
                    crate::udp::canonical(link.quic.remote_address())
                ));
                self.report(ClientEvent::Failed { attempt, error });
                // The server was never reached.
                link.quic
                    .close(now, error_code(code::H3_REQUEST_CANCELLED), Bytes::new());
            }
            Phase::Established(..) if is_too_large(error) && !link.app.too_large_reported => {
                link.app.too_large_reported = true;
                self.report(ClientEvent::PathTooSmall { attempt });
            }
            _ => {}
        }
    }
}

fn dial_error(reason: ConnectionError) -> DialError {
    match reason {
        ConnectionError::TimedOut => DialError::Timeout,
        // An error of our own TLS stack: the server's certificate or parameters are not acceptable.
        ConnectionError::TransportError(error) if u64::from(error.code) & !0xff == 0x100 => {
            // The TLS library's prefix of our own text.
            let words = error.reason.strip_prefix("unexpected error: ");
            DialError::Certificate(words.unwrap_or(&error.reason).to_owned())
        }
        other => DialError::Closed(end_text(&other)),
    }
}

fn end_text(reason: &ConnectionError) -> String {
    match reason {
        ConnectionError::Reset => "the server does not know this connection (restarted)".into(),
        other => http3_streams::end_text(other, "server"),
    }
}
