//! The server's side of a worker: requests, sessions and their ends.
//!
//! Invariants: a connection has at most one session; a session's entry in the address table is set
//! when the session is installed and cleared when its last carrier is gone; [`Admission::ended`] is
//! called exactly once per granted session.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use qdt_proto::datagram::SessionId;
use qdt_proto::http3::{Http3Error, Side, code};
use quinn_proto::{Connection, ConnectionError, Dir, Event, Incoming, StreamEvent};

use super::admission::{Admission, RequestContext};
use super::exchange::{Context, Exchanges, GrantedRequest, RequestResult};
use super::handshake_gate::{AcceptedHandshake, HandshakeGate};
use super::mailbox::{Command, Mailbox, PacketBatch};
use super::pending::{Reply, RequestId};
use super::pool::Pool;
use super::sessions::{ServedSession, SessionKey, Sessions};
use super::table::{AddressTable, Location};
use crate::carrier::CarrierRef;
use crate::engine::{Accepted, Application, Handover, Link, Pace, Responder};
use crate::http3_streams::{self, UniStreams, error_code, fail, open_control_stream};
use crate::inner::DataPath;
use crate::limit_key::LimitKey;
use crate::queue::{FairShare, Share};
use crate::rate_limit::{Bucket, Counted};
use crate::session::{Session, Terms};
use crate::udp::canonical;
use crate::worker_thread;

/// The time limit for a connection to get a session. With QUIC's drain of three seconds after an
/// unknown round trip, and a quarter of a second that either deadline may be late, nothing is left
/// of a silent one after ten seconds.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_millis(5_750);
/// The extension, once, of that limit if a request was answered within this time: a close discards
/// undelivered stream data, and a worker that was held up may see a request and the deadline in one
/// turn.
const ANSWER_EXTENSION: Duration = Duration::from_secs(1);

/// The most STREAM frames of a connection without a session. A request and HTTP/3's own streams
/// need a dozen; data behind gaps stays in memory, each piece with its whole packet.
const STREAM_FRAMES_BEFORE_SESSION: u64 = 256;

/// The state that all workers of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pool: Pool,
    pub(super) table: AddressTable,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) gateway: IpAddr,
    pub(super) client_to_client: bool,
    pub(super) forward_link_local: Vec<IpAddr>,
    pub(super) max_reassembly_bytes: usize,
}

/// The server's state of a connection, with a reservation `R` for each request in progress.
pub(super) struct Client<R> {
    pub(super) exchanges: Exchanges<R>,
    pub(super) uni: UniStreams,
    /// Its number among the worker's connections.
    pub(super) number: u64,
    /// The session that it carries.
    pub(super) session: Option<SessionKey>,
    /// The source of the handshake, which validated it. Limits and logs use it, because a
    /// connection migrates at the first packet from another address and validates that one only
    /// then (RFC 9000 section 9.3).
    peer: SocketAddr,
    /// The key of its handshake slot.
    slot_key: Option<LimitKey>,
    /// When the connection is closed if it has no session.
    authenticate_by: Instant,
    /// Whether [`ANSWER_EXTENSION`] was granted.
    extended: bool,
    /// The most STREAM frames of the connection.
    stream_frames: u64,
    /// The reason of `session closed`.
    end: Option<String>,
    /// Whether it ended by the idle timeout.
    timed_out: bool,
}

impl<R> Client<R> {
    /// Sets the reason for which the server is about to close the connection, unless it has one.
    pub(super) fn set_close_reason(&mut self, reason: &str) {
        self.end.get_or_insert_with(|| reason.into());
    }
}

/// A worker under the policy `A`.
pub(super) struct ServerApp<A> {
    pub(super) worker: usize,
    pub(super) admission: Arc<A>,
    pub(super) shared: Arc<Shared>,
    pub(super) gate: HandshakeGate,
    pub(super) sessions: Sessions,
    pub(super) path: DataPath,
    /// The shares of the TUN queue.
    pub(super) shares: FairShare,
    /// TUN reads per turn.
    pub(super) tun_budget: usize,
    /// Packets between clients, until the end of the turn.
    pub(super) peer_to_peer: PacketBatch,
    /// Packets for other workers, by worker, until the end of the turn.
    pub(super) to_workers: Vec<PacketBatch>,
    /// Empty buffers, to swap with those of the mailbox.
    pub(super) from_workers: (PacketBatch, Handover),
    /// Sessions of this worker that newer ones replaced.
    pub(super) replaced: Vec<SessionId>,
    /// The number of connections so far.
    pub(super) connections: u64,
    /// Handshakes since heap memory was last prefaulted.
    pub(super) handshakes_since_prefault: u32,
    /// The wall clock.
    pub(super) unix_seconds: fn() -> u64,
}

