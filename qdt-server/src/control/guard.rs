//! Who may use the control listeners: nobody from inside the tunnel.
//!
//! A client can reach every address that the server has, so binding to one address helps little. But
//! the workers let an inner packet pass only if its source is the session's own address, so a source
//! inside the pool tells a client for certain. The server's own inner address is no client.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::Ipv4Net;

/// Decides by the peer's address, and counts whom it turned away.
#[derive(Debug)]
pub struct Guard {
    pool: Ipv4Net,
    gateway: Ipv4Addr,
    refused: AtomicU64,
}

impl Guard {
    /// Turns away the addresses of `pool` except `gateway`.
    #[must_use]
    pub fn new(pool: Ipv4Net, gateway: Ipv4Addr) -> Self {
        Self {
            pool,
            gateway,
            refused: AtomicU64::new(0),
        }
    }

    /// Whether `peer` may connect; counts it if not.
    pub fn admits(&self, peer: IpAddr) -> bool {
        let inside = match peer.to_canonical() {
            IpAddr::V4(peer) => self.pool.contains(&peer) && peer != self.gateway,
            IpAddr::V6(_) => false,
        };
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
