//! nftables tables that hide the tunnel's address from the host's networks.
//!
//! Linux answers ARP for each of its addresses on every interface and accepts packets to it there,
//! so a host on the LAN could find out that this host has a tunnel. `arp_ignore` would prevent
//! that, but it is a parameter of the LAN's interfaces: it would affect all of their addresses and
//! have to be restored. Instead two tables drop ARP requests for the address, and packets to it
//! from interfaces other than the tunnel and the loopback.

use std::net::IpAddr;

use super::{
    nft,
    nft_table::{Chain, Family, Table},
};
use crate::routes::RouteWarning;

pub(super) const TABLE_PREFIX: &str = "qdtguard";

/// Returns the tables that guard `address`.
pub(super) fn tables(tun: &str, address: IpAddr) -> [Table; 2] {
    let name = nft::table_name(TABLE_PREFIX, tun);
    let table = |family, rule| Table {
        family,
        name: name.clone(),
        chains: vec![Chain {
            name: "in",
            hook: "filter hook input priority filter",
            rules: vec![rule],
        }],
    };
    [
        table(Family::Arp, format!("arp daddr ip {address} drop")),
        table(
            Family::Ip,
            format!("ip daddr {address} iifname != {{ \"lo\", \"{tun}\" }} drop"),
        ),
    ]
}

/// Installs the guard of `address`, in place of one of an earlier address.
pub(super) async fn install(tun: &str, address: IpAddr) -> Vec<RouteWarning> {
    // One by one, so that a kernel without ARP tables gets the second.
    let mut warnings = Vec::new();
    for table in tables(tun, address) {
        if let Err(error) = table.install().await {
            let reason = error.to_string();
            warnings.push(RouteWarning::AddressVisible { address, reason });
        }
    }
    warnings.dedup();
    warnings
}

/// Removes the guard, if it exists.
pub(super) async fn remove(tun: &str) {
    let table = nft::table_name(TABLE_PREFIX, tun);
    let script = |family| format!("add table {family} {table}\ndelete table {family} {table}\n");
    let (arp, ip) = (script("arp"), script("ip"));
    // Ignore errors: without `nft` or the family there is no table, and `leftover_tables` removes a
    // leftover one, which would block a later tunnel with this address. In parallel, since each may
    // take a helper's timeout.
    let _ = tokio::join!(nft::apply(&arp), nft::apply(&ip));
}