impl<A: Admission> ServerApp<A> {
    /// Installs the session of a granted request, or starts the decision of a pending one.
    pub(super) fn install_session(
        &mut self,
        link: &mut Link<Client<A::Reservation>>,
        result: Option<RequestResult>,
        now: Instant,
    ) {
        let GrantedRequest {
            stream,
            stream_frames,
            session: grant,
        } = match result {
            Some(RequestResult::Granted(granted)) => granted,
            Some(RequestResult::Pending { stream, ask }) => {
                let request = RequestId {
                    carrier: CarrierRef::new(link.handle, stream),
                    stream,
                    connection: link.app.number,
                };
                return ask(Reply::new(self.shared.clone(), self.worker, request));
            }
            None => return,
        };
        let session = Session::new(&Terms {
            id: grant.id,
            aead: grant.aead,
            send: &grant.keys.server,
            receive: &grant.keys.client,
            caps: grant.caps,
            mtu: grant.mtu,
            max_reassembly_bytes: self.shared.max_reassembly_bytes,
        });
        self.gate.release_slot(link.app.slot_key.take());
        link.pace = grant.caps.is_empty().then(|| Pace::new(now));
        link.app.stream_frames = link.quic.stats().frame_rx.stream + stream_frames;
        let bucket = |counted| Bucket::new(grant.limits, grant.mtu, &grant.usage, counted);
        let location = self.sessions.insert(|key| ServedSession {
            session,
            carrier: CarrierRef::new(link.handle, stream),
            inner: grant.inner,
            share: Share::default(),
            counters: grant.counters,
            location: Location::new(self.worker, key, grant.number),
            from_client: bucket(Counted::FromClient),
            to_client: bucket(Counted::ToClient),
            upkeep: bucket(Counted::Upkeep),
        });
        link.app.session = Some(location.key);
        if let Some(index) = self.shared.pool.index(grant.inner) {
            self.shared.table.set(index, location);
        }
        self.end_replaced(grant.replaces);
    }

    /// Ends the session that a newer one replaced, at its worker.
    pub(super) fn end_replaced(&mut self, replaced: Option<(usize, SessionId)>) {
        match replaced {
            Some((worker, old)) if worker == self.worker => self.replaced.push(old),
            Some((worker, old)) => {
                if let Some(mailbox) = self.shared.mailboxes.get(worker) {
                    mailbox.send(Command::EndSession(old, REPLACED));
                }
            }
            None => {}
        }
    }

    pub(super) fn context(&self, client: &Client<A::Reservation>, now: Instant) -> Context<'_, A> {
        Context {
            admission: &*self.admission,
            request: RequestContext {
                peer: client.peer,
                worker: self.worker,
                now,
            },
            answer_by: client.authenticate_by,
            unix_seconds: self.unix_seconds,
        }
    }

    fn streams(
        &mut self,
        now: Instant,
        link: &mut Link<Client<A::Reservation>>,
        event: StreamEvent,
    ) {
        limit_stream_frames(now, link);
        if link.quic.is_closed() {
            // A session granted now would never end.
            return;
        }
        let context = self.context(&link.app, now);
        let Link {
            quic, app: client, ..
        } = &mut *link;
        let mut result = None;
        let mut outcome: Result<(), Http3Error> = Ok(());
        match event {
            StreamEvent::Opened { dir: Dir::Uni } => outcome = client.uni.accept(quic),
            StreamEvent::Opened { dir: Dir::Bi } => {
                result = client.exchanges.accept(quic, &context)
            }
            StreamEvent::Readable { id } if id.dir() == Dir::Uni => {
                outcome = client.uni.read(quic, id)
            }
            StreamEvent::Readable { id } => result = client.exchanges.read(quic, id, &context),
            StreamEvent::Writable { id } | StreamEvent::Stopped { id, .. } => {
                client.exchanges.writable(quic, id)
            }
            StreamEvent::Finished { .. } | StreamEvent::Available { .. } => {}
        }
        if let Err(error) = outcome {
            fail(quic, now, None, &error);
        } else if client.uni.has_settings
            && !client.uni.peer_takes_datagrams
            && client.session.is_some()
        {
            quic.close(
                now,
                error_code(code::H3_SETTINGS_ERROR),
                Bytes::from_static(b"a session needs SETTINGS_H3_DATAGRAM"),
            );
        } else if client.exchanges.session_abandoned {
            close_abandoned(now, quic);
        }
        if let Some(deadline) = client.exchanges.next_deadline() {
            link.wake_at(deadline);
        }
        self.install_session(link, result, now);
    }
}

/// Closes a connection with too many STREAM frames. Each one that adds to memory is an event, too.
fn limit_stream_frames<R>(now: Instant, link: &mut Link<Client<R>>) {
    if link.quic.stats().frame_rx.stream > link.app.stream_frames && !link.quic.is_closed() {
        link.app
            .set_close_reason("more on its streams than a tunnel has to say");
        link.quic.close(
            now,
            error_code(code::H3_EXCESSIVE_LOAD),
            Bytes::from_static(b"too many STREAM frames"),
        );
    }
}

