//! What a server worker does with its connections: requests in, sessions made and ended, and the
//! packets from clients to the TUN.
//!
//! Invariants: a connection has at most one session; a session's entry in the address table is set
//! when the session is made and cleared when its last carrier goes; [`Admission::ended`] is called
//! exactly once for every session that was granted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use qdt_proto::datagram::SessionId;
use qdt_proto::http3::{Http3Error, Side, code};
use quinn_proto::{Connection, ConnectionError, Dir, Event, Incoming, StreamEvent};

use super::admission::{Admission, RequestContext};
use super::exchange::{Context, Exchanges, Granted, Settled};
use super::gate::{Doorkeeper, LetIn};
use super::mailbox::{Command, Mailbox, PacketBatch};
use super::pending::{Reply, RequestId};
use super::pool::Pool;
use super::sessions::{Served, SessionKey, Sessions};
use super::table::{AddressTable, Location};
use crate::carrier::CarrierRef;
use crate::engine::{Accepted, Application, Gate, Handover, Link, Pace};
use crate::http3_streams::{self, UniStreams, error_code, fail, open_control_stream};
use crate::inner::DataPath;
use crate::limit_key::LimitKey;
use crate::limits::{Bucket, Counted};
use crate::queue::{FairShare, Share};
use crate::session::{Session, Terms};
use crate::udp::canonical;
use crate::worker_thread;

/// A connection that has no session by then is closed. With the three seconds that QUIC drains a
/// connection whose round trip it never learnt, and a quarter of a second that either deadline may
/// come late, nothing is left of a silent one after ten.
const AUTHENTICATE_WITHIN: Duration = Duration::from_millis(5_750);
/// So much longer it lives, once, where it was answered within that time: closing a connection
/// takes back what its streams have not delivered, and a worker that was held up may find a request
/// and the end of its time in one turn.
const FOR_AN_ANSWER: Duration = Duration::from_secs(1);

/// A connection that sends more STREAM frames without having a session is closed. A request and
/// HTTP/3's own streams need a dozen; data with gaps between stays in memory, each piece with the
/// packet that it came in.
const STREAM_FRAMES_BEFORE_SESSION: u64 = 256;

/// What all workers of a server share, and the handle to them.
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

/// What a server keeps for a connection, with a reservation `R` for each request under way.
pub(super) struct Client<R> {
    pub(super) exchanges: Exchanges<R>,
    pub(super) uni: UniStreams,
    /// Its number among the connections that the worker had.
    pub(super) number: u64,
    /// The session that the connection carries.
    pub(super) session: Option<SessionKey>,
    /// Where the handshake came from, which proves it. What limits and logs go by: the connection
    /// moves to another address at its first packet from there, and only then asks whether anybody
    /// is there (RFC 9000 section 9.3).
    peer: SocketAddr,
    /// Who answers for the connection's place among those without a session.
    place_of: Option<LimitKey>,
    /// Without a session by then the connection is closed.
    authenticate_by: Instant,
    /// [`FOR_AN_ANSWER`] was added to it.
    prolonged: bool,
    /// STREAM frames that the connection may have sent.
    stream_frames: u64,
    /// Why the connection ended, for `session closed`.
    end: Option<String>,
    /// It ended because nothing was heard for the idle time.
    timed_out: bool,
}

impl<R> Client<R> {
    /// Says why the server is about to close the connection.
    pub(super) fn ends_because(&mut self, reason: &str) {
        self.end.get_or_insert_with(|| reason.into());
    }
}

/// One worker's side of the server, under the policy `A`.
pub(super) struct ServerApp<A> {
    pub(super) worker: usize,
    pub(super) admission: Arc<A>,
    pub(super) shared: Arc<Shared>,
    pub(super) door: Doorkeeper,
    pub(super) sessions: Sessions,
    pub(super) path: DataPath,
    /// Who takes how much of the TUN queue.
    pub(super) shares: FairShare,
    /// TUN reads per turn.
    pub(super) tun_budget: usize,
    /// Packets from one client to another, until the end of the turn.
    pub(super) peer_to_peer: PacketBatch,
    /// Packets for other workers, by their number, until the end of the turn.
    pub(super) for_others: Vec<PacketBatch>,
    /// What other workers had for this one; kept for its memory.
    pub(super) from_others: (PacketBatch, Handover),
    /// Sessions of this worker that a newer one replaced.
    pub(super) replaced: Vec<SessionId>,
    /// Connections so far.
    pub(super) connections: u64,
    /// Newcomers since memory was made ready for some.
    pub(super) newcomers: u32,
    /// The wall clock.
    pub(super) unix_seconds: fn() -> u64,
}

