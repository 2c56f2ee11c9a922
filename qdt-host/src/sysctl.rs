//! The switches of the kernel's IPv4 code that a tunnel needs.

use std::{io, path::PathBuf};

/// Lets the kernel forward IPv4 packets between interfaces (`net.ipv4.ip_forward`). It is left on:
/// others on this host may rely on it by the time we stop.
///
/// # Errors
/// [`SysctlError`]; where the switch is on already nothing is written and there is no error, also
/// in a container that may not write there.
pub fn enable_ip_forward() -> Result<(), SysctlError> {
    crate::linux::sysctl::ensure("ip_forward", "1")
}

/// Whether the kernel forwards IPv4 packets between interfaces. A switch that cannot be read counts
/// as on.
#[must_use]
pub fn ip_forward() -> bool {
    crate::linux::sysctl::read("ip_forward").map_or(true, |value| value != "0")
}

/// Why a switch could not be read or set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {path} to {value}: {source}: set it outside (`sysctl -w`) or run as root")]
pub struct SysctlError {
    /// The file of the switch.
    pub path: PathBuf,
    /// What it was to become.
    pub value: String,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}
