//! The end of a race: the effect of each event of the packet worker.
//!
//! Invariants: a race has at most one winner, and no other attempt of the race outlives it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use qdt_proto::handshake::Assignment;
use qdt_transport::{AttemptId, ClientEvent, DialError, PacketSize};

use super::{Race, Sizes};
use crate::failure::Failure;
use crate::tunnel::action::Action;
use crate::tunnel::core::Core;
use crate::tunnel::event::attempt_of;

/// The winner of a race.
#[derive(Debug)]
pub(in crate::tunnel) struct Winner {
    pub(in crate::tunnel) attempt: AttemptId,
    /// The address of the server that answered.
    pub(in crate::tunnel) address: SocketAddr,
    pub(in crate::tunnel) size: PacketSize,
    pub(in crate::tunnel) assignment: Assignment,
    /// The time from its first packet to its answer.
    pub(in crate::tunnel) took: Duration,
    /// Whether attempts of every size had no answer before: then the winner's size says nothing
    /// about the path.
    pub(in crate::tunnel) after_silence: bool,
}

/// The state of a race after an event.
#[derive(Debug)]
pub(in crate::tunnel) enum Step {
    /// It is over.
    Won(Winner),
    /// One attempt failed.
    Failed(Race, Failure),
    /// It goes on.
    Running(Race),
}

impl Race {
    /// Processes an event; closes a connection that does not belong to the race.
    pub(in crate::tunnel) fn handle_event(
        mut self,
        core: &mut Core,
        now: Instant,
        event: ClientEvent,
    ) -> Step {
        if !attempt_of(&event).is_some_and(|attempt| self.has(attempt)) {
            core.close_unexpected(&event);
            return Step::Running(self);
        }
        let (attempt, failure) = match event {
            ClientEvent::Established {
                attempt,
                assignment,
                size,
            } => return self.establish(core, now, attempt, size, *assignment),
            ClientEvent::Refused {
                attempt,
                status,
                body,
            } => (attempt, Failure::Refused { status, body }),
            ClientEvent::Failed { attempt, error } => (attempt, Failure::Dial(error)),
            ClientEvent::Closed { attempt, reason } => {
                (attempt, Failure::Dial(DialError::Closed(reason)))
            }
            _ => return Step::Running(self),
        };
        self.fail(core, now, attempt, &failure);
        Step::Failed(self, failure)
    }

    /// Records that `attempt` has a session. It wins and all others are closed, or it becomes the
    /// fallback, see [`Self::keep_fallback`].
    fn establish(
        mut self,
        core: &mut Core,
        now: Instant,
        attempt: AttemptId,
        size: PacketSize,
        assignment: Assignment,
    ) -> Step {
        let Some(place) = self.in_flight.iter().position(|one| one.attempt == attempt) else {
            return Step::Running(self);
        };
        let winner = self.in_flight.remove(place);
        let won = Winner {
            attempt,
            address: winner.address,
            size,
            took: now.saturating_duration_since(winner.since),
            after_silence: self.waves > 1,
            assignment,
        };
        let smaller = matches!(self.sizes, Sizes::Descending(wanted) if size < wanted);
        if smaller && won.after_silence && won.assignment.caps.is_none() {
            return Step::Running(self.keep_fallback(core, now, won));
        }
        self.abandon(core);
        Step::Won(won)
    }

    /// Keeps a small winner as the fallback and dials the size that the session needs once more:
    /// the server was unreachable before, so the size says nothing about the path, and it cannot
    /// move the session to a better connection later.
    fn keep_fallback(mut self, core: &mut Core, now: Instant, won: Winner) -> Self {
        for one in std::mem::take(&mut self.in_flight) {
            core.act(Action::Close(one.attempt));
        }
        let Sizes::Descending(size) = self.sizes else {
            return self;
        };
        self.sizes = Sizes::Once(size);
        self.targets = vec![won.address];
        self.next_wave = Some(now);
        self.ends = Some(now + core.attempt_delay());
        self.fallback = Some(Box::new(won));
        self.handle_timeout(core, now);
        self
    }

    /// Takes the fallback, once the race is over.
    pub(in crate::tunnel) fn take_fallback(&mut self) -> Option<Winner> {
        self.fallback.take().map(|fallback| *fallback)
    }
}
