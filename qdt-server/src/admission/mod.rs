//! Who gets a session: the judgement of every `POST /connect`.
//!
//! The packet workers speak HTTP/3 and own the sessions; they ask here, through
//! [`qdt_transport::Admission`], once when the head of a request has arrived and once when its body
//! has. Nothing here is called per packet and nothing blocks. The order of all checks stands in one
//! place, `order.rs`; the answers in `outcome.rs`.
//!
//! What always holds: a refusal changes nothing but counters and buckets; whatever a request had
//! reserved comes back when its [`Reservation`] is dropped; the token is compared in constant time
//! and never shown.

mod guesses;
mod limits;
mod order;
mod outcome;
mod seats;
mod sessions;
mod token;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use qdt_program::Token;
use qdt_proto::datagram::SessionId;
use qdt_proto::http3::RequestHead;
use qdt_transport::{
    Admission, Decision, LimitKey, Pool, PoolIndex, Refusal, RequestContext, SessionLimits,
};
use tokio::sync::Notify;
use tracing::info;

use crate::address::{AddressPool, Leases, TICKET_KEY_LEN, TicketSealer};
use crate::config::Rate;

pub use guesses::Guesses;
pub use limits::{Limiter, TABLE_CAP};
pub use order::Reservation;
pub use outcome::{HandshakeCounters, Outcome};
pub use seats::{Seat, Seats};
pub use sessions::{SessionEntry, SessionTable};

/// What admission needs to know; all of it comes from the configuration.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// The pool as the configuration spells it; answered as `cidr`.
    pub cidr: String,
    /// The server's own inner address, answered as `gateway_ip`.
    pub gateway: IpAddr,
    /// Answered as `dns`.
    pub dns: Vec<String>,
    /// The largest QDT datagram, in bytes.
    pub mtu: u16,
    /// Most sessions at a time; `None` for no limit.
    pub max_sessions: Option<usize>,
    /// Handshakes of everybody together; `None` for no limit.
    pub handshakes: Option<Rate>,
    /// Handshakes of one address (/32 or /64); `None` for no limit.
    pub handshakes_per_address: Option<Rate>,
    /// Wrong tokens of one address (/32 or /64), counted apart from handshakes. Networks have
    /// multiples of it.
    pub guesses_per_address: Rate,
    /// How long an idle address is remembered by the limits.
    pub limit_ttl: Duration,
    /// Inner packets per session and direction.
    pub session_limits: SessionLimits,
    /// How long the address of a session whose connection is gone is kept.
    pub session_timeout: Duration,
    /// Shards of the session table; rounded up to a power of two of at least 2.
    pub session_shards: usize,
}

/// The judge. One per server, shared by all workers and the control side.
#[derive(Debug)]
pub struct Doorkeeper {
    settings: AdmissionSettings,
    ready: AtomicBool,
    token: ArcSwap<Token>,
    tickets: ArcSwap<TicketSealer>,
    guesses: Guesses,
    handshakes: Option<Limiter<()>>,
    handshakes_per_address: Option<Limiter<LimitKey>>,
    seats: Seats,
    pool: Pool,
    leases: Mutex<Leases>,
    sessions: SessionTable,
    counters: HandshakeCounters,
    newcomer: Notify,
    wall_clock: fn() -> SystemTime,
}

impl Doorkeeper {
    /// A doorkeeper that answers `not ready` until [`set_ready`](Self::set_ready). Limits count
    /// from `now`; `wall_clock` dates the tickets.
    #[must_use]
    pub fn new(
        settings: AdmissionSettings,
        pool: AddressPool,
        token: Token,
        tickets: TicketSealer,
        now: Instant,
        wall_clock: fn() -> SystemTime,
    ) -> Self {
        let ttl = settings.limit_ttl;
        Self {
            ready: AtomicBool::new(false),
            token: ArcSwap::from_pointee(token),
            tickets: ArcSwap::from_pointee(tickets),
            guesses: Guesses::new(settings.guesses_per_address, ttl, now),
            handshakes: settings
                .handshakes
                .map(|rate| Limiter::new(rate, Duration::MAX, 1, now)),
            handshakes_per_address: settings
                .handshakes_per_address
                .map(|rate| Limiter::new(rate, ttl, TABLE_CAP, now)),
            seats: Seats::new(settings.max_sessions),
            pool: pool.pool(),
            leases: Mutex::new(Leases::new(pool, settings.session_timeout)),
            sessions: SessionTable::new(settings.session_shards),
            counters: HandshakeCounters::default(),
            newcomer: Notify::new(),
            wall_clock,
            settings,
        }
    }

