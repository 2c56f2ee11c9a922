//! Keeps the tunnel's address from the networks the host is in.
//!
//! Linux answers for every address it has on every interface: ARP for the tunnel's address on the
//! LAN tells everybody there that this host is in the tunnel, and packets sent to it from there are
//! delivered. The switches against that (`arp_ignore`) belong to the LAN's interfaces and would
//! change how they answer for all their addresses, also on interfaces that appear later, and would
//! have to be given back. Instead two tables of our own drop exactly what asks for or goes to this
//! one address by any other way than the tunnel and the loopback interface.

use std::net::IpAddr;

use super::{
    nft,
    nft_table::{Chain, Family, Table},
};
use crate::routes::RouteWarning;

pub(super) const TABLE_PREFIX: &str = "qdtguard";

/// The guard of `address`.
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

/// Puts the guard of `address` in place of that of an earlier address.
pub(super) async fn install(tun: &str, address: IpAddr) -> Vec<RouteWarning> {
    // One after the other: a kernel without ARP tables still gets the second.
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

/// Removes the guard, if there is one.
pub(super) async fn remove(tun: &str) {
    let table = nft::table_name(TABLE_PREFIX, tun);
    let script = |family| format!("add table {family} {table}\ndelete table {family} {table}\n");
    let (arp, ip) = (script("arp"), script("ip"));
    // Without `nft` or the family there never was a table. One that stays behind would drop what
    // is for a later tunnel of the same address: `leftover_tables` removes it at the next start. In
    // parallel: each may take the time of a helper.
    let _ = tokio::join!(nft::apply(&arp), nft::apply(&ip));
}
