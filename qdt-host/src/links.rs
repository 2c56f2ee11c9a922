//! Addresses and properties of network interfaces.

use std::{future::Future, io};

use ipnet::IpNet;

/// Sets up one interface by name. Every call is idempotent.
pub trait Links: Send + Sync {
    /// Makes `address` the only IPv4 address of the interface; removes all others.
    ///
    /// With a prefix shorter than 32 the kernel adds a connected route to the main table. A server
    /// needs it, since its clients are behind the device. A client passes `/32` and leaves the
    /// tunnel's network to [`crate::Routes`]: the transport's packets follow the main table, which
    /// must not lead into the tunnel.
    fn set_address(
        &self,
        interface: &str,
        address: IpNet,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Sets the MTU in bytes (68 to 65 535 for a TUN device).
    fn set_mtu(
        &self,
        interface: &str,
        mtu: u32,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Returns the state of the interface.
    fn status(&self, interface: &str)
    -> impl Future<Output = Result<LinkStatus, LinkError>> + Send;

    /// Brings the interface up.
    fn set_up(&self, interface: &str) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// The state of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its IPv4 addresses.
    pub addresses: Vec<IpNet>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up, with or without a carrier.
    pub up: bool,
}

/// Why an interface could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The interface does not exist, or no longer.
    #[error("interface `{interface}` does not exist")]
    Missing {
        /// Its name.
        interface: String,
    },
    /// The process lacks the permission.
    #[error(
        "interface `{interface}`: cannot {step}: permission denied: run as root or give the \
         program CAP_NET_ADMIN"
    )]
    Permission {
        /// The interface's name.
        interface: String,
        /// The operation that failed.
        step: String,
    },
    /// The kernel returned another error.
    #[error("interface `{interface}`: cannot {step}: {source}")]
    Kernel {
        /// The interface's name.
        interface: String,
        /// The operation that failed.
        step: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}
