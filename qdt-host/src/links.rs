//! Addresses and properties of network interfaces.

use std::{future::Future, io};

use ipnet::IpNet;

/// Sets up one interface by name. Every call may be repeated and then changes nothing.
pub trait Links: Send + Sync {
    /// Makes `address` the one IPv4 address of the interface; others that it had are removed.
    ///
    /// A prefix shorter than 32 gives the kernel's connected route in the main table too: right
    /// for a server, whose clients are behind the device. A client gives `/32` and leaves the
    /// tunnel's network to [`crate::Routes`], because packets of the tunnel itself follow the main
    /// table and must find no way into the tunnel there.
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

    /// Returns what the interface looks like.
    fn status(&self, interface: &str)
    -> impl Future<Output = Result<LinkStatus, LinkError>> + Send;

    /// Brings the interface up.
    fn set_up(&self, interface: &str) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// What an interface looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its IPv4 addresses.
    pub addresses: Vec<IpNet>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up, with or without a carrier.
    pub up: bool,
}

/// Why an interface could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no such interface (any more).
    #[error("interface `{interface}` does not exist")]
    Missing {
        /// Its name.
        interface: String,
    },
    /// The process may not do this.
    #[error(
        "interface `{interface}`: cannot {step}: permission denied: run as root or give the \
         program CAP_NET_ADMIN"
    )]
    Permission {
        /// The interface's name.
        interface: String,
        /// What was to be done.
        step: String,
    },
    /// The kernel refused for another reason.
    #[error("interface `{interface}`: cannot {step}: {source}")]
    Kernel {
        /// The interface's name.
        interface: String,
        /// What was to be done.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
