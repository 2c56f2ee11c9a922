//! Deletion of an inner address's flows before the server leases it to another client.
//!
//! The kernel keeps an entry of every connection that passed its NAT (conntrack) for minutes after
//! the last packet. While it does, it translates a late reply back to the inner address, and the
//! reply reaches the client that holds the address now.

use std::{future::Future, io, net::IpAddr};

/// The system's connection tracking table.
pub trait Conntrack: Send + Sync {
    /// Deletes every IPv4 entry that has one of `addresses` as source or destination, in either
    /// direction, and returns their number.
    ///
    /// Reads the whole table once, so pass all addresses at once. Blocks no thread of the runtime.
    ///
    /// # Errors
    /// [`ConntrackError`]; some entries may remain then.
    fn delete_flows(
        &self,
        addresses: &[IpAddr],
    ) -> impl Future<Output = Result<usize, ConntrackError>> + Send;
}

/// Why conntrack entries could not be deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The process may not do this.
    #[error("conntrack: permission denied: run as root or give the program CAP_NET_ADMIN")]
    Permission,
    /// The kernel returned another error.
    #[error("conntrack: cannot {step} the entries: {source}")]
    Kernel {
        /// The operation that failed.
        step: &'static str,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}
