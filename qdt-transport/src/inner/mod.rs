//! Inner packets on their way through a worker: from its TUN into a session's carrier, and from a
//! carrier into the TUN.
//!
//! Client and server share both ways; what each decides by itself is a policy, which is compiled
//! in.
//!
//! Invariant: packets go on in the order in which they came; one that does not go on is counted
//! once, with its reason.

mod inbound;
mod outbound;

use std::sync::Arc;

pub(crate) use inbound::{InboundPolicy, Route, receive};
pub(crate) use outbound::{OutboundPolicy, send};

use crate::arena::Arena;
use crate::counters::WorkerCounters;
use crate::tun_port::TunPort;

/// Sealed datagrams of a turn: several TUN super-packets.
const SEAL_ARENA: usize = 1 << 20;

/// What a worker has for the packets of all its sessions.
pub(crate) struct DataPath {
    pub(crate) counters: Arc<WorkerCounters>,
    /// Where datagrams are sealed.
    pub(crate) arena: Arena,
    /// `None` before a TUN is attached, and once it is gone.
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

    /// Hands what was committed to the kernel. Returns whether there was anything.
    pub(crate) fn flush_tun(&mut self) -> bool {
        let tun = self.tun.as_mut();
        tun.is_some_and(|tun| tun.flush(&self.counters))
    }
}
