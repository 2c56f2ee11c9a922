//! Kernel parameters under /proc/sys/net/ipv4, in this thread's network namespace.

use std::{fs, io, path::PathBuf};

use crate::sysctl::SysctlError;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv4").join(name)
}

/// Reads a parameter, without the line end.
pub(crate) fn read(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(name))?.trim_end().to_owned())
}

/// Sets the parameter `name` to `value`; writes only where the value differs.
pub(crate) fn ensure(name: &str, value: &str) -> Result<(), SysctlError> {
    let failed = |source| SysctlError {
        path: path(name),
        value: value.to_owned(),
        source,
    };
    if read(name).map_err(failed)? == value {
        return Ok(());
    }
    fs::write(path(name), value).map_err(failed)
}
