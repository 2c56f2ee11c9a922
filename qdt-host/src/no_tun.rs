//! The TUN queue of systems without TUN support: a type without values.

use std::{convert::Infallible, io};

use crate::Offload;

/// One queue of a TUN device.
#[derive(Debug)]
pub struct TunQueue(Infallible);

impl TunQueue {
    /// Creates two connected queues.
    ///
    /// # Errors
    /// Always [`io::ErrorKind::Unsupported`].
    pub fn pair() -> io::Result<(Self, Self)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the offload of the queue.
    #[must_use]
    pub fn offload(&self) -> Offload {
        match self.0 {}
    }

    /// Reads one packet.
    ///
    /// # Errors
    /// None.
    pub fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// None.
    pub fn write(&self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
