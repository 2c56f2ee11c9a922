//! The lab's requirements of its host.
//!
//! Invariants: a lab that cannot be built fails with a message; it never passes by doing nothing.

use std::path::{Path, PathBuf};

/// Programs the lab calls, with the Debian package that has them.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ethtool", "ethtool"),
];

/// Checks everything the lab needs from the host.
///
/// # Panics
/// With the message of [`requirements`].
pub fn check_requirements() {
    requirements().unwrap_or_else(|message| panic!("{message}"));
}

/// Whether the host has everything the lab needs.
///
/// # Errors
/// One message that names every missing thing and what to do.
pub fn requirements() -> Result<(), String> {
    let mut missing = Vec::new();
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        missing.push(
            "root (network namespaces and TUN devices): run scripts/test, it uses sudo".to_owned(),
        );
    }
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun: modprobe tun".to_owned());
    }
    for (tool, package) in TOOLS {
        if find_in_path(tool).is_none() {
            missing.push(format!("{tool}: apt-get install {package}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "THE NETWORK LAB CANNOT RUN HERE. Missing:\n  {}",
        missing.join("\n  ")
    ))
}

/// The full path of a program, looked up in PATH and the sbin folders.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/go/bin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|candidate| candidate.is_file())
}
