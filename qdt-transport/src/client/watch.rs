//! Whether the connection that carries the tunnel is alive, and whether the path still carries its
//! packets.
//!
//! Three questions, each with its own evidence:
//! * Is anybody there? Packets that ask for an acknowledgement were sent, and for a second (or
//!   three round trips) none came. What the peer sends of itself says nothing about our own way to
//!   it. A tunnel in which nothing travels sends a QUIC PING now and then ([`Pulse`]): its
//!   acknowledgement says the same as an answer from the session would, because a server of ours
//!   ends a session with its connection.
//! * Is the session there? Only asked of a Go server, which ends sessions silently while its QUIC
//!   goes on acknowledging: echo requests to the gateway inside the tunnel, two misses a second
//!   apart.
//! * Does the path carry full packets? Asked of our own servers by pings padded to the packet size
//!   (RFC 8899); five in a row lost while smaller packets arrive means that it shrank. Random loss
//!   of 20 % each way loses five in a row with a probability below one in a hundred, and then costs
//!   a move, not a session.
//!
//! A pure state machine: time and observations come in, at most one verdict and one probe come out.

use std::time::{Duration, Instant};

use super::Pulse;

/// How long packets may stay unanswered at least before the connection is suspect.
const UNANSWERED: Duration = Duration::from_secs(1);
/// Between two looks while packets are under way.
const TICK: Duration = Duration::from_millis(200);
/// Between two looks at a silent connection.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Between two misses of echo requests.
const ECHO_WAIT: Duration = Duration::from_secs(1);
/// Echo requests whose replies are waited for at most: a reply that comes later than so many
/// seconds is nobody's.
const OUTSTANDING: u16 = 8;
/// How long a Go server hears nothing at most (the Go client's keep-alive).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Between padded pings of a tunnel in use.
const PATH_EVERY: Duration = Duration::from_secs(2);
/// How long a padded ping may take at least.
const PATH_WAIT: Duration = Duration::from_millis(300);
/// Padded pings that must be lost in a row.
const PATH_MISSES: u32 = 5;

/// What kind of server carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// One of ours, with `ping`.
    Ours {
        /// Whether its packets are larger than every path must carry.
        probes_path: bool,
    },
    /// A Go server, or one without `ping`.
    Silent {
        /// Silence after which the session is asked.
        echo_after: Duration,
    },
}

/// What was observed since the connection began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// UDP datagrams received.
    pub(super) received: u64,
    /// Acknowledgements received (ACK frames).
    pub(super) acknowledged: u64,
    /// Frames sent that ask for an acknowledgement.
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

/// A change in what is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be dead.
    Suspect,
    /// It was heard again.
    Recovered,
    /// The path carries small packets only.
    PathTooSmall,
}

/// A question to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// A PING of QUIC, which the peer acknowledges.
    Ping,
    /// A ping as long as a datagram may be.
    PaddedPing,
    /// An ICMP echo request to the gateway with this sequence number.
    Echo(u16),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    peer: Peer,
    pulse: Pulse,
    last: Seen,
    /// When the first packet left that nothing has answered yet.
    unanswered_since: Option<Instant>,
    suspect: bool,
    last_inner: Instant,
    /// The last sign of life or question.
    quiet_since: Instant,
    /// The last packet either way.
    last_packet: Instant,
    echo: Echo,
    path: PathProbe,
}

