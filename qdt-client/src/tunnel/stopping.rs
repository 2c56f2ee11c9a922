//! The end: the host is put back, then the program exits. Nothing leads out of this state.
//!
//! What may leave the machine: the close of our connections; and, from the moment the routes are
//! gone, whatever left it before there was a tunnel.

use super::State;
use super::action::{Action, Outcome};
use super::core::Core;

/// Nothing is decided any more.
#[derive(Debug)]
pub(super) struct Stopping(());

impl Stopping {
    /// Whatever was still to be done is dropped. Resolvers first, while they can be reached
    /// through the tunnel; routes while their device exists; then the connections.
    pub(super) fn enter(core: &mut Core, outcome: Outcome) -> State {
        core.actions.clear();
        core.restore_host();
        core.act(Action::StopLink);
        core.act(Action::Exit(outcome));
        State::Stopping(Self(()))
    }

    /// Stands in while another state is being replaced.
    pub(super) fn placeholder() -> Self {
        Self(())
    }
}
