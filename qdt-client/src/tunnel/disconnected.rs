//! The state before the start and between two rounds of the first connect.
//!
//! What may leave the machine: whatever left it before, since the host is unchanged. The client
//! itself sends nothing.

use std::time::Instant;

use super::State;
use super::action::Report;
use super::backoff::Backoff;
use super::connecting::Connecting;
use super::core::Core;
use super::event::Event;
use crate::failure::Failure;

/// The wait for the start or for the end of a pause.
#[derive(Debug)]
pub(super) struct Disconnected {
    /// `None` until the program is ready.
    retry_at: Option<Instant>,
}

impl Disconnected {
    pub(super) fn initial() -> Self {
        Self { retry_at: None }
    }

    /// Enters the pause after a round of the first connect failed for a temporary reason.
    pub(super) fn enter(core: &mut Core, now: Instant, failure: Option<Failure>) -> State {
        let pause = if failure.as_ref().is_some_and(Failure::is_wrong_certificate) {
            // Logged once already.
            Backoff::short_pause(&mut core.rng)
        } else {
            let pause = core.backoff.pause(&mut core.rng);
            core.report(Report::Retrying { failure, pause });
            pause
        };
        State::Disconnected(Self {
            retry_at: Some(now + pause),
        })
    }

    pub(super) fn handle_event(self, core: &mut Core, now: Instant, event: Event) -> State {
        match event {
            Event::Started if self.retry_at.is_none() => Connecting::enter(core, now),
            Event::Resolved(result) => {
                // A look-up that outlasted its round: the next round uses its addresses.
                let _ = core.resolved(result);
                State::Disconnected(self)
            }
            Event::Worker(event) => {
                core.close_unexpected(&event);
                State::Disconnected(self)
            }
            _ => State::Disconnected(self),
        }
    }

    pub(super) fn handle_timeout(self, core: &mut Core, now: Instant) -> State {
        match self.retry_at {
            Some(at) if at <= now => Connecting::enter(core, now),
            _ => State::Disconnected(self),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }
}