#[derive(Debug)]
struct Echo {
    /// The number of the last request. The first one is chosen at random: programs count from one,
    /// and theirs must not look like ours.
    sequence: u16,
    /// So many of the last requests have no reply yet.
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

impl Watch {
    /// Watches a connection that was established at `now`.
    pub(super) fn new(peer: Peer, pulse: Pulse, now: Instant) -> Self {
        Self {
            peer,
            pulse,
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

    /// A pong of a padded ping arrived: the path carries full packets both ways.
    pub(super) fn path_answered(&mut self, now: Instant) {
        self.path.waiting_since = None;
        self.path.misses = 0;
        self.path.reported = false;
        self.path.next_at = now + PATH_EVERY;
    }

    /// Whether an echo reply from the gateway with this sequence number answers a request of ours
    /// that nothing has answered yet. Asked once for each reply: a second one with the number is
    /// somebody else's.
    pub(super) fn is_our_reply(&mut self, sequence: u16) -> bool {
        let later = self.echo.sequence.wrapping_sub(sequence);
        let ours = later < self.echo.outstanding;
        if ours {
            // Replies keep their order, or nearly so: those that are older do not come any more.
            self.echo.outstanding = later;
        }
        ours
    }

    /// Looks at what happened; gives what changed, what to ask, and when to look again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        seen: Seen,
    ) -> (Option<Verdict>, Option<Probe>, Instant) {
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
            self.pulse.in_use();
        }
        if heard || seen.sent != self.last.sent {
            self.last_packet = now;
        }
        let lost_more = seen.lost != self.last.lost;
        let answered = match self.peer {
            Peer::Ours { .. } => acknowledged,
            Peer::Silent { .. } => heard_inner,
        };
        self.last = seen;

        let patience = UNANSWERED.max(3 * seen.rtt);
        let unanswered = self
            .unanswered_since
            .is_some_and(|since| now >= since + patience);
        let (session_gone, mut probe) = match self.peer {
            Peer::Silent { echo_after } => self.ask_session(now, echo_after),
            Peer::Ours { .. } => (false, self.ask_peer(now)),
        };
        let mut verdict = None;
        if !self.suspect && (unanswered || session_gone) {
            self.suspect = true;
            verdict = Some(Verdict::Suspect);
        } else if self.suspect && answered && !unanswered {
            self.suspect = false;
            verdict = Some(Verdict::Recovered);
        }
        if self.peer == (Peer::Ours { probes_path: true }) {
            let (too_small, padded) = self.ask_path(now, lost_more, seen);
            verdict = verdict.or(too_small.then_some(Verdict::PathTooSmall));
            probe = padded.then_some(Probe::PaddedPing).or(probe);
        }
        // After a question too: its answer is seen when it comes, and the next wait counts from
        // there.
        let active = heard
            || probe.is_some()
            || self.unanswered_since.is_some()
            || self.echo.waiting_since.is_some()
            || self.path.waiting_since.is_some();
        let next = now + if active { TICK } else { IDLE_TICK };
        let question = self.quiet_since + self.pulse.wait();
        let asks = matches!(self.peer, Peer::Ours { .. }) && question > now;
        (verdict, probe, if asks { next.min(question) } else { next })
    }

    /// Keeps a silent connection talking, so that its end shows and no NAT forgets it.
    fn ask_peer(&mut self, now: Instant) -> Option<Probe> {
        if self.suspect {
            self.pulse.in_use();
        }
        if now < self.quiet_since + self.pulse.wait() {
            return None;
        }
        self.quiet_since = now;
        self.pulse.asked();
        Some(Probe::Ping)
    }

    fn ask_session(&mut self, now: Instant, echo_after: Duration) -> (bool, Option<Probe>) {
        match self.echo.waiting_since {
            None if now < self.last_inner + echo_after => return (false, self.keep_alive(now)),
            Some(since) if now < since + ECHO_WAIT => return (false, None),
            None => {}
            Some(_) => self.echo.misses += 1,
        }
        self.echo.waiting_since = Some(now);
        self.echo.sequence = self.echo.sequence.wrapping_add(1);
        self.echo.outstanding = (self.echo.outstanding + 1).min(OUTSTANDING);
        (self.echo.misses >= 2, Some(Probe::Echo(self.echo.sequence)))
    }

    /// What the Go client's keep-alive does where echo requests are rarer than that.
    fn keep_alive(&mut self, now: Instant) -> Option<Probe> {
        if now < self.last_packet + KEEP_ALIVE {
            return None;
        }
        self.last_packet = now;
        Some(Probe::Ping)
    }

    fn ask_path(&mut self, now: Instant, lost_more: bool, seen: Seen) -> (bool, bool) {
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