impl<A: Admission> ServerApp<A> {
    /// Makes the session that a request was granted, or asks for the verdict that it waits for.
    pub(super) fn settle(
        &mut self,
        link: &mut Link<Client<A::Reservation>>,
        settled: Option<Settled>,
        now: Instant,
    ) {
        let Granted {
            stream,
            endpoint,
            session: grant,
        } = match settled {
            Some(Settled::Granted(granted)) => granted,
            Some(Settled::Pending { stream, ask }) => {
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
        self.door.finished(link.app.place_of.take());
        link.pace = grant.caps.is_empty().then(|| Pace::new(now));
        link.app.stream_frames = link.quic.stats().frame_rx.stream + endpoint.stream_frames();
        let bucket = |counted| Bucket::new(grant.limits, grant.mtu, &grant.usage, counted);
        let location = self.sessions.insert(|key| Served {
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

    /// Ends the session that a newer one took the address from, at its worker.
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
        close_the_talkative(now, link);
        if link.quic.is_closed() {
            // Nobody is left to answer, and what was granted now would have no end.
            return;
        }
        let context = self.context(&link.app, now);
        let Link {
            quic, app: client, ..
        } = &mut *link;
        let mut settled = None;
        let mut outcome: Result<(), Http3Error> = Ok(());
        match event {
            StreamEvent::Opened { dir: Dir::Uni } => outcome = client.uni.accept(quic),
            StreamEvent::Opened { dir: Dir::Bi } => {
                settled = client.exchanges.accept(quic, &context)
            }
            StreamEvent::Readable { id } if id.dir() == Dir::Uni => {
                outcome = client.uni.read(quic, id)
            }
            StreamEvent::Readable { id } => settled = client.exchanges.read(quic, id, &context),
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
        } else if client.exchanges.session_given_up {
            close_given_up(now, quic);
        }
        if let Some(deadline) = client.exchanges.next_deadline() {
            link.wake_at(deadline);
        }
        self.settle(link, settled, now);
    }
}

/// Closes a connection that has sent more STREAM frames than it may. Each that adds to memory is
/// also an event.
fn close_the_talkative<R>(now: Instant, link: &mut Link<Client<R>>) {
    if link.quic.stats().frame_rx.stream > link.app.stream_frames && !link.quic.is_closed() {
        link.app
            .ends_because("more on its streams than a tunnel has to say");
        link.quic.close(
            now,
            error_code(code::H3_EXCESSIVE_LOAD),
            Bytes::from_static(b"too many STREAM frames"),
        );
    }
}

/// Closes a connection whose client gave up the stream that its session hangs on.
pub(super) fn close_given_up(now: Instant, quic: &mut Connection) {
    quic.close(
        now,
        error_code(code::H3_NO_ERROR),
        Bytes::from_static(b"session stream ended"),
    );
}

/// Why a session ends whose address moved.
pub(super) const REPLACED: &str = "replaced by a newer connection of the same client";

impl<A: Admission> Application for ServerApp<A> {
    type Connection = Client<A::Reservation>;

    fn incoming(
        &mut self,
        now: Instant,
        incoming: Incoming,
        len: usize,
        gate: &mut Gate<'_>,
    ) -> Option<Accepted<Self::Connection>> {
        let LetIn {
            handle,
            quic,
            place_of,
        } = self.door.admit(now, incoming, len, gate)?;
        self.connections += 1;
        self.newcomers += 1;
        if self.newcomers == worker_thread::NEWCOMERS_PER_ROOM {
            self.newcomers = 0;
            worker_thread::make_room();
        }
        let authenticate_by = now + AUTHENTICATE_WITHIN;
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
                place_of: Some(place_of),
                authenticate_by,
                prolonged: false,
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
                link.app.ends_because(&end_text(&reason));
            }
            Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
        }
    }

    fn datagrams(&mut self, now: Instant, link: &mut Link<Self::Connection>) {
        // With a session this is left to the frames themselves: here is the way of every packet.
        if link.app.session.is_none() {
            close_the_talkative(now, link);
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
            if client.prolonged || answered.is_none_or(|at| at + FOR_AN_ANSWER <= now) {
                quic.close(
                    now,
                    error_code(code::H3_REQUEST_REJECTED),
                    Bytes::from_static(b"no session was asked for in time"),
                );
                return;
            }
            client.prolonged = true;
            client.authenticate_by = now + FOR_AN_ANSWER;
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

    fn lost(&mut self, now: Instant, link: &mut Link<Self::Connection>) {
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
            // QUIC counts from the last thing heard *or* the first thing sent after it.
            now.saturating_duration_since(link.heard)
        } else {
            Duration::ZERO
        };
        let reason = reason.as_deref().unwrap_or("closed by the server");
        self.admission.ended(id, reason, silent_for);
        // It counts as unfinished again until the connection is forgotten.
        self.door.unfinished_again();
    }

    fn gone(&mut self, link: Box<Link<Self::Connection>>) {
        self.door.finished(link.app.place_of);
    }
}

/// Returns the `err` of `session closed`.
fn end_text(reason: &ConnectionError) -> String {
    match reason {
        ConnectionError::LocallyClosed => "closed by the server".into(),
        other => http3_streams::end_text(other, "client"),
    }
}
