//! A switch of the kernel's network that a tunnel needs and cannot have.

use std::{io, path::PathBuf};

/// Why a switch could not be set.
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
