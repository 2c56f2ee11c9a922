//! Ownership of a client's tunnel by one process of the host.
//!
//! Invariants: at most one process of a network namespace owns a device name and the numbers
//! derived from it ([`crate::RouteIdentity`]). Ownership ends with the process, however that ends,
//! so state of a tunnel without an owner is a leftover of a killed run.

/// Why a tunnel cannot be claimed. Nothing on the host was changed.
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
    /// The name is invalid, or another program has the device open.
    #[error(transparent)]
    Tun(#[from] crate::TunError),
}

/// The claim is not enforced: a second client is refused only when it opens the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a second start with tun_name `{tun}` cannot be refused: {reason}")]
pub struct OwnerWarning {
    /// The device's name.
    pub tun: String,
    /// The reason, and what to do about it.
    pub reason: String,
}
