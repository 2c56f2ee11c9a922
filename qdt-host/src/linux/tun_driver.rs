//! Safe functions for the ioctls of /dev/net/tun.
//!
//! `include/uapi/linux/if_tun.h` and `drivers/net/tun.c` of Linux. An attached descriptor is one
//! queue of one device. All descriptors are non-blocking and closed on exec.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{c_int, c_uint};
use rustix::fs::{Mode, OFlags};

/// Length of the header before each packet: `struct virtio_net_hdr` without `num_buffers`.
const VNET_HEADER_LEN: c_int = 10;

/// Opens the driver and returns a descriptor that is not attached yet.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Attaches `fd` as a queue of the TUN device `name`; creates a missing device. Returns whether a
/// header precedes each packet (`IFF_VNET_HDR`), as the kernel reports it.
pub(super) fn attach(
    fd: &OwnedFd,
    name: &str,
    vnet_header: bool,
    multi_queue: bool,
) -> io::Result<bool> {
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    if vnet_header {
        flags |= libc::IFF_VNET_HDR;
    }
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` is one and outlives the
    // call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    // SAFETY: TUNGETIFF writes one `struct ifreq`; as above.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: both ioctls leave the union's `ifru_flags` member set.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_VNET_HDR != 0)
}

/// Sets the length of the header to 10 bytes: a persistent device may have kept another length.
pub(super) fn set_vnet_header_len(fd: &OwnedFd) -> io::Result<()> {
    let len = VNET_HEADER_LEN;
    // SAFETY: TUNSETVNETHDRSZ reads one `int` through the pointer, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}

/// Sets the super-packets (`TUN_F_*`) that the driver may deliver.
///
/// # Errors
/// `EINVAL` for a bit that this kernel does not know.
pub(super) fn set_offload(fd: &OwnedFd, features: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(features),
        )
    })
}

/// Returns a `struct ifreq` for `name` (at most 15 bytes), otherwise zero.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data for which all bits zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .zip(name.bytes().take(crate::interface::MAX_NAME))
    {
        *to = from as libc::c_char;
    }
    request
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
