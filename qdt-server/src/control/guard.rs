//! Who may use the control listeners: nobody from inside the tunnel.
//!
//! A client can reach every address that the server has, so binding to one address helps little.
//! But the workers let an inner packet pass only if its source is the session's own address, so a
//! source inside the pool tells a client for certain. The server's own inner address is no client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

/// Decides by the peer's address, and counts whom it turned away.
#[derive(Debug)]
pub struct Guard {
    pool: IpNet,
    gateway: IpAddr,
    refused: AtomicU64,
}

impl Guard {
    /// Turns away the addresses of `pool` except `gateway`.
    #[must_use]
    pub fn new(pool: IpNet, gateway: IpAddr) -> Self {
        Self {
            pool,
            gateway,
            refused: AtomicU64::new(0),
        }
    }

    /// Whether `peer` may connect; counts it if not.
    pub fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let inside = self.pool.contains(&peer) && peer != self.gateway;
        if inside {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        !inside
    }

    /// How many connections were turned away.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
