//! The signal that lets the workers serve.
//!
//! The UDP sockets are bound first, so that an address in use fails the start at once. Datagrams
//! wait in their bounded receive buffers until the signal.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    Stopped,
}

#[derive(Debug)]
pub(super) struct StartSignal {
    state: Mutex<State>,
    changed: Condvar,
}

impl StartSignal {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Waiting),
            changed: Condvar::new(),
        }
    }

    /// Lets the workers serve.
    pub(super) fn open(&self) {
        self.change(State::Open);
    }

    /// Keeps the workers from serving if they have not started.
    pub(super) fn stop(&self) {
        self.change(State::Stopped);
    }

    /// Blocks until [`Self::open`] or [`Self::stop`]. Returns whether to serve.
    pub(super) fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| *state == State::Waiting;
        let state = self.changed.wait_while(state, waits);
        *state.unwrap_or_else(PoisonError::into_inner) == State::Open
    }

    fn change(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Workers that serve are stopped by a command.
        if *state == State::Waiting {
            *state = to;
            self.changed.notify_all();
        }
    }
}
