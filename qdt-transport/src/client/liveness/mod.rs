//! The liveness of the connection that carries the tunnel, and of its path for full packets.
//!
//! Three questions, each with its own evidence:
//! * Is the server reachable? Packets that ask for an acknowledgement were sent, and for a second
//!   (or three round trips) none came. What the server sends unasked says nothing about the path to
//!   it. An idle tunnel sends a QUIC PING now and then ([`KeepAlive`]): its acknowledgement proves
//!   the session too, because our servers end a session with its connection.
//! * Does the session exist? Only Go servers end sessions silently while QUIC goes on
//!   acknowledging. They get echo requests to the gateway inside the tunnel; two misses a second
//!   apart are evidence.
//! * Does the path carry full packets? Pings to our servers are padded to the packet size (RFC
//!   8899); five losses in a row while smaller packets arrive mean that it does not. Random loss of
//!   20 % each way causes five in a row with a probability below one in a hundred, and then costs a
//!   move, not a session.
//!
//! A pure state machine: it takes time and observations, and returns at most one change and one
//! probe.

use std::time::{Duration, Instant};

use super::KeepAlive;

/// The shortest time without an acknowledgement after which the connection is suspect.
const UNANSWERED: Duration = Duration::from_secs(1);
/// The polling interval while packets are in flight.
const TICK: Duration = Duration::from_millis(200);
/// The polling interval of an idle connection.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// The time after which an echo request counts as missed.
const ECHO_WAIT: Duration = Duration::from_secs(1);
/// The most echo requests whose replies count as ours; later replies do not.
const MAX_OUTSTANDING: u16 = 8;
/// The longest silence toward a Go server (the Go client's keep-alive).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The interval of padded pings while the tunnel is in use.
const PATH_EVERY: Duration = Duration::from_secs(2);
/// The shortest time after which a padded ping counts as lost.
const PATH_WAIT: Duration = Duration::from_millis(300);
/// The losses in a row after which the path is too small.
const PATH_MISSES: u32 = 5;

/// The kind of server that has the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A server with `ping`.
    WithPing {
        /// Whether the connection's packets exceed what every path carries.
        probes_path: bool,
    },
    /// A server without `ping`, like a Go server.
    WithoutPing {
        /// The silence after which echo requests start.
        echo_after: Duration,
    },
}

/// The observations since the connection started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// UDP datagrams received.
    pub(super) received: u64,
    /// ACK frames received.
    pub(super) acknowledged: u64,
    /// Ack-eliciting frames sent.
    pub(super) sent: u64,
    /// Inner packets received and accepted.
    pub(super) inner_received: u64,
    /// Inner packets sent.
    pub(super) inner_sent: u64,
    /// Packets that QUIC declared lost.
    pub(super) lost: u64,
    /// Smoothed round trip time.
    pub(super) rtt: Duration,
}

/// A change of the connection's liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LivenessChange {
    /// The connection may be dead.
    Suspect,
    /// A suspect connection was heard again.
    Recovered,
    /// The path carries small packets only.
    PathTooSmall,
}

/// A probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// A QUIC PING.
    Ping,
    /// A ping in a datagram of the maximum length.
    PaddedPing,
    /// An ICMP echo request to the gateway with this sequence number.
    Echo(u16),
}

#[derive(Debug)]
pub(super) struct Liveness {
    peer: Peer,
    keep_alive: KeepAlive,
    last: Seen,
    /// When the oldest unacknowledged packet was sent.
    unanswered_since: Option<Instant>,
    suspect: bool,
    last_inner: Instant,
    /// When an acknowledgement or an inner packet last arrived, or a keep-alive was sent.
    quiet_since: Instant,
    /// When a packet was last sent or received.
    last_packet: Instant,
    echo: Echo,
    path: PathProbe,
}

#[derive(Debug)]
struct Echo {
    /// The number of the last request. The first one is random, because other programs count from
    /// one and their replies must not look like ours.
    sequence: u16,
    /// How many of the last requests have no reply.
    outstanding: u16,
    misses: u32,
    waiting_since: Option<Instant>,
}

impl Echo {
    fn new() -> Self {
        Self {
            sequence: rand::random(),
            outstanding: 0,
            misses: 0,
            waiting_since: None,
        }
    }
}

#[derive(Debug)]
struct PathProbe {
    next_at: Instant,
    waiting_since: Option<Instant>,
    misses: u32,
    inner_at_last: u64,
    heard_since_first_miss: bool,
    reported: bool,
}

impl Liveness {
    /// Returns the state of a connection that was established at `now`.
    pub(super) fn new(peer: Peer, keep_alive: KeepAlive, now: Instant) -> Self {
        Self {
            peer,
            keep_alive,
            last: Seen::default(),
            unanswered_since: None,
            suspect: false,
            last_inner: now,
            quiet_since: now,
            last_packet: now,
            echo: Echo::new(),
            path: PathProbe {
                next_at: now + PATH_EVERY,
                waiting_since: None,
                misses: 0,
                inner_at_last: 0,
                heard_since_first_miss: false,
                reported: false,
            },
        }
    }

    /// Takes note of a padded ping's answer: the path carries full packets both ways.
    pub(super) fn path_answered(&mut self, now: Instant) {
        self.path.waiting_since = None;
        self.path.misses = 0;
        self.path.reported = false;
        self.path.next_at = now + PATH_EVERY;
    }

