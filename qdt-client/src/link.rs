//! The seam between the life-cycle and the packet worker: commands one way, events the other.
//!
//! The packet worker ([`WorkerLink`]) is one end that a tunnel can have; tests give it another
//! ([`MemoryLink`]). What always holds here: events come in the order in which they happened, and
//! no value that passes holds the token, so that all of them may be printed.

mod memory;
mod worker;

use qdt_transport::ClientCommand;

pub use self::memory::MemoryLink;
pub(crate) use self::worker::WorkerLink;

/// Takes commands to the packet worker. Never blocks.
pub trait Link: Send {
    /// Hands one command over.
    ///
    /// # Errors
    /// The worker is gone; the tunnel cannot go on.
    fn send(&mut self, command: ClientCommand) -> Result<(), LinkGone>;
}

/// The packet worker has ended, so nothing can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet worker has ended")]
pub struct LinkGone;
