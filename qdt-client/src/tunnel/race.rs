//! Several connection attempts side by side, of which the first that answers wins.
//!
//! A wave dials every address of the server, in order and [`STAGGER`] apart, with the packet size
//! the session needs; where that gets no answer within [`Core::patience`], the smallest size is
//! dialled beside it. While nothing answers, wave follows wave, because an attempt whose first
//! packet was lost repeats it too slowly (RFC 9002: after 1, 3, 7 s) for a server that comes back.
//!
//! What always holds here: no more than [`MOST_IN_FLIGHT`] attempts fly, each at most the
//! configured timeout; an address that answered with a refusal is not asked again in this race;
//! and an attempt that left the race is either the winner, reported gone by the link, or hung up.

mod finish;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

pub(super) use self::finish::{Step, Won};

use super::action::Action;
use super::backoff::Verdict;
use super::core::Core;
use crate::failure::Failure;
use qdt_transport::{AttemptId, DialError, PacketSize};

/// Between the first packets to two addresses (RFC 8305, section 5: Connection Attempt Delay).
pub(super) const STAGGER: Duration = Duration::from_millis(250);
/// Between the first waves; jitter of a tenth either way.
const WAVE: Duration = Duration::from_secs(1);
/// Between later waves. With the jitter, and an answer, still within 3 s.
const LATE_WAVE: Duration = Duration::from_secs(2);
/// How many waves come at the faster pace.
const EARLY_WAVES: u32 = 4;
/// Beyond it the oldest attempt is given up.
const MOST_IN_FLIGHT: usize = 32;
/// How long a small attempt may linger when larger ones are repeated beside it and the server's
/// distance is known: less than its first packet takes to be repeated (RFC 9002, section 6.2.2),
/// so that it does not win by that only because the server was away.
const SMALL_LINGERS: Duration = Duration::from_millis(800);

/// Which packet sizes a race tries, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    /// Wave after wave: this one, and the smallest where it gets no answer.
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
struct Flying {
    attempt: AttemptId,
    address: SocketAddr,
    size: PacketSize,
    since: Instant,
}

/// The attempts that run side by side.
#[derive(Debug)]
pub(super) struct Race {
    sizes: Sizes,
    targets: Vec<SocketAddr>,
    due: Vec<Due>,
    flying: Vec<Flying>,
    waves: u32,
    next_wave: Option<Instant>,
    ends: Option<Instant>,
    timeout: Duration,
    failure: Option<Failure>,
    verdict: Verdict,
    /// An address was left out because its server refused.
    refused: bool,
    /// Answered, but smaller than the session needs: it wins unless a larger one answers soon.
    held: Option<Box<Won>>,
}

