//! Never connected, and not trying right now: before the start, or between two rounds of the
//! first connect.
//!
//! What may leave the machine: whatever left it before; the host is as it was found. Of our own
//! nothing.

use std::time::Instant;

use super::State;
use super::action::Report;
use super::backoff::Backoff;
use super::connecting::Connecting;
use super::core::Core;
use super::event::Event;
use crate::failure::Failure;

/// Waiting for the start, or for the end of a pause.
#[derive(Debug)]
pub(super) struct Disconnected {
    /// `None` until the program is ready.
    retry_at: Option<Instant>,
}

impl Disconnected {
    pub(super) fn before_the_start() -> Self {
        Self { retry_at: None }
    }

    /// A round of the first connect gave no session, for a reason that may pass.
    pub(super) fn enter(core: &mut Core, now: Instant, failure: Option<Failure>) -> State {
        let pause = if failure.as_ref().is_some_and(Failure::is_wrong_certificate) {
            // It has been told, once.
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
                // A look-up that took longer than its round: its addresses serve the next one.
                let _ = core.resolved(result);
                State::Disconnected(self)
            }
            Event::Link(event) => {
                core.hang_up_stranger(&event);
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