    /// Opens (`true`) or closes the door for new sessions; closed, every request is `not ready`.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether new sessions are taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// From now on only `token` opens a session; sessions that exist stay.
    pub fn set_token(&self, token: Token) {
        self.token.store(token.into());
    }

    /// From now on tickets are sealed under `key`; those under earlier keys stay good.
    pub fn change_ticket_key(&self, key: &[u8; TICKET_KEY_LEN]) {
        self.tickets.rcu(|tickets| tickets.changed_to(key));
    }

    /// Every session there is.
    #[must_use]
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Results of all handshakes so far.
    #[must_use]
    pub fn counters(&self) -> &HandshakeCounters {
        &self.counters
    }

    /// Returns the pool of the inner addresses.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// Addresses held for sessions whose connection is gone.
    #[must_use]
    pub fn parked_addresses(&self) -> usize {
        self.leases().parked()
    }

    /// Addresses that nobody holds.
    #[must_use]
    pub fn free_addresses(&self) -> u32 {
        self.leases().free()
    }

    /// How many addresses the limits remember: for wrong tokens, and for handshakes.
    #[must_use]
    pub fn limiter_entries(&self) -> (usize, usize) {
        (
            self.guesses.addresses(),
            self.handshakes_per_address.as_ref().map_or(0, Limiter::len),
        )
    }

    /// Addresses whose `session_timeout` is over at `now`. The caller makes the kernel forget their
    /// flows and then calls [`release_address`](Self::release_address): a new owner must not
    /// receive what was meant for the previous one.
    #[must_use]
    pub fn expire_addresses(&self, now: Instant) -> Vec<PoolIndex> {
        self.leases().expire(now)
    }

    /// Addresses of an earlier server process that newcomers have now: their flows must be
    /// forgotten at once. [`wait_for_newcomer`](Self::wait_for_newcomer) tells when there are any.
    #[must_use]
    pub fn take_unclean_addresses(&self) -> Vec<PoolIndex> {
        self.leases().take_unclean()
    }

    /// Returns once a session was opened since the last return.
    pub async fn wait_for_newcomer(&self) {
        self.newcomer.notified().await;
    }

    /// The kernel did not forget the flows of `index`: others are given out before it.
    pub fn keep_uncleaned_address(&self, index: PoolIndex) {
        self.leases().keep_uncleaned(index);
    }

    /// `index` may be given out again.
    pub fn release_address(&self, index: PoolIndex) {
        self.leases().release(index);
    }

    /// The session's connection was last heard of at `heard` and is gone, because of `reason`. Its
    /// address is kept for `session_timeout` from `heard` on.
    pub fn session_ended(&self, session: SessionId, reason: &str, heard: Instant) {
        if let Some(entry) = self.sessions.remove(session) {
            self.leases().park(session.0, entry.index, heard);
            let ip = self.pool.address(entry.index);
            info!(id = session.0, %ip, err = reason, "session closed");
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // Every change of the leases is complete before anything in it could panic.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, outcome: Outcome, peer: IpAddr) -> Refusal {
        self.counters.count(outcome);
        tracing::debug!(peer = %peer.to_canonical(), result = outcome.label(), "handshake refused");
        outcome.refusal()
    }
}

impl Admission for Doorkeeper {
    type Reservation = Reservation;

    fn head(
        &self,
        head: &RequestHead,
        request: &RequestContext,
        connection_has_session: bool,
    ) -> Result<Reservation, Refusal> {
        let peer = request.peer.ip();
        self.check_head(head, peer, connection_has_session, request.now)
            .map_err(|outcome| self.refuse(outcome, peer))
    }

    fn body(
        &self,
        reservation: Reservation,
        body: Option<&[u8]>,
        request: &RequestContext,
    ) -> Decision {
        self.check_body(reservation, body, request.worker)
            .inspect(|grant| {
                self.counters.count(Outcome::Ok);
                self.newcomer.notify_one();
                info!(id = grant.id.0, ip = %grant.inner, "session opened");
            })
            .map_err(|outcome| self.refuse(outcome, request.peer.ip()))
            .into()
    }

    fn ended(&self, session: SessionId, reason: &str, silent_for: Duration) {
        let now = Instant::now();
        self.session_ended(session, reason, now.checked_sub(silent_for).unwrap_or(now));
    }
}
