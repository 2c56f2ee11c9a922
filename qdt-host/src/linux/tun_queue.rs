//! A queue of a TUN device: a descriptor of /dev/net/tun.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::Offload;

/// A queue of a TUN device: non-blocking, one IP packet or super-packet per call.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    offload: Offload,
}

impl TunQueue {
    /// Wraps a non-blocking descriptor that transfers one packet per read and write.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, offload: Offload) -> Self {
        Self { fd, offload }
    }

    /// Creates two connected queues without a device: a packet written to one is read from the
    /// other, without header and offload.
    ///
    /// # Errors
    /// The process has no free descriptor.
    pub fn pair() -> io::Result<(Self, Self)> {
        // SOCK_SEQPACKET keeps packet boundaries, is ordered and can be polled, as a TUN queue is.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((
            Self::from_fd(one, Offload::NONE),
            Self::from_fd(other, Offload::NONE),
        ))
    }

    /// Returns the offload of the queue, which never changes.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Reads one packet (with its `virtio_net_hdr` where [`Offload::vnet_header`]) into `buffer`
    /// and returns its length in bytes. The kernel truncates a packet longer than `buffer`: pass
    /// 10 + 65 535 bytes.
    ///
    /// # Errors
    /// `WouldBlock` without a packet; `EIO` while the device is down; otherwise the device was
    /// deleted, which the text says.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)).map_err(explain)
    }

    /// Writes one packet (with its `virtio_net_hdr` where [`Offload::vnet_header`]) and returns
    /// its length in bytes. There are no partial writes.
    ///
    /// # Errors
    /// `WouldBlock` when the queue is full, `EINVAL` for an invalid IP packet or header, `EIO`
    /// while the device is down; a text for a deleted device.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, packet)).map_err(explain)
    }
}

/// Explains `EBADFD` ("File descriptor in bad state"), the kernel's error for a deleted device.
fn explain(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::BADFD => io::Error::other(
            "the TUN device was deleted by another program: find out which one (`ip monitor link`) and start again",
        ),
        other => other.into(),
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
