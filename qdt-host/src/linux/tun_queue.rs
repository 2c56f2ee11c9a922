//! One queue of a TUN device as a descriptor of /dev/net/tun.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::Offload;

/// One queue of a TUN device: non-blocking, one IP packet (or super-packet) a call.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    offload: Offload,
}

impl TunQueue {
    /// Wraps a descriptor that carries one packet per read and write and is non-blocking already.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, offload: Offload) -> Self {
        Self { fd, offload }
    }

    /// Two queues of no device that are each other's far end: what is written to one is read from
    /// the other, packet by packet, without header and offload.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        // SOCK_SEQPACKET keeps packet boundaries, is ordered and can be polled, as a TUN queue is.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((
            Self::from_fd(one, Offload::NONE),
            Self::from_fd(other, Offload::NONE),
        ))
    }

    /// What this queue hands out and accepts beside plain packets. It does not change.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Reads one packet (with its `virtio_net_hdr` where [`Offload::vnet_header`]) into `buffer`
    /// and returns its length in bytes. A packet longer than `buffer` is cut by the kernel: give
    /// 10 + 65 535 bytes.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; anything else means that the device is gone, which the text
    /// says, or down (`EIO`).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)).map_err(in_words)
    }

    /// Writes one packet (with its `virtio_net_hdr` where [`Offload::vnet_header`]) and returns
    /// its length in bytes: it is taken whole or not at all.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room, `EINVAL` for what is no IP packet or a header the
    /// kernel does not take, `EIO` while the device is down; once it is deleted the text says so.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, packet)).map_err(in_words)
    }
}

/// The kernel says "File descriptor in bad state" of a queue whose device was deleted.
fn in_words(error: rustix::io::Errno) -> io::Error {
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
