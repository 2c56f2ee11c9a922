//! The connection is gone, or in doubt, and others are tried.
//!
//! What may leave the machine: the same as in `connected`, because the TUN device, its routes and
//! the resolvers stay. What is routed into the tunnel is carried by the doubted connection if
//! that lives after all, or dropped; it never leaves in the clear. Our own QUIC packets pass
//! outside the tunnel.
//!
//! What always holds here: only a signal or a local error ends this state for the worse; a
//! refusal, also of the token, only makes the pauses longer.

use std::time::Instant;

use super::State;
use super::action::Report;
use super::connected::Connected;
use super::core::Core;
use super::event::{Event, attempt_of};
use super::race::{Race, Sizes, Step};
use crate::cause::Cause;
use qdt_transport::ClientEvent;

/// Attempts under way, or a pause between them.
#[derive(Debug)]
pub(super) struct Reconnecting {
    /// The connection in doubt, as long as it is not known to be dead.
    doubted: Option<Box<Connected>>,
    trying: Trying,
    /// While nothing answers the name is looked up again from time to time.
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
    /// Dials at once where the server was last. What is under way beside already may be the very
    /// connection for which the server ended the old one, so it goes on.
    pub(super) fn enter(
        core: &mut Core,
        now: Instant,
        doubted: Option<Connected>,
        beside: Option<Race>,
    ) -> State {
        core.growth.start_over();
        let race = match beside {
            Some(beside) => Race::continuing(core, now, beside, core.addresses.clone()),
            None => Self::race(core, now),
        };
        core.resolve();
        let resolve_at = now + core.settings.timeout;
        State::Reconnecting(Self {
            doubted: doubted.map(Box::new),
            trying: Trying::Race(race),
            resolve_at,
            resolve_failure: None,
        })
    }

    /// The resolver may take its time or be out of reach, so the race does not wait for it.
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
            Event::Link(event) => {
                let doubted = self.doubted.as_ref().map(|doubted| doubted.attempt());
                if doubted.is_some() && attempt_of(&event) == doubted {
                    self.handle_doubted(core, now, event)
                } else {
                    self.handle_attempt(core, now, event)
                }
            }
            _ => State::Reconnecting(self),
        }
    }

    fn handle_doubted(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        match event {
            ClientEvent::Recovered { .. } => {
                if let Trying::Race(race) = self.trying {
                    race.abandon(core);
                }
                core.report(Report::Recovered);
                let connected = self.doubted.take().expect("the event is about it");
                connected.carry_on(core, now)
            }
            ClientEvent::Closed { reason, .. } => {
                core.report(Report::Lost { reason });
                self.doubted = None;
                State::Reconnecting(self)
            }
            ClientEvent::PathTooSmall { .. } => {
                if let Some(doubted) = &mut self.doubted {
                    doubted.note_too_small();
                }
                State::Reconnecting(self)
            }
            _ => State::Reconnecting(self),
        }
    }

    fn handle_attempt(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        let Trying::Race(race) = self.trying else {
            core.hang_up_stranger(&event);
            return State::Reconnecting(self);
        };
        if !attempt_of(&event).is_some_and(|id| race.has(id)) {
            core.hang_up_stranger(&event);
            self.trying = Trying::Race(race);
            return State::Reconnecting(self);
        }
        match race.handle_event(core, now, event) {
            Step::Won(won) => return Connected::enter(core, now, won),
            Step::Failed(race, _) | Step::GoesOn(race) => self.trying = Trying::Race(race),
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
                if let Some(held) = race.take_held() {
                    race.abandon(core);
                    return Connected::enter(core, now, held);
                }
                let (failure, verdict) = (race.failure().cloned(), race.verdict());
                race.abandon(core);
                let pause = core.backoff.pause_after(verdict, &mut core.rng);
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
