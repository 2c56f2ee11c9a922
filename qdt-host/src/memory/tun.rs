//! TUN devices of a host in memory: connected pairs of queues.

use super::{Call, MemoryHost};
use crate::tun::{Tun, TunError, TunOpener, TunQueue, TunSpec};

impl TunOpener for MemoryHost {
    fn open(&self, spec: &TunSpec) -> Result<Tun, TunError> {
        let name = &spec.name;
        crate::check_interface_name(name)?;
        let mut inner = self
            .enter(Call::OpenTun(spec.clone()))
            .map_err(|_| TunError::Permission { name: name.clone() })?;
        let mut queues = Vec::new();
        for _ in 0..spec.queues {
            let (near, far) = TunQueue::pair().map_err(|source| TunError::Kernel {
                name: name.clone(),
                step: "socketpair",
                source,
            })?;
            queues.push(near);
            inner.far_ends.push(far);
        }
        inner.state.links.entry(name.clone()).or_default();
        Ok(Tun {
            name: name.clone(),
            queues,
        })
    }
}
