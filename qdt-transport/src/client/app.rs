//! What a client worker does with its connections: each is an attempt first, then perhaps a
//! session, and at most one of the sessions carries the tunnel.
//!
//! Invariants: every attempt ends in exactly one of `Established`, `Refused`, `Failed` or a
//! hang-up; an established one in exactly one of `Closed` or a hang-up; nothing is reported after a
//! hang-up.

use std::io;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;
use qdt_proto::handshake::{Capability, Ticket};
use qdt_proto::http3::{Side, code};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, Dir, Endpoint, Event, StreamEvent,
};

use super::asking::{Answer, Asking, Granted};
use super::dialling::dialling_config;
use super::tunnels::{Inside, Tunnel, TunnelKey, Tunnels};
use super::watch::{Peer, Watch};
use super::{AttemptId, ClientCommand, ClientEvent, ClientSettings, Dial, DialError, Pulse};
use crate::carrier::CarrierRef;
use crate::engine::{Accepted, Application, Link, Pace};
use crate::http3_streams::{self, UniStreams, error_code, fail, open_control_stream};
use crate::inner::DataPath;
use crate::path::PacketSize;
use crate::udp::{DatagramPort, is_too_large};

/// How long one attempt's request may be out before another one with a ticket follows. Attempts run
/// side by side and share their resume ticket; two requests at once would each take the address
/// from the other's session.
const TURN: Duration = Duration::from_millis(500);
/// Silence after which the session of a Go server is asked, where the user wants nothing else.
const ECHO_AFTER: Duration = Duration::from_secs(5);

/// How far an attempt has come.
pub(super) enum Phase {
    /// The QUIC handshake runs.
    Handshaking(Option<Ticket>),
    /// The request is out.
    Asking(Box<Asking>),
    /// The answer is here, the server's SETTINGS are not yet.
    Granted(Box<Granted>),
    /// It carries a session, and is watched.
    Established(TunnelKey, Box<Watch>),
    /// It was reported as over, or hung up.
    Over,
}

/// What the client keeps for a connection.
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) size: PacketSize,
    pub(super) phase: Phase,
    /// When it must be established.
    deadline: Instant,
    /// The handshake is done, and another attempt's request is out.
    waits_its_turn: bool,
    uni: UniStreams,
    end: Option<ConnectionError>,
    too_large_reported: bool,
}

