//! Which process a client's tunnel on this host belongs to.
//!
//! Invariants: of all processes in one network namespace at most one owns a device name, and the
//! numbers ([`crate::RouteIdentity`]) that follow from it. Ownership ends with the process, however
//! that ends, so what is found of a tunnel without an owner was left behind by a killed run.

/// Why a tunnel cannot be owned. Nothing on the host was changed.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another process owns the name, or a name with the same numbers.
    #[error(
        "a qdt-client with tun_name `{tun}`, or with one that leads to the same routing table \
         {table}, is running on this host: stop it or set another `tun_name`"
    )]
    Running {
        /// The device's name.
        tun: String,
        /// The number of the routing table.
        table: u32,
    },
    /// The name cannot be one, or another program holds the device.
    #[error(transparent)]
    Tun(#[from] crate::TunError),
}

/// A tunnel is owned only in name: a second start would not be refused before its device is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a second start with tun_name `{tun}` cannot be refused: {reason}")]
pub struct OwnerWarning {
    /// The device's name.
    pub tun: String,
    /// Why, and what to do.
    pub reason: String,
}
