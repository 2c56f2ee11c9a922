//! Keeps the tunnel's address from the networks the host is in.
//!
//! Linux answers for every address it has on every interface: ARP for the tunnel's address on the
//! LAN tells everybody there that this host is in the tunnel, and packets sent to it from there are
//! delivered. The switches against that (`arp_ignore`) belong to the LAN's interfaces and would
//! change how they answer for all their addresses, also on interfaces that appear later, and would
//! have to be given back. Instead two tables of our own drop exactly what asks for or goes to this
//! one address by any other way than the tunnel and the loopback interface.

use std::net::Ipv4Addr;

use super::nft;
use crate::routes::RouteWarning;

const TABLE_PREFIX: &str = "qdtguard";

/// Puts the guard of `address` in place of that of an earlier address.
pub(super) async fn install(tun: &str, address: Ipv4Addr) -> Vec<RouteWarning> {
    let table = nft::table_name(TABLE_PREFIX, tun);
    let arp = format!(
        "add table arp {table}\n\
         delete table arp {table}\n\
         table arp {table} {{\n\
         \tchain in {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tarp daddr ip {address} drop\n\
         \t}}\n\
         }}\n"
    );
    let ip = format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \tchain in {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tip daddr {address} iifname != {{ \"lo\", \"{tun}\" }} drop\n\
         \t}}\n\
         }}\n"
    );
    // One after the other: a kernel without ARP tables still gets the second.
    let mut warnings = Vec::new();
    for script in [arp, ip] {
        if let Err(error) = nft::apply(&script).await {
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
    for family in ["arp", "ip"] {
        let script = format!("add table {family} {table}\ndelete table {family} {table}\n");
        // Without `nft` or the family there never was a table, and one that stays behind drops
        // only what is for an address that the host no longer has.
        let _ = nft::apply(&script).await;
    }
}
