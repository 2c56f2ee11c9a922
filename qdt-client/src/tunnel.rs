//! The life-cycle of one tunnel, as a state machine without clock, sockets or randomness of its
//! own.
//!
//! The caller feeds events ([`Tunnel::handle_event`]) and the passing of time
//! ([`Tunnel::handle_timeout`], when [`Tunnel::poll_timeout`] has come), and after each carries out
//! what [`Tunnel::poll_action`] gives, until it gives nothing. All times are of one monotonic
//! clock and never go back.
//!
//! ```text
//! disconnected <-> connecting -> connected <-> reconnecting
//!        \             |             |              /
//!         `------------+--> stopping <+------------'
//! ```
//!
//! What always holds here: before the first success nothing on the host is changed; after it the
//! TUN device, its routes and resolvers stay as they are until `stopping`, so that packets meant
//! for the tunnel never leave in the clear while a connection is missing; and the last action is
//! always [`Action::Exit`].

mod action;
mod backoff;
mod connected;
mod connecting;
mod core;
mod disconnected;
mod event;
mod growth;
mod imposture;
mod race;
mod reconnecting;
mod stopping;

use std::time::Instant;

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
use qdt_transport::ClientEvent;

/// Where in its life the tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Never connected, and not trying right now.
    Disconnected,
    /// Trying for the first time.
    Connecting,
    /// A connection carries the tunnel.
    Connected,
    /// The connection is gone or in doubt, others are being tried.
    Reconnecting,
    /// The host is being put back; nothing follows but the exit.
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
    /// A tunnel that was never connected. `seed` feeds the jitter of every wait.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            core: Core::new(settings, seed),
            state: State::Disconnected(Disconnected::before_the_start()),
        }
    }

    /// Takes in what happened.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        self.state = match (self.take_state(), event) {
            (State::Stopping(state), _) => State::Stopping(state),
            (_, Event::Signal) => Stopping::enter(&mut self.core, Outcome::Signal),
            (_, Event::HostFailed(failure)) => {
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (_, Event::Link(ClientEvent::TunFailed { error })) => {
                let failure = HostFailure::Tun(Cause::new(error));
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (_, Event::Link(ClientEvent::Broken { error })) => {
                let failure = HostFailure::Worker(Cause::new(error));
                Stopping::enter(&mut self.core, Outcome::Failed(failure.into()))
            }
            (State::Disconnected(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Connecting(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Connected(state), event) => state.handle_event(&mut self.core, now, event),
            (State::Reconnecting(state), event) => state.handle_event(&mut self.core, now, event),
        };
    }

    /// Lets the time pass to `now`. Harmless before [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.state = match self.take_state() {
            State::Disconnected(state) => state.handle_timeout(&mut self.core, now),
            State::Connecting(state) => state.handle_timeout(&mut self.core, now),
            State::Connected(state) => state.handle_timeout(&mut self.core, now),
            State::Reconnecting(state) => state.handle_timeout(&mut self.core, now),
            State::Stopping(state) => State::Stopping(state),
        };
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is due; `None` while only an event can change anything.
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

    /// Where in its life the tunnel is.
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

    /// Moves the state out, so that each state's handlers take it by value and return the next.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Stopping(Stopping::placeholder()))
    }
}
