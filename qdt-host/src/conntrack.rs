//! Forgetting the connections of an inner address before somebody else is given it.
//!
//! The kernel remembers every connection that passed its NAT (conntrack) for minutes after the last
//! packet. As long as it does, an answer that comes late is translated back to the inner address
//! and delivered to whoever has that address now.

use std::{future::Future, io, net::IpAddr};

/// The system's table of flows.
pub trait Conntrack: Send + Sync {
    /// Removes every entry that one of `addresses` takes part in, as source or destination in
    /// either direction, and returns how many there were. IPv6 entries are not looked for.
    ///
    /// Reads the whole table once, so give all addresses at once. Blocks no thread of the runtime.
    ///
    /// # Errors
    /// [`ConntrackError`]; entries may be left then.
    fn forget(
        &self,
        addresses: &[IpAddr],
    ) -> impl Future<Output = Result<usize, ConntrackError>> + Send;
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
