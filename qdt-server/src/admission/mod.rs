//! The admission controller, which decides every `POST /connect`.
//!
//! The packet workers speak HTTP/3 and own the sessions; through [`qdt_transport::Admission`] they
//! ask once with the head of a request and once with its body. Nothing here runs per packet or
//! blocks. `checks.rs` holds all checks in their order, `outcome.rs` the responses.
//!
//! Invariants: a refusal changes only counters and buckets; dropping a [`Reservation`] frees what
//! it holds; the token is compared in constant time and never shown.

mod checks;
mod guess_limiter;
mod limiter;
mod outcome;
mod sessions;
mod slots;
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

pub use checks::Reservation;
pub use guess_limiter::GuessLimiter;
pub use limiter::{Limiter, TABLE_CAP};
pub use outcome::{HandshakeCounters, Outcome};
pub use sessions::{SessionEntry, SessionTable};
pub use slots::{SessionSlots, Slot};

/// The part of the configuration that admission needs.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// The pool as the configuration spells it; sent as `cidr`.
    pub cidr: String,
    /// The server's own inner address, sent as `gateway_ip`.
    pub gateway: IpAddr,
    /// Sent as `dns`.
    pub dns: Vec<String>,
    /// The largest QDT datagram, in bytes.
    pub mtu: u16,
    /// Most sessions at a time; `None` for no limit.
    pub max_sessions: Option<usize>,
    /// Handshakes of all addresses; `None` for no limit.
    pub handshakes: Option<Rate>,
    /// Handshakes of one address (/32 or /64); `None` for no limit.
    pub handshakes_per_address: Option<Rate>,
    /// Wrong tokens of one address (/32 or /64), counted apart from handshakes; IPv6 networks
    /// have multiples of it.
    pub guesses_per_address: Rate,
    /// How long the limits remember an idle address.
    pub limit_ttl: Duration,
    /// Inner packets per session and direction.
    pub session_limits: SessionLimits,
    /// How long the address of a session whose connection is gone is held.
    pub session_timeout: Duration,
    /// Shards of the session table; rounded up to a power of two of at least 2.
    pub session_shards: usize,
}

/// Decides which requests get a session; all workers and the control side share one.
#[derive(Debug)]
pub struct AdmissionController {
    settings: AdmissionSettings,
    ready: AtomicBool,
    token: ArcSwap<Token>,
    tickets: ArcSwap<TicketSealer>,
    guesses: GuessLimiter,
    handshakes: Option<Limiter<()>>,
    handshakes_per_address: Option<Limiter<LimitKey>>,
    slots: SessionSlots,
    pool: Pool,
    leases: Mutex<Leases>,
    sessions: SessionTable,
    counters: HandshakeCounters,
    opened: Notify,
    wall_clock: fn() -> SystemTime,
}

impl AdmissionController {
    /// Makes a controller that answers `not ready` until [`set_ready`](Self::set_ready). Limits
    /// count from `now`; `wall_clock` dates the tickets.
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
            guesses: GuessLimiter::new(settings.guesses_per_address, ttl, now),
            handshakes: settings
                .handshakes
                .map(|rate| Limiter::new(rate, Duration::MAX, 1, now)),
            handshakes_per_address: settings
                .handshakes_per_address
                .map(|rate| Limiter::new(rate, ttl, TABLE_CAP, now)),
            slots: SessionSlots::new(settings.max_sessions),
            pool: pool.pool(),
            leases: Mutex::new(Leases::new(pool, settings.session_timeout)),
            sessions: SessionTable::new(settings.session_shards),
            counters: HandshakeCounters::default(),
            opened: Notify::new(),
            wall_clock,
            settings,
        }
    }

    /// Sets whether new sessions are accepted; if not, every request is `not ready`.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Returns whether new sessions are accepted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Replaces the token; existing sessions stay.
    pub fn set_token(&self, token: Token) {
        self.token.store(token.into());
    }

    /// Replaces the key that seals tickets; tickets under earlier keys stay valid.
    pub fn rotate_ticket_key(&self, key: &[u8; TICKET_KEY_LEN]) {
        self.tickets.rcu(|tickets| tickets.rotated_to(key));
    }

    /// Returns the table of all sessions.
    #[must_use]
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Returns the counters of all handshakes.
    #[must_use]
    pub fn counters(&self) -> &HandshakeCounters {
        &self.counters
    }

    /// Returns the pool of the inner addresses.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// Returns the number of addresses held for sessions whose connection is gone.
    #[must_use]
    pub fn held_addresses(&self) -> usize {
        self.leases().held()
    }

    /// Returns the number of addresses without a lease.
    #[must_use]
    pub fn free_addresses(&self) -> u32 {
        self.leases().free()
    }

    /// Returns the table sizes of the limits on wrong tokens and on handshakes.
    #[must_use]
    pub fn limiter_entries(&self) -> (usize, usize) {
        (
            self.guesses.addresses(),
            self.handshakes_per_address.as_ref().map_or(0, Limiter::len),
        )
    }

    /// Returns the addresses whose `session_timeout` is over at `now`. The caller deletes their
    /// flows and then calls [`release_address`](Self::release_address), so that no new owner
    /// receives packets meant for the previous one.
    #[must_use]
    pub fn expire_addresses(&self, now: Instant) -> Vec<PoolIndex> {
        self.leases().expire(now)
    }

    /// Takes the addresses that new clients have and whose flows may be those of an earlier owner:
    /// the caller deletes these flows at once. There may be some after each
    /// [`wait_for_session`](Self::wait_for_session).
    #[must_use]
    pub fn take_dirty_addresses(&self) -> Vec<PoolIndex> {
        self.leases().take_dirty()
    }

    /// Waits until a session has been opened since the last return.
    pub async fn wait_for_session(&self) {
        self.opened.notified().await;
    }

    /// Keeps `index`, whose flows could not be deleted, as a last resort for new clients.
    pub fn defer_address(&self, index: PoolIndex) {
        self.leases().defer(index);
    }

    /// Returns `index` to the pool.
    pub fn release_address(&self, index: PoolIndex) {
        self.leases().release(index);
    }

    /// Removes `session`, whose connection ended because of `reason` and was last heard from at
    /// `heard`. Its address is held for `session_timeout` from `heard` on.
    pub fn session_ended(&self, session: SessionId, reason: &str, heard: Instant) {
        if let Some(entry) = self.sessions.remove(session) {
            self.leases().hold(session.0, entry.index, heard);
            let ip = self.pool.address(entry.index);
            info!(id = session.0, %ip, err = reason, "session closed");
        }
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // No panic can interrupt a change of the leases, so a poisoned lock guards valid data.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, outcome: Outcome, peer: IpAddr) -> Refusal {
        self.counters.count(outcome);
        tracing::debug!(peer = %peer.to_canonical(), result = outcome.label(), "handshake refused");
        outcome.refusal()
    }
}

impl Admission for AdmissionController {
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
                self.opened.notify_one();
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
