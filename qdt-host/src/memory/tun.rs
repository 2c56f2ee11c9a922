//! TUN devices of a host in memory: pairs of connected local sockets.
//!
//! `SOCK_SEQPACKET` keeps packet boundaries, is ordered and can be polled, as a TUN queue is. There
//! is no header and no offload.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Call, MemoryHost};
use crate::tun::{Offload, Tun, TunError, TunOpener, TunQueue, TunSpec};

impl TunOpener for MemoryHost {
    fn open(&self, spec: &TunSpec) -> Result<Tun, TunError> {
        let name = &spec.name;
        crate::check_interface_name(name)?;
        let mut inner = self
            .enter(Call::OpenTun(spec.clone()))
            .map_err(|_| TunError::Permission { name: name.clone() })?;
        let mut queues = Vec::new();
        for _ in 0..spec.queues {
            let (near, far) = socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )
            .map_err(|error| TunError::Kernel {
                name: name.clone(),
                step: "socketpair",
                source: error.into(),
            })?;
            queues.push(TunQueue::from_fd(near, Offload::NONE));
            inner.far_ends.push(TunQueue::from_fd(far, Offload::NONE));
        }
        inner.state.links.entry(name.clone()).or_default();
        Ok(Tun {
            name: name.clone(),
            queues,
        })
    }
}
