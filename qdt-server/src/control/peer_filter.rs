//! The filter that keeps clients of the tunnel off the control listeners.
//!
//! A client can reach every address of the server, so binding to one address helps little. But the
//! workers drop an inner packet whose source is not the session's own address, so a source inside
//! the pool proves that the peer is a client; only the gateway's address is the server's own.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

/// Allows or refuses a peer by its address, and counts refusals.
#[derive(Debug)]
pub struct PeerFilter {
    pool: IpNet,
    gateway: IpAddr,
    refused: AtomicU64,
}

impl PeerFilter {
    /// Refuses the addresses of `pool` except `gateway`.
    #[must_use]
    pub fn new(pool: IpNet, gateway: IpAddr) -> Self {
        Self {
            pool,
            gateway,
            refused: AtomicU64::new(0),
        }
    }

    /// Returns whether `peer` may connect, and counts it if not.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let inside = self.pool.contains(&peer) && peer != self.gateway;
        if inside {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        !inside
    }

    /// Returns the number of refused connections.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
