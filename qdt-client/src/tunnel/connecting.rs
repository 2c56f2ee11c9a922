//! Trying for the first time.
//!
//! What may leave the machine: whatever left it before, since the host is as it was found; the
//! look-up of the server's name; and our own QUIC packets to its addresses.

use std::time::Instant;

use super::State;
use super::action::{Outcome, Report};
use super::connected::Connected;
use super::core::Core;
use super::disconnected::Disconnected;
use super::event::{Event, attempt_of};
use super::imposture::{PATIENCE, Sighting};
use super::race::{Race, Sizes, Step};
use super::stopping::Stopping;
use crate::cause::Cause;
use crate::failure::{ClientError, Failure};
use qdt_transport::{ClientEvent, DialError};

/// One round of the first connect.
#[derive(Debug)]
pub(super) struct Connecting {
    /// The configured timeout holds for the look-up and the attempts together.
    ends: Instant,
    /// `None` until the server's addresses are known.
    race: Option<Race>,
}

impl Connecting {
    /// Every round looks the name up anew.
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
            Event::Link(event) => self.handle_link(core, now, event),
            _ => State::Connecting(self),
        }
    }

    fn handle_link(mut self, core: &mut Core, now: Instant, event: ClientEvent) -> State {
        let attempt = attempt_of(&event);
        let race = match self.race.take() {
            Some(race) if attempt.is_some_and(|id| race.has(id)) => race,
            race => {
                core.hang_up_stranger(&event);
                return State::Connecting(Self { race, ..self });
            }
        };
        match race.handle_event(core, now, event) {
            Step::Won(won) => return Connected::enter(core, now, won),
            Step::Failed(_, failure) if failure.is_final() => {
                return Stopping::enter(core, Outcome::Failed(ClientError::Connect(failure)));
            }
            Step::Failed(race, failure) => {
                if failure.is_wrong_certificate() {
                    match core.imposture.seen(now) {
                        Sighting::First => core.report(Report::WrongCertificate {
                            failure,
                            patience: PATIENCE,
                        }),
                        Sighting::Again => {}
                        Sighting::Last => {
                            let error = ClientError::Connect(failure);
                            return Stopping::enter(core, Outcome::Failed(error));
                        }
                    }
                } else if failure.is_answer() {
                    core.imposture.server_heard();
                }
                self.race = Some(race);
            }
            Step::GoesOn(race) => self.race = Some(race),
        }
        self.leave_if_over(core, now)
    }

    pub(super) fn handle_timeout(mut self, core: &mut Core, now: Instant) -> State {
        if let Some(race) = &mut self.race {
            race.handle_timeout(core, now);
        }
        self.leave_if_over(core, now)
    }

    fn leave_if_over(self, core: &mut Core, now: Instant) -> State {
        match self.race {
            Some(mut race) if race.is_over(now) => {
                if let Some(held) = race.take_held() {
                    race.abandon(core);
                    return Connected::enter(core, now, held);
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
