//! Forgetting the connections of an inner address before somebody else is given it.
//!
//! The kernel remembers every connection that passed its NAT (conntrack) for minutes after the last
//! packet. As long as it does, an answer that comes late is translated back to the inner address
//! and delivered to whoever has that address now.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::linux::conntrack::Table;

/// The kernel's table of connections, through a socket that is opened once and held: a process that
/// has no descriptor left can still forget flows.
#[derive(Debug, Clone)]
pub struct Flows(Arc<Mutex<Table>>);

impl Flows {
    /// Opens the socket in this thread's network namespace. Where the kernel refuses, each use
    /// tries again and reports the error.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Table::open())))
    }

    /// Removes every conntrack entry that one of `addresses` takes part in, as source or
    /// destination in either direction, and returns how many there were.
    ///
    /// Reads the whole table once, so give all addresses at once. Blocking work is done on tokio's
    /// blocking threads.
    ///
    /// # Errors
    /// [`ConntrackError`]; entries may be left then.
    pub async fn forget(&self, addresses: &[Ipv4Addr]) -> Result<usize, ConntrackError> {
        let (table, addresses) = (self.0.clone(), addresses.to_vec());
        let forgotten = tokio::task::spawn_blocking(move || {
            // The table is whole between two requests, whatever ended one of them.
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.forget(&addresses)
        });
        forgotten.await.unwrap_or_else(|error| {
            Err(ConntrackError::Kernel {
                step: "wait for",
                source: io::Error::other(error),
            })
        })
    }
}

/// Why conntrack entries could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The process may not do this.
    #[error("conntrack: permission denied: run as root or give the program CAP_NET_ADMIN")]
    Permission,
    /// The kernel refused for another reason.
    #[error("conntrack: cannot {step} the entries: {source}")]
    Kernel {
        /// What was to be done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