    /// Returns whether an echo reply of the gateway with this sequence number answers one
    /// of our outstanding requests. Call it once per reply: a second one is not ours.
    pub(super) fn is_our_reply(&mut self, sequence: u16) -> bool {
        let later = self.echo.sequence.wrapping_sub(sequence);
        let ours = later < self.echo.outstanding;
        if ours {
            // Replies arrive in order or nearly so: the older ones are lost.
            self.echo.outstanding = later;
        }
        ours
    }

    /// Evaluates the observations. Returns a change, a probe to send, and when to call again.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        seen: Seen,
    ) -> (Option<LivenessChange>, Option<Probe>, Instant) {
        let heard = seen.received != self.last.received;
        let acknowledged = seen.acknowledged != self.last.acknowledged;
        let heard_inner = seen.inner_received != self.last.inner_received;
        self.path.heard_since_first_miss |= heard && self.path.misses > 0;
        if acknowledged {
            self.unanswered_since = None;
        } else if seen.sent != self.last.sent && self.unanswered_since.is_none() {
            self.unanswered_since = Some(now);
        }
        if heard_inner {
            self.last_inner = now;
            self.echo.misses = 0;
            self.echo.waiting_since = None;
        }
        if heard_inner || acknowledged {
            self.quiet_since = now;
        }
        if heard_inner || seen.inner_sent != self.last.inner_sent {
            self.keep_alive.in_use();
        }
        if heard || seen.sent != self.last.sent {
            self.last_packet = now;
        }
        let lost_more = seen.lost != self.last.lost;
        let answered = match self.peer {
            Peer::WithPing { .. } => acknowledged,
            Peer::WithoutPing { .. } => heard_inner,
        };
        self.last = seen;

        let patience = UNANSWERED.max(3 * seen.rtt);
        let unanswered = self
            .unanswered_since
            .is_some_and(|since| now >= since + patience);
        let (session_gone, mut probe) = match self.peer {
            Peer::WithoutPing { echo_after } => self.poll_session(now, echo_after),
            Peer::WithPing { .. } => (false, self.poll_keep_alive(now)),
        };
        let mut change = None;
        if !self.suspect && (unanswered || session_gone) {
            self.suspect = true;
            change = Some(LivenessChange::Suspect);
        } else if self.suspect && answered && !unanswered {
            self.suspect = false;
            change = Some(LivenessChange::Recovered);
        }
        if self.peer == (Peer::WithPing { probes_path: true }) {
            let (too_small, padded) = self.poll_path(now, lost_more, seen);
            change = change.or(too_small.then_some(LivenessChange::PathTooSmall));
            probe = padded.then_some(Probe::PaddedPing).or(probe);
        }
        // After a probe too, because the next interval counts from its answer.
        let active = heard
            || probe.is_some()
            || self.unanswered_since.is_some()
            || self.echo.waiting_since.is_some()
            || self.path.waiting_since.is_some();
        let next = now + if active { TICK } else { IDLE_TICK };
        let keep_alive_at = self.quiet_since + self.keep_alive.wait();
        let has_deadline = matches!(self.peer, Peer::WithPing { .. }) && keep_alive_at > now;
        (
            change,
            probe,
            if has_deadline {
                next.min(keep_alive_at)
            } else {
                next
            },
        )
    }

    /// Returns the keep-alive of a silent connection, if due.
    fn poll_keep_alive(&mut self, now: Instant) -> Option<Probe> {
        if self.suspect {
            self.keep_alive.in_use();
        }
        if now < self.quiet_since + self.keep_alive.wait() {
            return None;
        }
        self.quiet_since = now;
        self.keep_alive.sent();
        Some(Probe::Ping)
    }

    fn poll_session(&mut self, now: Instant, echo_after: Duration) -> (bool, Option<Probe>) {
        match self.echo.waiting_since {
            None if now < self.last_inner + echo_after => return (false, self.go_keep_alive(now)),
            Some(since) if now < since + ECHO_WAIT => return (false, None),
            None => {}
            Some(_) => self.echo.misses += 1,
        }
        self.echo.waiting_since = Some(now);
        self.echo.sequence = self.echo.sequence.wrapping_add(1);
        self.echo.outstanding = (self.echo.outstanding + 1).min(MAX_OUTSTANDING);
        (self.echo.misses >= 2, Some(Probe::Echo(self.echo.sequence)))
    }

    /// Returns the keep-alive of the Go client where echo requests are rarer, if due.
    fn go_keep_alive(&mut self, now: Instant) -> Option<Probe> {
        if now < self.last_packet + KEEP_ALIVE {
            return None;
        }
        self.last_packet = now;
        Some(Probe::Ping)
    }

    fn poll_path(&mut self, now: Instant, lost_more: bool, seen: Seen) -> (bool, bool) {
        let wait = PATH_WAIT.max(3 * seen.rtt);
        match self.path.waiting_since {
            Some(since) if now < since + wait => return (false, false),
            Some(_) => {
                if self.path.misses == 0 {
                    self.path.heard_since_first_miss = false;
                }
                self.path.misses += 1;
            }
            None => {
                let used = seen.inner_sent + seen.inner_received != self.path.inner_at_last;
                let due = now >= self.path.next_at && used;
                let early = lost_more && now + PATH_EVERY >= self.path.next_at + wait;
                if !due && !early {
                    return (false, false);
                }
            }
        }
        self.path.inner_at_last = seen.inner_sent + seen.inner_received;
        self.path.waiting_since = Some(now);
        let too_small = self.path.misses >= PATH_MISSES
            && self.path.heard_since_first_miss
            && !self.path.reported;
        self.path.reported |= too_small;
        (too_small, true)
    }
}

#[cfg(test)]
mod tests;
