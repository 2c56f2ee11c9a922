//! A race of parallel connection attempts: the first one with an answer wins.
//!
//! A wave dials every address of the server, in order and [`STAGGER`] apart, at the packet size
//! that the session needs, and after [`Core::attempt_delay`] without an answer at the smallest size
//! in parallel. Waves repeat until there is an answer, because an attempt retransmits its first
//! packet too seldom (RFC 9002: after 1, 3, 7 s) to find a returning server soon.
//!
//! Invariants: at most [`MAX_IN_FLIGHT`] attempts are in flight, each within the configured
//! timeout; an address that refused is not dialled again in the race; an attempt leaves the race as
//! the winner, by an event that ends it, or closed.

mod finish;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use qdt_transport::{AttemptId, DialError, PacketSize};
use rand::Rng;

pub(super) use self::finish::{Step, Winner};

use super::action::Action;
use super::backoff::RoundOutcome;
use super::core::Core;
use crate::failure::Failure;

/// The delay between the first packets to two addresses (RFC 8305, section 5: Connection Attempt
/// Delay).
pub(super) const STAGGER: Duration = Duration::from_millis(250);
/// The interval of early waves; the jitter is a tenth either way.
const WAVE: Duration = Duration::from_secs(1);
/// The interval of later waves: a returning server is found within 3 s, jitter included.
const LATE_WAVE: Duration = Duration::from_secs(2);
/// The number of early waves.
const EARLY_WAVES: u32 = 4;
/// The most attempts in flight; a further one ends the oldest.
const MAX_IN_FLIGHT: usize = 32;
/// The limit for a small attempt while larger ones are repeated and the round trip time is known.
/// Shorter than the first probe timeout (RFC 9002, section 6.2.2), so that a small attempt does not
/// win by its retransmission only because the server was unreachable.
const SMALL_ATTEMPT_LIMIT: Duration = Duration::from_millis(800);

/// The packet sizes of a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    /// Repeated waves of this size, and of the smallest one after it.
    Descending(PacketSize),
    /// One wave of this one.
    Once(PacketSize),
}

#[derive(Debug)]
struct Due {
    at: Instant,
    address: SocketAddr,
    size: PacketSize,
}

#[derive(Debug)]
struct InFlight {
    attempt: AttemptId,
    address: SocketAddr,
    size: PacketSize,
    since: Instant,
}

/// A set of parallel attempts.
#[derive(Debug)]
pub(super) struct Race {
    sizes: Sizes,
    targets: Vec<SocketAddr>,
    due: Vec<Due>,
    in_flight: Vec<InFlight>,
    waves: u32,
    next_wave: Option<Instant>,
    ends: Option<Instant>,
    timeout: Duration,
    failure: Option<Failure>,
    outcome: RoundOutcome,
    /// Whether an address was dropped because its server refused.
    refused: bool,
    /// An answer at a smaller size than the session needs; it wins unless a larger one answers
    /// soon.
    fallback: Option<Box<Winner>>,
}

impl Race {
    /// Starts the first wave. Without `ends` the waves repeat until there is an answer.
    pub(super) fn start(
        core: &mut Core,
        now: Instant,
        targets: Vec<SocketAddr>,
        sizes: Sizes,
        ends: Option<Instant>,
    ) -> Self {
        let mut race = Self {
            sizes,
            targets,
            due: Vec::new(),
            in_flight: Vec::new(),
            waves: 0,
            next_wave: Some(now),
            ends,
            timeout: core.settings.timeout,
            failure: None,
            outcome: RoundOutcome::NoAnswer,
            refused: false,
            fallback: None,
        };
        race.handle_timeout(core, now);
        race
    }

    /// Dials what is due and ends what timed out.
    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        while let Some(late) = self
            .in_flight
            .iter()
            .position(|one| self.expires(core, one) <= now)
        {
            core.act(Action::Close(self.in_flight.remove(late).attempt));
            self.record(&Failure::Dial(DialError::Timeout));
        }
        if self.next_wave.is_some_and(|at| at <= now) && !self.targets.is_empty() {
            self.queue_wave(core, now);
        }
        while let Some(first) = self.due.first().filter(|due| due.at <= now) {
            let (address, size) = (first.address, first.size);
            self.due.remove(0);
            let attempt = core.dial(address, size);
            self.in_flight.push(InFlight {
                attempt,
                address,
                size,
                since: now,
            });
            if self.in_flight.len() > MAX_IN_FLIGHT {
                core.act(Action::Close(self.in_flight.remove(0).attempt));
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let dial = self.due.first().map(|due| due.at);
        let expiry = self
            .in_flight
            .iter()
            .map(|one| self.expires(core, one))
            .min();
        let wave = self.next_wave.filter(|_| !self.targets.is_empty());
        [dial, expiry, wave, self.ends].into_iter().flatten().min()
    }

    /// Returns whether the race can no longer be won: the time is over, or every attempt of the
    /// wave has failed.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
            || (self.due.is_empty() && self.in_flight.is_empty())
    }

