//! Junk for a UDP port, many datagrams a call.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use crate::Machine;

/// Sends junk to a UDP port, many datagrams a call (UDP_SEGMENT, udp(7)).
#[derive(Debug)]
pub struct JunkSender {
    socket: UdpSocket,
}

impl JunkSender {
    /// Most segments of one call, and most bytes.
    const SEGMENTS: usize = 60;
    const BYTES: usize = 60_000;

    /// A sender on `machine` toward `to`.
    ///
    /// # Panics
    /// When no socket can be had.
    #[must_use]
    #[track_caller]
    pub fn on(machine: &Machine, to: SocketAddr) -> Self {
        let socket = machine
            .enter(|| {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                socket.connect(to)?;
                Ok::<_, io::Error>(socket)
            })
            .expect("a UDP socket");
        Self { socket }
    }

    /// Sends a batch of datagrams of `size` bytes each, filled by `fill`; returns how many.
    ///
    /// # Panics
    /// When the kernel refuses UDP segmentation.
    pub fn send_batch(&self, size: u16, mut fill: impl FnMut(&mut [u8])) -> usize {
        let segment = libc::c_int::from(size);
        // SAFETY: the value outlives the call and its size is given.
        let code = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const segment).cast(),
                size_of_val(&segment) as libc::socklen_t,
            )
        };
        assert!(code == 0, "UDP_SEGMENT: {}", io::Error::last_os_error());
        let count = Self::SEGMENTS.min(Self::BYTES / usize::from(size));
        let mut batch = vec![0; count * usize::from(size)];
        batch.chunks_mut(size.into()).for_each(&mut fill);
        // Refused now and then because of an ICMP error that came back.
        match self.socket.send(&batch) {
            Ok(_) => count,
            Err(_) => 0,
        }
    }
}
