//! The datagrams of one receive call, on the stack.

use crate::udp::{RECEIVE_BUFFERS, Received};

#[derive(Default)]
pub(super) struct Batches {
    batches: [Option<Received>; RECEIVE_BUFFERS],
    len: usize,
}

impl Batches {
    /// Appends a batch; a call returns at most [`RECEIVE_BUFFERS`].
    pub(super) fn push(&mut self, received: Received) {
        self.batches[self.len] = Some(received);
        self.len += 1;
    }

    /// Returns whether the socket may have more.
    pub(super) fn is_full(&self) -> bool {
        self.len == self.batches.len()
    }

    /// Iterates in order of arrival.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Received> {
        self.batches.into_iter().flatten()
    }
}
