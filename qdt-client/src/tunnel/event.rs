//! The input of the life-cycle: events from the driver.
//!
//! Invariants: an event states a fact; the states decide what follows.

use std::net::SocketAddr;

use qdt_transport::{AttemptId, ClientEvent};

use crate::cause::Cause;
use crate::failure::HostFailure;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The program is ready.
    Started,
    /// The look-up of [`super::Action::Resolve`] ended: the addresses in the order to dial them, or
    /// the resolver's error.
    Resolved(Result<Vec<SocketAddr>, Cause>),
    /// A report of the packet worker.
    Worker(ClientEvent),
    /// The host refused an action, or another program removed the device.
    HostFailed(HostFailure),
    /// A signal that stops the program.
    Signal,
}

/// Returns the attempt that `event` concerns, if any.
pub(super) fn attempt_of(event: &ClientEvent) -> Option<AttemptId> {
    match event {
        ClientEvent::Established { attempt, .. }
        | ClientEvent::Refused { attempt, .. }
        | ClientEvent::Failed { attempt, .. }
        | ClientEvent::Suspect { attempt }
        | ClientEvent::Recovered { attempt }
        | ClientEvent::PathTooSmall { attempt }
        | ClientEvent::Closed { attempt, .. } => Some(*attempt),
        ClientEvent::TunFailed { .. } | ClientEvent::Broken { .. } => None,
    }
}
