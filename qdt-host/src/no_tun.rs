//! The queue of a TUN device where this crate knows no such devices: there never is one.

use std::{convert::Infallible, io};

use crate::Offload;

/// One queue of a TUN device.
#[derive(Debug)]
pub struct TunQueue(Infallible);

impl TunQueue {
    /// Two queues that are each other's far end.
    ///
    /// # Errors
    /// Always [`io::ErrorKind::Unsupported`].
    pub fn pair() -> io::Result<(Self, Self)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What this queue hands out and accepts beside plain packets.
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
