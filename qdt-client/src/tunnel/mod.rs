//! The state machine of one tunnel's life-cycle, without a clock, sockets or randomness.
//!
//! The caller feeds events ([`Tunnel::handle_event`]) and time ([`Tunnel::handle_timeout`], due at
//! [`Tunnel::poll_timeout`]), and after each executes the actions of [`Tunnel::poll_action`] until
//! there are none. All times are from one monotonic clock and never decrease.
//!
//! ```text
//! disconnected <-> connecting -> connected <-> reconnecting
//!        \             |             |              /
//!         `------------+--> stopping <+------------'
//! ```
//!
//! Invariants: the host is unchanged before the first success; from then until `stopping` the TUN
//! device, its routes and name servers stay, so that packets for the tunnel never leave in the
//! clear while there is no connection; the last action is always [`Action::Exit`].

mod action;
mod backoff;
mod certificate_failures;
mod connected;
mod connecting;
mod core;
mod disconnected;
mod event;
mod race;
mod reconnecting;
mod size_upgrade;
mod stopping;

use std::time::Instant;

use qdt_transport::ClientEvent;

pub use self::action::{Action, Outcome, Report};
pub use self::core::Settings;
pub use self::event::Event;

use self::connected::Connected;
use self::connecting::Connecting;
use self::core::Core;
use self::disconnected::Disconnected;
use self::reconnecting::Reconnecting;
use self::stopping::Stopping;
use crate::cause::Cause;
use crate::failure::HostFailure;

/// The state of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Never connected, and between two rounds of attempts.
    Disconnected,
    /// In a round of the first connect.
    Connecting,
    /// A connection carries the tunnel.
    Connected,
    /// The connection is lost or suspect; attempts for another one run.
    Reconnecting,
    /// The host is being restored; the exit follows.
    Stopping,
}

#[derive(Debug)]
enum State {
    Disconnected(Disconnected),
    Connecting(Connecting),
    Connected(Connected),
    Reconnecting(Reconnecting),
    Stopping(Stopping),
}

/// The life-cycle of one tunnel.
#[derive(Debug)]
pub struct Tunnel {
    core: Core,
    state: State,
}

impl Tunnel {
    /// Creates a tunnel that was never connected. `seed` seeds the jitter of all waits.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            core: Core::new(settings, seed),
            state: State::Disconnected(Disconnected::initial()),
        }
    }

    /// Processes `event`.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        self.state = match (self.take_state(), event) {
            (State::Stopping(state), _) => State::Stopping(state),
            (_, Event::Signal) => Stopping::enter(&mut self.core, Outcome::Signal),
            (_, Event::HostFailed(failure)) => {
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (_, Event::Worker(ClientEvent::TunFailed { error })) => {
                let failure = HostFailure::Tun(Cause::new(error));
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (_, Event::Worker(ClientEvent::Broken { error })) => {
                let failure = HostFailure::Worker(Cause::new(error));
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (State::Disconnected(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Connecting(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Connected(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Reconnecting(state), event) => state.handle_event(&mut self.core, now, event),
        };
    }

    /// Advances the time to `now`. Has no effect before [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.state = match self.take_state() {
            State::Disconnected(state) => state.handle_timeout(&mut self.core, now),
            State::Connecting(state) => state.handle_timeout(&mut self.core, now),
            State::Connected(state) => state.handle_timeout(&mut self.core, now),
            State::Reconnecting(state) => state.handle_timeout(&mut self.core, now),
            State::Stopping(state) => State::Stopping(state),
        };
    }

    /// Returns the next action, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] is due; `None` while only an event can change
    /// anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Disconnected(state) => state.poll_timeout(),
            State::Connecting(state) => state.poll_timeout(&self.core),
            State::Connected(state) => state.poll_timeout(&self.core),
            State::Reconnecting(state) => state.poll_timeout(&self.core),
            State::Stopping(_) => None,
        }
    }

    /// Returns the state.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Disconnected(_) => Stage::Disconnected,
            State::Connecting(_) => Stage::Connecting,
            State::Connected(_) => Stage::Connected,
            State::Reconnecting(_) => Stage::Reconnecting,
            State::Stopping(_) => Stage::Stopping,
        }
    }

    /// Moves the state out, so that its handler takes it by value and returns the next one.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Stopping(Stopping::placeholder()))
    }
}
