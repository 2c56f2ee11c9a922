//! The client's sessions, whatever connection carries each.
//!
//! Invariants: a session is here from the moment it is established until its connection has ended
//! or was hung up; at most one of them is active, and it is here.

use std::net::IpAddr;

use slab::Slab;

use crate::carrier::CarrierRef;
use crate::session::Session;

/// A session of ours, and what carries it.
pub(super) struct Tunnel {
    pub(super) session: Session,
    pub(super) carrier: CarrierRef,
    pub(super) inside: Inside,
}

/// The inner side of a session.
pub(super) struct Inside {
    /// The client's address.
    pub(super) address: IpAddr,
    pub(super) gateway: IpAddr,
    /// Packets that arrived and were accepted.
    pub(super) received: u64,
    /// Packets sent.
    pub(super) sent: u64,
}

/// Where a session lies among the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TunnelKey(usize);

/// See the module.
#[derive(Default)]
pub(super) struct Tunnels {
    slab: Slab<Tunnel>,
    active: Option<TunnelKey>,
}

impl Tunnels {
    /// Adds a session, which is not active yet.
    pub(super) fn insert(&mut self, tunnel: Tunnel) -> TunnelKey {
        TunnelKey(self.slab.insert(tunnel))
    }

    /// Returns the session with this key.
    pub(super) fn get_mut(&mut self, key: TunnelKey) -> Option<&mut Tunnel> {
        self.slab.get_mut(key.0)
    }

    /// Takes a session out, whose connection has ended.
    pub(super) fn remove(&mut self, key: TunnelKey) {
        self.slab.try_remove(key.0);
        if self.active == Some(key) {
            self.active = None;
        }
    }

    /// Returns the session that the packets of the TUN go to.
    pub(super) fn active(&mut self) -> Option<&mut Tunnel> {
        self.slab.get_mut(self.active?.0)
    }

    /// Returns whether the packets of the TUN go to any session.
    pub(super) fn has_active(&self) -> bool {
        self.active.is_some()
    }

    /// Returns whether the packets of the TUN go to this session.
    pub(super) fn is_active(&self, key: TunnelKey) -> bool {
        self.active == Some(key)
    }

    /// Sends the packets of the TUN to this session from now on. Returns what carries the one
    /// before it, where that is another.
    pub(super) fn activate(&mut self, key: TunnelKey) -> Option<CarrierRef> {
        let before = self.active.replace(key).filter(|before| *before != key)?;
        self.get_mut(before).map(|before| before.carrier)
    }
}
