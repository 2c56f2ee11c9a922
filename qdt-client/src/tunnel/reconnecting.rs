//! The state in which the connection is lost or suspect, and attempts for another one run.
//!
//! What may leave the machine: the same as in `connected`, because the TUN device, its routes and
//! the name servers stay. The suspect connection carries what is routed into the tunnel if it still
//! works; otherwise that is dropped and never leaves in the clear. Our QUIC packets pass outside
//! the tunnel.
//!
//! Invariants: only a signal or a local error ends the client here; a refusal, even of the token,
//! only makes the pauses longer.

use std::time::Instant;

use qdt_transport::ClientEvent;

use super::State;
use super::action::Report;
use super::connected::Connected;
use super::core::Core;
use super::event::{Event, attempt_of};
use super::race::{Race, Sizes, Step};
use crate::cause::Cause;

/// A race for another connection, or a pause between two.
#[derive(Debug)]
pub(super) struct Reconnecting {
    /// The suspect connection, until it is closed.
    suspect: Option<Box<Connected>>,
    trying: Trying,
    /// When the name is resolved again.
    resolve_at: Instant,
    /// The error of the last look-up that failed; an error of the same text is logged once.
    resolve_failure: Option<Cause>,
}

#[derive(Debug)]
enum Trying {
    Race(Race),
    Pause(Instant),
}

impl Reconnecting {
    /// Dials the last known addresses at once. A race that runs already goes on: the server may
    /// have closed the old connection because of it.
    pub(super) fn enter(
        core: &mut Core,
        now: Instant,
        suspect: Option<Connected>,
        race: Option<Race>,
    ) -> State {
        core.size_upgrade.reset();
        let race = match race {
            Some(race) => Race::continuing(core, now, race),
            None => Self::race(core, now),
        };
        core.resolve();
        let resolve_at = now + core.settings.timeout;
        State::Reconnecting(Self {
            suspect: suspect.map(Box::new),
            trying: Trying::Race(race),
            resolve_at,
            resolve_failure: None,
        })
    }

    /// Starts a race without waiting for the resolver, which may be slow or out of reach.
    fn race(core: &mut Core, now: Instant) -> Race {
        let targets = core.addresses.clone();
        let sizes = Sizes::Descending(core.wanted_size());
        Race::start(core, now, targets, sizes, None)
    }

    pub(super) fn handle_event(mut self, core: &mut Core, now: Instant, event: Event) -> State {
        match event {
            Event::Resolved(result) => {
                match core.resolved(result) {
                    Ok(()) => {
                        if let Trying::Race(race) = &mut self.trying {
                            race.retarget(&core.addresses);
                        }
                    }
                    Err(cause) if self.resolve_failure.as_ref() == Some(&cause) => {}
                    Err(cause) => {
                        core.report(Report::ResolveFailed(cause.clone()));
                        self.resolve_failure = Some(cause);
                    }
                }
                State::Reconnecting(self)
            }
            Event::Worker(event) => {
                let suspect = self.suspect.as_ref().map(|suspect| suspect.attempt());
                if suspect.is_some() && attempt_of(&event) == suspect {
                    self.handle_suspect(core, now, event)
                } else {
                    self.handle_attempt(core, now, event)
                }
            }
            _ => State::Reconnecting(self),
        }
    }

    fn handle_suspect(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        match event {
            ClientEvent::Recovered { .. } => {
                if let Trying::Race(race) = self.trying {
                    race.abandon(core);
                }
                core.report(Report::Recovered);
                let connected = self.suspect.take().expect("the event concerns it");
                connected.recover(core, now)
            }
            ClientEvent::Closed { reason, .. } => {
                core.report(Report::Lost { reason });
                self.suspect = None;
                State::Reconnecting(self)
            }
            ClientEvent::PathTooSmall { .. } => {
                if let Some(suspect) = &mut self.suspect {
                    suspect.note_too_small();
                }
                State::Reconnecting(self)
            }
            _ => State::Reconnecting(self),
        }
    }

    fn handle_attempt(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        let Trying::Race(race) = self.trying else {
            core.close_unexpected(&event);
            return State::Reconnecting(self);
        };
        match race.handle_event(core, now, event) {
            Step::Won(winner) => return Connected::enter(core, now, winner),
            Step::Failed(race, _) | Step::Running(race) => self.trying = Trying::Race(race),
        }
        self.pause_if_over(core, now)
    }

    pub(super) fn handle_timeout(mut self, core: &mut Core, now: Instant) -> State {
        if self.resolve_at <= now {
            self.resolve_at = now + core.settings.timeout;
            core.resolve();
        }
        match &mut self.trying {
            Trying::Race(race) => race.handle_timeout(core, now),
            Trying::Pause(until) if *until <= now => {
                self.trying = Trying::Race(Self::race(core, now));
            }
            Trying::Pause(_) => {}
        }
        self.pause_if_over(core, now)
    }

    fn pause_if_over(mut self, core: &mut Core, now: Instant) -> State {
        self.trying = match self.trying {
            Trying::Race(mut race) if race.is_over(now) => {
                if let Some(fallback) = race.take_fallback() {
                    race.abandon(core);
                    return Connected::enter(core, now, fallback);
                }
                let (failure, outcome) = (race.failure().cloned(), race.outcome());
                race.abandon(core);
                let pause = core.backoff.pause_after(outcome, &mut core.rng);
                core.report(Report::Retrying { failure, pause });
                Trying::Pause(now + pause)
            }
            trying => trying,
        };
        State::Reconnecting(self)
    }

    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let trying = match &self.trying {
            Trying::Race(race) => race.poll_timeout(core),
            Trying::Pause(until) => Some(*until),
        };
        trying.into_iter().chain([self.resolve_at]).min()
    }
}