    /// Returns the most significant failure.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Returns the outcome that determines the pause after the race.
    pub(super) fn outcome(&self) -> RoundOutcome {
        self.outcome
    }

    /// Returns whether `attempt` belongs to the race.
    fn has(&self, attempt: AttemptId) -> bool {
        self.in_flight.iter().any(|one| one.attempt == attempt)
            || self
                .fallback
                .as_ref()
                .is_some_and(|fallback| fallback.attempt == attempt)
    }

    /// Closes every attempt.
    pub(super) fn abandon(self, core: &mut Core) {
        let in_flight = self.in_flight.iter().map(|one| one.attempt);
        for attempt in in_flight.chain(self.fallback.map(|fallback| fallback.attempt)) {
            core.act(Action::Close(attempt));
        }
    }

    /// Processes the failure of an attempt. After an answer, its address leaves the race; otherwise
    /// what is due later is dialled at once.
    fn fail(&mut self, core: &mut Core, now: Instant, attempt: AttemptId, why: &Failure) {
        let Some(place) = self.in_flight.iter().position(|one| one.attempt == attempt) else {
            self.fallback = self
                .fallback
                .take()
                .filter(|fallback| fallback.attempt != attempt);
            return;
        };
        let lost = self.in_flight.remove(place);
        self.record(why);
        if why.is_answer() {
            self.drop_address(core, lost.address);
            self.refused |= !why.is_not_ready();
            // Addresses without an answer must not delay the one that answered any longer.
            let ends = now + self.timeout;
            self.ends.get_or_insert(ends);
            if why.is_not_ready() {
                // It will be ready soon.
                self.ends = self.ends.map(|ends| ends.min(now + WAVE));
            }
        } else {
            for due in &mut self.due {
                due.at = due.at.min(now);
            }
        }
        self.handle_timeout(core, now);
    }

    /// Returns a race to all addresses with the attempts of an `earlier` one; the first wave
    /// follows after the delay for an answer to those.
    pub(super) fn continuing(core: &Core, now: Instant, earlier: Self) -> Self {
        Self {
            sizes: Sizes::Descending(core.wanted_size()),
            targets: core.addresses.clone(),
            due: Vec::new(),
            waves: 0,
            next_wave: Some(now + core.attempt_delay()),
            ends: None,
            failure: None,
            outcome: RoundOutcome::NoAnswer,
            refused: false,
            ..earlier
        }
    }

    /// Replaces the addresses of later waves, unless an address has refused.
    pub(super) fn retarget(&mut self, addresses: &[SocketAddr]) {
        if !self.refused {
            self.targets = addresses.to_vec();
        }
    }

    fn drop_address(&mut self, core: &mut Core, address: SocketAddr) {
        self.targets.retain(|target| *target != address);
        self.due.retain(|due| due.address != address);
        let dropped = |one: &mut InFlight| one.address == address;
        for one in self.in_flight.extract_if(.., dropped) {
            core.act(Action::Close(one.attempt));
        }
    }

    fn record(&mut self, why: &Failure) {
        let outcome = if why.is_unauthorized() {
            RoundOutcome::Unauthorized
        } else if (why.is_answer() && !why.is_not_ready()) || why.is_wrong_certificate() {
            // Each handshake with a server of another key costs it CPU time, so pauses grow.
            RoundOutcome::Refused
        } else {
            RoundOutcome::NoAnswer
        };
        if self.failure.is_none() || outcome >= self.outcome {
            self.failure = Some(why.clone());
            self.outcome = outcome;
        }
    }

    fn expires(&self, core: &Core, one: &InFlight) -> Instant {
        let is_small = matches!(self.sizes, Sizes::Descending(size) if size != one.size);
        let limit = match core.answer_time() {
            Some(usual) if is_small => SMALL_ATTEMPT_LIMIT.max(usual * 3).min(self.timeout),
            _ => self.timeout,
        };
        one.since + limit
    }

    fn queue_wave(&mut self, core: &mut Core, now: Instant) {
        self.due.clear();
        let (size, repeats) = match self.sizes {
            Sizes::Descending(size) => (size, true),
            Sizes::Once(size) => (size, false),
        };
        for (number, address) in (0..).zip(self.targets.iter().copied()) {
            let at = now + STAGGER * number;
            self.due.push(Due { at, address, size });
            if repeats && size > PacketSize::Base {
                let (at, size) = (at + core.attempt_delay(), PacketSize::Base);
                self.due.push(Due { at, address, size });
            }
        }
        self.due.sort_by_key(|due| due.at);
        self.waves += 1;
        if !repeats {
            self.next_wave = None;
            return;
        }
        let is_early = self.waves < EARLY_WAVES;
        let interval = if is_early { WAVE } else { LATE_WAVE };
        let jitter = core.rng.random_range(0.9..1.1);
        // A wave to many addresses, or to a distant server, may outlast the interval.
        let last = self.due.last().map_or(now, |due| due.at);
        self.next_wave = Some((now + interval.mul_f64(jitter)).max(last + STAGGER));
    }
}