/// Closes a connection whose client closed the stream of its session.
pub(super) fn close_abandoned(now: Instant, quic: &mut Connection) {
    quic.close(
        now,
        error_code(code::H3_NO_ERROR),
        Bytes::from_static(b"session stream ended"),
    );
}

/// The reason for the end of a replaced session.
pub(super) const REPLACED: &str = "replaced by a newer connection of the same client";

impl<A: Admission> Application for ServerApp<A> {
    type Connection = Client<A::Reservation>;

    fn incoming(
        &mut self,
        now: Instant,
        incoming: Incoming,
        len: usize,
        responder: &mut Responder<'_>,
    ) -> Option<Accepted<Self::Connection>> {
        let AcceptedHandshake {
            handle,
            quic,
            slot_key,
        } = self.gate.admit(now, incoming, len, responder)?;
        self.connections += 1;
        self.handshakes_since_prefault += 1;
        if self.handshakes_since_prefault == worker_thread::HANDSHAKES_PER_PREFAULT {
            self.handshakes_since_prefault = 0;
            worker_thread::prefault_heap();
        }
        let authenticate_by = now + AUTHENTICATION_TIMEOUT;
        let peer = canonical(quic.remote_address());
        Some(Accepted {
            handle,
            quic,
            app: Client {
                exchanges: Exchanges::default(),
                uni: UniStreams::new(Side::Server),
                number: self.connections,
                session: None,
                peer,
                slot_key: Some(slot_key),
                authenticate_by,
                extended: false,
                stream_frames: STREAM_FRAMES_BEFORE_SESSION,
                end: None,
                timed_out: false,
            },
            wake_at: Some(authenticate_by),
        })
    }

    fn event(&mut self, now: Instant, link: &mut Link<Self::Connection>, event: Event) {
        match event {
            Event::Connected => open_control_stream(&mut link.quic),
            Event::Stream(event) => self.streams(now, link, event),
            Event::ConnectionLost { reason } => {
                link.app.timed_out = reason == ConnectionError::TimedOut;
                link.app.set_close_reason(&end_text(&reason));
            }
            Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
        }
    }

    fn datagrams(&mut self, now: Instant, link: &mut Link<Self::Connection>) {
        // With a session the frames' own events check this: here it would cost every packet.
        if link.app.session.is_none() {
            limit_stream_frames(now, link);
        }
        self.receive_from_client(now, link);
    }

    fn deadline(&mut self, now: Instant, link: &mut Link<Self::Connection>) {
        let context = self.context(&link.app, now);
        let Link {
            quic, app: client, ..
        } = link;
        client.exchanges.expire(quic, &context);
        let served = client.session.and_then(|key| self.sessions.get_mut(key));
        let fragments = served.and_then(|served| {
            served.session.expire(now);
            served.session.next_expiry()
        });
        if client.session.is_none() && client.authenticate_by <= now {
            let answered = client.exchanges.answered;
            if client.extended || answered.is_none_or(|at| at + ANSWER_EXTENSION <= now) {
                quic.close(
                    now,
                    error_code(code::H3_REQUEST_REJECTED),
                    Bytes::from_static(b"no session was asked for in time"),
                );
                return;
            }
            client.extended = true;
            client.authenticate_by = now + ANSWER_EXTENSION;
        }
        let unauthenticated = client.session.is_none().then_some(client.authenticate_by);
        if let Some(at) = client
            .exchanges
            .next_deadline()
            .into_iter()
            .chain(unauthenticated)
            .chain(fragments)
            .min()
        {
            link.wake_at(at);
        }
    }

    fn closed(&mut self, now: Instant, link: &mut Link<Self::Connection>) {
        let session = link.app.session.take();
        let Some(served) = session.and_then(|key| self.sessions.remove(key)) else {
            return;
        };
        let id = served.session.id;
        if let Some(index) = self.shared.pool.index(served.inner) {
            self.shared.table.clear(index, served.location);
        }
        let reason = link.app.end.take();
        let silent_for = if link.app.timed_out {
            // QUIC counts from the last packet received *or* the first one sent after it.
            now.saturating_duration_since(link.heard)
        } else {
            Duration::ZERO
        };
        let reason = reason.as_deref().unwrap_or("closed by the server");
        self.admission.ended(id, reason, silent_for);
        // The connection needs a handshake slot until it is drained.
        self.gate.retake_slot();
    }

    fn drained(&mut self, link: Box<Link<Self::Connection>>) {
        self.gate.release_slot(link.app.slot_key);
    }
}

/// Returns the `err` of `session closed`.
fn end_text(reason: &ConnectionError) -> String {
    match reason {
        ConnectionError::LocallyClosed => "closed by the server".into(),
        other => http3_streams::end_text(other, "client"),
    }
}
