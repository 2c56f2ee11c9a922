//! The moment from which on workers serve.
//!
//! The UDP sockets are bound before everything behind them is ready, so that an address in use ends
//! the start at once. What arrives meanwhile waits in the sockets' receive buffers, whose size
//! bounds it, and is answered when the server opens.

use std::sync::{Condvar, Mutex, PoisonError};

/// How far the workers have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Opening {
    state: Mutex<State>,
    changed: Condvar,
}

impl Opening {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Waiting),
            changed: Condvar::new(),
        }
    }

    /// Workers serve from now on.
    pub(super) fn open(&self) {
        self.change(State::Open);
    }

    /// Workers that have not begun never do.
    pub(super) fn stop(&self) {
        self.change(State::Stopped);
    }

    /// Blocks until one of the two is called; whether the worker is to serve.
    pub(super) fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| *state == State::Waiting;
        let state = self.changed.wait_while(state, waits);
        *state.unwrap_or_else(PoisonError::into_inner) == State::Open
    }

    fn change(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Workers that serve are stopped by an order, which they take in their own time.
        if *state == State::Waiting {
            *state = to;
            self.changed.notify_all();
        }
    }
}
