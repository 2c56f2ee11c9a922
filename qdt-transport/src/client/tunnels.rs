//! The client's sessions, independent of the connection that carries each.
//!
//! Invariants: a session is here from its grant until its connection has closed; at most one is
//! active, and it is here.

use std::net::IpAddr;

use slab::Slab;

use crate::carrier::CarrierRef;
use crate::session::Session;

/// A session and its carrier.
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

/// The key of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TunnelKey(usize);

#[derive(Default)]
pub(super) struct Tunnels {
    slab: Slab<Tunnel>,
    active: Option<TunnelKey>,
}

impl Tunnels {
    /// Adds a session, which is not active.
    pub(super) fn insert(&mut self, tunnel: Tunnel) -> TunnelKey {
        TunnelKey(self.slab.insert(tunnel))
    }

    /// Returns the session with this key.
    pub(super) fn get_mut(&mut self, key: TunnelKey) -> Option<&mut Tunnel> {
        self.slab.get_mut(key.0)
    }

    /// Removes a session whose connection has closed.
    pub(super) fn remove(&mut self, key: TunnelKey) {
        self.slab.try_remove(key.0);
        if self.active == Some(key) {
            self.active = None;
        }
    }

    /// Returns the session that carries the packets of the TUN.
    pub(super) fn active(&mut self) -> Option<&mut Tunnel> {
        self.slab.get_mut(self.active?.0)
    }

    /// Returns whether a session carries the packets of the TUN.
    pub(super) fn has_active(&self) -> bool {
        self.active.is_some()
    }

    /// Returns whether this session carries the packets of the TUN.
    pub(super) fn is_active(&self, key: TunnelKey) -> bool {
        self.active == Some(key)
    }

    /// Makes this session carry the packets of the TUN. Returns the carrier of the previous one, if
    /// another.
    pub(super) fn activate(&mut self, key: TunnelKey) -> Option<CarrierRef> {
        let before = self.active.replace(key).filter(|before| *before != key)?;
        self.get_mut(before).map(|before| before.carrier)
    }
}
