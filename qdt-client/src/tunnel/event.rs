//! What the life-cycle learns from outside.
//!
//! What always holds here: events are facts; what follows from them is decided by the states.

use std::net::SocketAddr;

use crate::cause::Cause;
use crate::failure::HostFailure;
use qdt_transport::{AttemptId, ClientEvent};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The program is ready to go.
    Started,
    /// The look-up of [`super::Action::Resolve`] ended: the addresses in the order to dial them, or
    /// the resolver's error.
    Resolved(Result<Vec<SocketAddr>, Cause>),
    /// The packet worker reports.
    Link(ClientEvent),
    /// This host refused an action, or took something away.
    HostFailed(HostFailure),
    /// A signal that stops the program.
    Signal,
}

/// The attempt that a report is about, if it is about one.
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
