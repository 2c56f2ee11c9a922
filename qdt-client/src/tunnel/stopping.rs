//! The final state: the host is restored, then the program exits.
//!
//! What may leave the machine: the CONNECTION_CLOSE of our connections and, once the routes are
//! removed, whatever left it before the tunnel was up.

use super::State;
use super::action::{Action, Outcome};
use super::core::Core;

/// The state without a successor.
#[derive(Debug)]
pub(super) struct Stopping(());

impl Stopping {
    /// Drops pending actions and restores the host: the name servers while the tunnel still reaches
    /// them, the routes while their device exists, then the connections.
    pub(super) fn enter(core: &mut Core, outcome: Outcome) -> State {
        core.actions.clear();
        core.restore_host();
        core.act(Action::StopWorker);
        core.act(Action::Exit(outcome));
        State::Stopping(Self(()))
    }

    /// Returns the placeholder for a state that is being replaced.
    pub(super) fn placeholder() -> Self {
        Self(())
    }
}
