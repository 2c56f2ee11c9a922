//! A TUN device of the bare kind: one IP packet a read, one a write, without headers and without
//! offload (Documentation/networking/tuntap.rst).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result, ensure};

/// Creates the device in the namespace of the calling thread. Reads and writes do not block.
///
/// # Errors
/// When the kernel refuses it, or the name is longer than 15 bytes.
pub(crate) fn create(name: &str) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(
        name.len() < request.ifr_name.len(),
        "{name}: a device's name has at most 15 bytes"
    );
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    let code = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if code < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("the TUN device {name}"));
    }
    Ok(file)
}
