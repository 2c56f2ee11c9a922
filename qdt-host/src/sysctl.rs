//! The error of setting a kernel parameter.

use std::{io, path::PathBuf};

/// Why a kernel parameter could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {path} to {value}: {source}: set it outside (`sysctl -w`) or run as root")]
pub struct SysctlError {
    /// The file of the parameter.
    pub path: PathBuf,
    /// The value that was to be written.
    pub value: String,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}
