//! The state of the first connect: one round of attempts.
//!
//! What may leave the machine: whatever left it before, since the host is unchanged; the look-up of
//! the server's name; and our QUIC packets to its addresses.

use std::time::Instant;

use qdt_transport::{ClientEvent, DialError};

use super::State;
use super::action::{Outcome, Report};
use super::certificate_failures::{GIVE_UP_AFTER, Occurrence};
use super::connected::Connected;
use super::core::Core;
use super::disconnected::Disconnected;
use super::event::Event;
use super::race::{Race, Sizes, Step};
use super::stopping::Stopping;
use crate::cause::Cause;
use crate::failure::{ClientError, Failure};

/// One round of the first connect.
#[derive(Debug)]
pub(super) struct Connecting {
    /// When the configured timeout, for the look-up and the attempts together, is over.
    ends: Instant,
    /// `None` until the server's addresses are known.
    race: Option<Race>,
}

impl Connecting {
    /// Starts a round; every round resolves the name again.
    pub(super) fn enter(core: &mut Core, now: Instant) -> State {
        core.resolve();
        State::Connecting(Self {
            ends: now + core.settings.timeout,
            race: None,
        })
    }

    pub(super) fn handle_event(mut self, core: &mut Core, now: Instant, event: Event) -> State {
        match event {
            Event::Resolved(result) => match core.resolved(result) {
                Ok(()) if self.race.is_none() => {
                    let targets = core.addresses.clone();
                    let sizes = Sizes::Descending(core.wanted_size());
                    self.race = Some(Race::start(core, now, targets, sizes, Some(self.ends)));
                    State::Connecting(self)
                }
                Err(cause) if self.race.is_none() => {
                    Disconnected::enter(core, now, Some(Failure::Resolve(cause)))
                }
                _ => State::Connecting(self),
            },
            Event::Worker(event) => self.handle_worker(core, now, event),
            _ => State::Connecting(self),
        }
    }

    fn handle_worker(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        let Some(race) = self.race.take() else {
            core.close_unexpected(&event);
            return State::Connecting(self);
        };
        match race.handle_event(core, now, event) {
            Step::Won(winner) => return Connected::enter(core, now, winner),
            Step::Failed(_, failure) if failure.is_final() => {
                return Stopping::enter(core, Outcome::Failed(ClientError::Connect(failure)));
            }
            Step::Failed(race, failure) => {
                if failure.is_wrong_certificate() {
                    match core.certificate_failures.record(now) {
                        Occurrence::First => core.report(Report::WrongCertificate {
                            failure,
                            give_up_in: GIVE_UP_AFTER,
                        }),
                        Occurrence::Repeated => {}
                        Occurrence::Final => {
                            let error = ClientError::Connect(failure);
                            return Stopping::enter(core, Outcome::Failed(error));
                        }
                    }
                } else if failure.is_answer() {
                    core.certificate_failures.reset();
                }
                self.race = Some(race);
            }
            Step::Running(race) => self.race = Some(race),
        }
        self.end_if_over(core, now)
    }

    pub(super) fn handle_timeout(mut self, core: &mut Core, now: Instant) -> State {
        if let Some(race) = &mut self.race {
            race.handle_timeout(core, now);
        }
        self.end_if_over(core, now)
    }

    fn end_if_over(self, core: &mut Core, now: Instant) -> State {
        match self.race {
            Some(mut race) if race.is_over(now) => {
                if let Some(fallback) = race.take_fallback() {
                    race.abandon(core);
                    return Connected::enter(core, now, fallback);
                }
                let failure = race.failure().cloned();
                race.abandon(core);
                let failure = failure.unwrap_or(Failure::Dial(DialError::Timeout));
                Disconnected::enter(core, now, Some(failure))
            }
            None if self.ends <= now => {
                let cause = Cause::new("the look-up of the server's name took too long");
                Disconnected::enter(core, now, Some(Failure::Resolve(cause)))
            }
            race => State::Connecting(Self { race, ..self }),
        }
    }

    pub(super) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        match &self.race {
            Some(race) => race.poll_timeout(core),
            None => Some(self.ends),
        }
    }
}