impl Race {
    /// Starts with a first wave. Without `ends` the waves go on for as long as nobody answers.
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
            flying: Vec::new(),
            waves: 0,
            next_wave: Some(now),
            ends,
            timeout: core.settings.timeout,
            failure: None,
            verdict: Verdict::Silence,
            refused: false,
            held: None,
        };
        race.handle_timeout(core, now);
        race
    }

    /// Dials what is due and gives up what took too long.
    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        while let Some(late) = self
            .flying
            .iter()
            .position(|one| self.expires(core, one) <= now)
        {
            core.act(Action::Hangup(self.flying.remove(late).attempt));
            self.note(&Failure::Dial(DialError::Timeout));
        }
        if self.next_wave.is_some_and(|at| at <= now) && !self.targets.is_empty() {
            self.queue_wave(core, now);
        }
        while let Some(first) = self.due.first().filter(|due| due.at <= now) {
            let (address, size) = (first.address, first.size);
            self.due.remove(0);
            let attempt = core.dial(address, size);
            self.flying.push(Flying {
                attempt,
                address,
                size,
                since: now,
            });
            if self.flying.len() > MOST_IN_FLIGHT {
                core.act(Action::Hangup(self.flying.remove(0).attempt));
            }
        }
    }

    /// When there is something to do next.
    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let dial = self.due.first().map(|due| due.at);
        let expiry = self.flying.iter().map(|one| self.expires(core, one)).min();
        let wave = self.next_wave.filter(|_| !self.targets.is_empty());
        [dial, expiry, wave, self.ends].into_iter().flatten().min()
    }

    /// Whether no winner can come any more: time is up, or every attempt of the wave has failed
    /// by itself.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now) || (self.due.is_empty() && self.flying.is_empty())
    }

    /// What was most telling of all that failed.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// What the failures say about when to try again.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether this attempt runs here.
    pub(super) fn has(&self, attempt: AttemptId) -> bool {
        self.flying.iter().any(|one| one.attempt == attempt)
            || self
                .held
                .as_ref()
                .is_some_and(|held| held.attempt == attempt)
    }

    /// Gives every attempt up.
    pub(super) fn abandon(self, core: &mut Core) {
        let flying = self.flying.iter().map(|one| one.attempt);
        for attempt in flying.chain(self.held.map(|held| held.attempt)) {
            core.act(Action::Hangup(attempt));
        }
    }

    /// The attempt failed. After an answer its address is out of the race; otherwise what waited
    /// for it is dialled at once, with the next [`Self::handle_timeout`].
    fn fail(&mut self, core: &mut Core, now: Instant, attempt: AttemptId, why: &Failure) {
        let Some(place) = self.flying.iter().position(|one| one.attempt == attempt) else {
            self.held = self.held.take().filter(|held| held.attempt != attempt);
            return;
        };
        let lost = self.flying.remove(place);
        self.note(why);
        if why.is_answer() {
            self.drop_address(core, lost.address);
            self.refused |= !why.is_not_ready();
            // Addresses that stay silent must not keep the one that answered waiting for ever.
            let ends = now + self.timeout;
            self.ends.get_or_insert(ends);
            if why.is_not_ready() {
                // It will be in a moment.
                self.ends = self.ends.map(|ends| ends.min(now + WAVE));
            }
        } else {
            for due in &mut self.due {
                due.at = due.at.min(now);
            }
        }
        self.handle_timeout(core, now);
    }

    /// Lets the attempts of another race, begun earlier, win this one too; the waves wait for them
    /// as long as for attempts of their own.
    pub(super) fn continuing(
        core: &Core,
        now: Instant,
        earlier: Race,
        targets: Vec<SocketAddr>,
    ) -> Self {
        Self {
            sizes: Sizes::Descending(core.wanted_size()),
            targets,
            due: Vec::new(),
            waves: 0,
            next_wave: Some(now + core.patience()),
            ends: None,
            failure: None,
            verdict: Verdict::Silence,
            refused: false,
            ..earlier
        }
    }

    /// Other addresses for the waves to come; those that refused stay out.
    pub(super) fn retarget(&mut self, addresses: &[SocketAddr]) {
        if !self.refused {
            self.targets = addresses.to_vec();
        }
    }

    fn drop_address(&mut self, core: &mut Core, address: SocketAddr) {
        self.targets.retain(|target| *target != address);
        self.due.retain(|due| due.address != address);
        let (gone, stay) = std::mem::take(&mut self.flying)
            .into_iter()
            .partition(|one| one.address == address);
        self.flying = stay;
        let gone: Vec<Flying> = gone;
        for one in gone {
            core.act(Action::Hangup(one.attempt));
        }
    }

    fn note(&mut self, why: &Failure) {
        let verdict = if why.is_unauthorized() {
            Verdict::Unauthorized
        } else if (why.is_answer() && !why.is_not_ready()) || why.is_wrong_certificate() {
            // A server with another key costs each client a handshake: they come ever more seldom.
            Verdict::Refusal
        } else {
            Verdict::Silence
        };
        if self.failure.is_none() || verdict as u8 >= self.verdict as u8 {
            self.failure = Some(why.clone());
            self.verdict = verdict;
        }
    }

    fn expires(&self, core: &Core, one: &Flying) -> Instant {
        let repeated_beside = matches!(self.sizes, Sizes::Descending(size) if size != one.size);
        let lasts = match core.usual_answer() {
            Some(usual) if repeated_beside => SMALL_LINGERS.max(usual * 3).min(self.timeout),
            _ => self.timeout,
        };
        one.since + lasts
    }

    fn queue_wave(&mut self, core: &mut Core, now: Instant) {
        self.due.clear();
        let patience = core.patience();
        let mut at = now;
        for address in self.targets.iter().copied() {
            match self.sizes {
                Sizes::Once(size) | Sizes::Descending(size @ PacketSize::Base) => {
                    self.due.push(Due { at, address, size });
                }
                Sizes::Descending(size) => {
                    self.due.push(Due { at, address, size });
                    let at = at + patience;
                    self.due.push(Due {
                        at,
                        address,
                        size: PacketSize::Base,
                    });
                }
            }
            at += STAGGER;
        }
        self.due.sort_by_key(|due| due.at);
        self.waves += 1;
        if matches!(self.sizes, Sizes::Once(_)) {
            self.next_wave = None;
            return;
        }
        let pace = if self.waves < EARLY_WAVES {
            WAVE
        } else {
            LATE_WAVE
        };
        let jitter = core.rng.random_range(0.9..1.1);
        // A wave of many addresses, or to a distant server, is dialled to its end first.
        let last = self.due.last().map_or(now, |due| due.at);
        self.next_wave = Some((now + pace.mul_f64(jitter)).max(last + STAGGER));
    }
}