/// The client's side of the worker.
pub(super) struct ClientApp {
    pub(super) settings: ClientSettings,
    pub(super) path: DataPath,
    pub(super) tunnels: Tunnels,
    /// The connection whose request went out last, and when.
    turn: Option<(ConnectionHandle, Instant)>,
    /// What a ping's timestamp counts from.
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
            turn: None,
            started: now,
            commands,
            report,
        }
    }

    pub(super) fn report(&self, event: ClientEvent) {
        (self.report)(event);
    }

    /// Begins an attempt; what goes wrong at once is reported like what goes wrong later.
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
                    waits_its_turn: false,
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
        attempt.phase = Phase::Over;
        self.report(ClientEvent::Failed {
            attempt: attempt.id,
            error,
        });
        quic.close(now, error_code(code::H3_REQUEST_CANCELLED), Bytes::new());
    }

    /// Ends an attempt or connection without a further report.
    pub(super) fn close(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let phase = std::mem::replace(&mut link.app.phase, Phase::Over);
        if let Phase::Established(tunnel, _) = phase {
            self.tunnels.remove(tunnel);
        }
        link.quic.close(
            now,
            error_code(code::H3_NO_ERROR),
            Bytes::from_static(b"client done"),
        );
    }

    /// Sends the request, unless it has a ticket and another attempt's request is out.
    fn begin(&mut self, now: Instant, link: &mut Link<Attempt>) {
        if let Some((other, since)) = self.turn
            && matches!(link.app.phase, Phase::Handshaking(Some(_)))
            && other != link.handle
            && now < since + TURN
        {
            link.app.waits_its_turn = true;
            link.wake_at(since + TURN);
            return;
        }
        let Link {
            quic, app: attempt, ..
        } = link;
        let Phase::Handshaking(resume) = &attempt.phase else {
            return;
        };
        self.turn = Some((link.handle, now));
        attempt.waits_its_turn = false;
        match Asking::begin(quic, &self.settings, resume.as_ref()) {
            Ok(asking) => attempt.phase = Phase::Asking(Box::new(asking)),
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
            if !matches!(attempt.phase, Phase::Established(..) | Phase::Over) {
                let reason = DialError::InvalidAnswer(error.reason.to_string());
                attempt.phase = Phase::Over;
                self.report(ClientEvent::Failed {
                    attempt: attempt.id,
                    error: reason,
                });
            }
            fail(quic, now, None, &error);
            return;
        }
        if let Phase::Asking(asking) = &mut attempt.phase {
            if let StreamEvent::Writable { id } = event {
                asking.writable(quic, id);
            }
            match asking.read(quic, &self.settings) {
                Ok(None) => {}
                Ok(Some(Answer::Granted(granted))) => attempt.phase = Phase::Granted(granted),
                Ok(Some(Answer::Refused(status, body))) => {
                    attempt.phase = Phase::Over;
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

    /// A session begins when the server has granted it and has said that it takes datagrams.
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
        let Phase::Granted(granted) = std::mem::replace(&mut attempt.phase, Phase::Over) else {
            return;
        };
        let Granted {
            session,
            stream,
            assignment,
        } = *granted;
        let peer = if session.caps.contains(Capability::Ping) {
            Peer::Ours {
                probes_path: attempt.size > PacketSize::Base,
            }
        } else {
            Peer::Silent {
                echo_after: self.settings.probe_interval.unwrap_or(ECHO_AFTER),
            }
        };
        link.pace = assignment.caps.is_none().then(|| Pace::new(now));
        let pulse = Pulse::new(self.settings.probe_interval, quic);
        let watch = Watch::new(peer, pulse, now);
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
        attempt.phase = Phase::Established(tunnel, Box::new(watch));
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
                self.begin(now, link);
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
            Phase::Handshaking(_) | Phase::Asking(_) | Phase::Granted(_) => {
                if now >= link.app.deadline {
                    self.fail(now, &mut link.quic, &mut link.app, DialError::Timeout);
                } else {
                    let deadline = link.app.deadline;
                    link.wake_at(deadline);
                    if link.app.waits_its_turn {
                        self.begin(now, link);
                    }
                }
            }
            Phase::Established(tunnel, _) if self.tunnels.is_active(*tunnel) => {
                self.look(now, link);
            }
            Phase::Established(..) | Phase::Over => {}
        }
    }

    fn lost(&mut self, _now: Instant, link: &mut Link<Attempt>) {
        if self.turn.is_some_and(|(handle, _)| handle == link.handle) {
            self.turn = None;
        }
        let attempt = link.app.id;
        let end = link.app.end.take();
        match std::mem::replace(&mut link.app.phase, Phase::Over) {
            Phase::Over => {}
            Phase::Established(tunnel, _) => {
                self.tunnels.remove(tunnel);
                let reason = end.map_or_else(|| "closed".into(), |end| end_text(&end));
                self.report(ClientEvent::Closed { attempt, reason });
            }
            Phase::Handshaking(_) | Phase::Asking(_) | Phase::Granted(_) => {
                let error = end.map_or(DialError::Timeout, dial_error);
                self.report(ClientEvent::Failed { attempt, error });
            }
        }
    }

    fn gone(&mut self, _link: Box<Link<Attempt>>) {}

    fn unsendable(&mut self, now: Instant, link: &mut Link<Attempt>, error: &io::Error) {
        let attempt = link.app.id;
        match &link.app.phase {
            Phase::Handshaking(_) => {
                link.app.phase = Phase::Over;
                let error = DialError::Io(format!(
                    "sending to {}: {error}",
                    crate::udp::canonical(link.quic.remote_address())
                ));
                self.report(ClientEvent::Failed { attempt, error });
                // Nobody is there to be told.
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
            // What the TLS library writes before words that are ours.
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
