//! The check that no other network of the host overlaps the pool of inner addresses.
//!
//! With an overlap the server would answer in a router's place, or clients would get addresses of
//! hosts on the LAN. At the start it is an error, later a warning.

use std::fmt;

use ipnet::IpNet;
use qdt_host::{ConnectedNetwork, Host, Network};
use tracing::{debug, warn};

/// Pools to suggest, the default first.
const POOLS: [[u8; 4]; 5] = [
    [10, 8, 0, 0],
    [10, 88, 0, 0],
    [172, 29, 8, 0],
    [192, 168, 188, 0],
    [10, 213, 77, 0],
];

/// A network of the host that overlaps the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pool: IpNet,
    connected: ConnectedNetwork,
    /// A suggestion that overlaps nothing.
    free: Option<IpNet>,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectedNetwork { interface, network } = &self.connected;
        write!(
            f,
            "{} overlaps {network}, the network of the interface `{interface}`: one of the two would be \
             unreachable; use a pool_cidr that no network of this host uses",
            self.pool
        )?;
        match self.free {
            Some(free) => write!(f, ", for example {free}"),
            None => Ok(()),
        }
    }
}

/// Returns the networks of `connected` that overlap `pool`, except those of the device `tun`.
fn find_overlaps(pool: IpNet, tun: &str, mut connected: Vec<ConnectedNetwork>) -> Vec<Overlap> {
    connected.retain(|one| one.interface != tun);
    let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
    let free = POOLS
        .iter()
        .map(|octets| IpNet::new_assert((*octets).into(), 24))
        .find(|free| connected.iter().all(|one| !overlap(free, &one.network)));
    connected
        .into_iter()
        .filter(|one| overlap(&pool, &one.network))
        .map(|connected| Overlap {
            pool,
            connected,
            free,
        })
        .collect()
}

/// Reports each overlap once.
#[derive(Debug)]
pub(super) struct OverlapWatch<H> {
    host: H,
    pool: IpNet,
    tun: String,
    known: Vec<Overlap>,
}

impl<H: Host> OverlapWatch<H> {
    /// Checks `host` before the start. `tun`, the server's device, may exist already.
    ///
    /// # Errors
    /// Returns the first [`Overlap`].
    pub(super) async fn start(host: H, pool: IpNet, tun: &str) -> Result<Self, Overlap> {
        let watch = Self {
            host,
            pool,
            tun: tun.to_owned(),
            known: Vec::new(),
        };
        match watch.read().await.into_iter().next() {
            Some(overlap) => Err(overlap),
            None => Ok(watch),
        }
    }

    /// Warns of overlaps that are new since the last check.
    pub(super) async fn check(&mut self) {
        let found = self.read().await;
        for overlap in found.iter().filter(|found| !self.known.contains(found)) {
            warn!(err = %overlap, "pool_cidr");
        }
        self.known = found;
    }

    async fn read(&self) -> Vec<Overlap> {
        match self.host.network().connected_networks().await {
            Ok(connected) => find_overlaps(self.pool, &self.tun, connected),
            Err(error) => {
                debug!(err = %error, "the host's networks cannot be read");
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(interface: &str, network: &str) -> ConnectedNetwork {
        ConnectedNetwork {
            interface: interface.to_owned(),
            network: network.parse().unwrap(),
        }
    }

    #[test]
    fn an_overlap_names_both_networks_and_a_free_one() {
        let pool = "192.168.0.0/16".parse().unwrap();
        let host = vec![
            connected("lo", "127.0.0.0/8"),
            connected("docker0", "10.8.0.0/16"),
            connected("eth0", "192.168.77.0/24"),
        ];
        let found = find_overlaps(pool, "qdt0", host);
        let lines: Vec<_> = found.iter().map(Overlap::to_string).collect();
        assert_eq!(
            lines,
            [
                "192.168.0.0/16 overlaps 192.168.77.0/24, the network of the interface `eth0`: one of the two \
              would be unreachable; use a pool_cidr that no network of this host uses, for example \
              10.88.0.0/24"
            ]
        );
    }

    #[test]
    fn wider_networks_and_single_addresses_overlap_but_the_own_device_does_not() {
        let pool = "10.8.0.0/24".parse().unwrap();
        let host = vec![
            connected("eth0", "10.0.0.0/8"),
            connected("wg0", "10.8.0.9/32"),
            connected("qdt0", "10.8.0.0/24"),
            connected("eth1", "10.9.0.0/24"),
        ];
        let found = find_overlaps(pool, "qdt0", host);
        let interfaces: Vec<_> = found
            .iter()
            .map(|one| one.connected.interface.as_str())
            .collect();
        assert_eq!(interfaces, ["eth0", "wg0"]);
        assert_eq!(found[0].free.unwrap().to_string(), "172.29.8.0/24");
    }
}
