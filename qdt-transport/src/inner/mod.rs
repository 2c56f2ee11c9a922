//! The path of inner packets through a worker: from the TUN into a session's carrier, and from a
//! carrier into the TUN. Client and server share it and differ in a policy, which is compiled in.
//!
//! Invariants: packets keep their order; a dropped one is counted once, with its reason.

mod inbound;
mod outbound;

use std::sync::Arc;

pub(crate) use inbound::{InboundPolicy, Route, receive};
pub(crate) use outbound::{OutboundPolicy, send};

use crate::arena::Arena;
use crate::counters::WorkerCounters;
use crate::tun_port::TunPort;

/// Bytes for the sealed datagrams of a turn: several TUN super-packets.
const SEAL_ARENA: usize = 1 << 20;

/// The resources of a worker that all its sessions share.
pub(crate) struct DataPath {
    pub(crate) counters: Arc<WorkerCounters>,
    /// Memory for sealed datagrams.
    pub(crate) arena: Arena,
    /// `None` before a TUN is attached, and after it failed.
    pub(crate) tun: Option<TunPort>,
}

impl DataPath {
    pub(crate) fn new(tun: Option<TunPort>) -> Self {
        Self {
            counters: Arc::default(),
            arena: Arena::new(SEAL_ARENA),
            tun,
        }
    }

    /// Writes the committed packets to the kernel. Returns whether there were any.
    pub(crate) fn flush_tun(&mut self) -> bool {
        let tun = self.tun.as_mut();
        tun.is_some_and(|tun| tun.flush(&self.counters))
    }
}
