//! How a race ends: what each report of the packet worker means for it.
//!
//! What always holds here: an answer is checked before it can win, and a race has at most one
//! winner, after which nothing of it runs any more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize};

use super::{Race, Sizes};
use crate::assignment::Assignment;
use crate::failure::Failure;
use crate::tunnel::action::Action;
use crate::tunnel::core::Core;

/// The winner of a race, and what the way it won tells.
#[derive(Debug)]
pub(in crate::tunnel) struct Won {
    pub(in crate::tunnel) attempt: AttemptId,
    /// The server's address that answered.
    pub(in crate::tunnel) address: SocketAddr,
    pub(in crate::tunnel) size: PacketSize,
    pub(in crate::tunnel) assignment: Assignment,
    /// From its first packet to its answer.
    pub(in crate::tunnel) took: Duration,
    /// Whether larger and smaller attempts alike had got no answer before: then the packet size
    /// that won says nothing about the path.
    pub(in crate::tunnel) after_silence: bool,
}

/// What became of a race with one report.
#[derive(Debug)]
pub(in crate::tunnel) enum Step {
    /// It is decided.
    Won(Won),
    /// One attempt failed.
    Failed(Race, Failure),
    /// Nothing to speak of.
    GoesOn(Race),
}

impl Race {
    /// Takes in a report about one of its attempts.
    pub(in crate::tunnel) fn handle_event(
        mut self,
        core: &mut Core,
        now: Instant,
        event: ClientEvent,
    ) -> Step {
        let (attempt, failure) = match event {
            ClientEvent::Established {
                attempt,
                response,
                size,
            } => match Assignment::check(&response, core.settings.mtu) {
                Ok(assignment) => {
                    return self.establish(core, now, attempt, size, assignment);
                }
                Err(error) => {
                    core.act(Action::Hangup(attempt));
                    (attempt, Failure::Answer(error))
                }
            },
            ClientEvent::Refused {
                attempt,
                status,
                body,
            } => (attempt, Failure::Refused { status, body }),
            ClientEvent::Failed { attempt, error } => (attempt, Failure::Dial(error)),
            ClientEvent::Closed { attempt, reason } => {
                (attempt, Failure::Dial(DialError::Closed(reason)))
            }
            _ => return Step::GoesOn(self),
        };
        self.fail(core, now, attempt, &failure);
        Step::Failed(self, failure)
    }

    /// The attempt got a session. It wins, and every other one is hung up; or the race goes on a
    /// little, see [`Self::hold`].
    fn establish(
        mut self,
        core: &mut Core,
        now: Instant,
        attempt: AttemptId,
        size: PacketSize,
        assignment: Assignment,
    ) -> Step {
        let Some(place) = self.flying.iter().position(|one| one.attempt == attempt) else {
            return Step::GoesOn(self);
        };
        let winner = self.flying.remove(place);
        let won = Won {
            attempt,
            address: winner.address,
            size,
            took: now.saturating_duration_since(winner.since),
            after_silence: self.waves > 1,
            assignment,
        };
        let smaller = matches!(self.sizes, Sizes::Descending(wanted) if size < wanted);
        if smaller && won.after_silence && !won.assignment.extensions {
            return Step::GoesOn(self.hold(core, now, won));
        }
        self.abandon(core);
        Step::Won(won)
    }

    /// A small attempt met a server that was away before, and that cannot move a session to a
    /// better connection later. So it gets one fresh attempt at the size the session needs, for
    /// as long as a small one would have waited for it in the first place.
    fn hold(mut self, core: &mut Core, now: Instant, won: Won) -> Self {
        for one in std::mem::take(&mut self.flying) {
            core.act(Action::Hangup(one.attempt));
        }
        let Sizes::Descending(size) = self.sizes else {
            return self;
        };
        self.sizes = Sizes::Once(size);
        self.targets = vec![won.address];
        self.next_wave = Some(now);
        self.ends = Some(now + core.patience());
        self.held = Some(Box::new(won));
        self.handle_timeout(core, now);
        self
    }

    /// The attempt that was held back, once the race is over.
    pub(in crate::tunnel) fn take_held(&mut self) -> Option<Won> {
        self.held.take().map(|held| *held)
    }
}
