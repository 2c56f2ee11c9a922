//! What one receive call brought, in order. It lives on the stack and never holds more than a call
//! can bring.

use crate::udp::{RECEIVE_BATCH, Received};

/// The trains of one receive call, on the stack.
#[derive(Default)]
pub(super) struct Trains {
    trains: [Option<Received>; RECEIVE_BATCH],
    len: usize,
}

impl Trains {
    /// Adds one; a call gives no more than there is room for.
    pub(super) fn push(&mut self, received: Received) {
        self.trains[self.len] = Some(received);
        self.len += 1;
    }

    /// Whether there may be more to receive.
    pub(super) fn is_full(&self) -> bool {
        self.len == self.trains.len()
    }

    /// In the order in which they came.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Received> {
        self.trains.into_iter().flatten()
    }
}
