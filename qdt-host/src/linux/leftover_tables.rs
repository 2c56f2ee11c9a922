//! nftables tables of tunnels whose client was killed.
//!
//! Invariants: a table goes only where no device has its name and no client owns it, or where it is
//! the caller's own; the guard of an address would otherwise make a later tunnel deaf that gets the
//! same address by another device.

use super::{address_guard, inbound, nft, owner, reverse_path, tun::exists};
use crate::{firewall::FirewallError, routes::RouteIdentity};

const PREFIXES: [&str; 3] = [
    address_guard::TABLE_PREFIX,
    inbound::TABLE_PREFIX,
    reverse_path::TABLE_PREFIX,
];

/// Removes the tables of the device `tun`, which the caller owns, and those without an owner.
///
/// # Errors
/// `nft` lists such tables and does not remove them.
pub(super) async fn remove(tun: &str) -> Result<(), FirewallError> {
    // Where tables cannot be listed (no `nft`, no nftables in the kernel) there never were any.
    let Ok(listed) = nft::read(&["list", "tables"]).await else {
        return Ok(());
    };
    let left = |device: &String| {
        device == tun || (!exists(device) && !owner::is_owned(RouteIdentity::of(device)))
    };
    // Declared first, so that deleting cannot fail where somebody was faster.
    let script: String = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("table "))
        .filter(|table| device_of(table).as_ref().is_some_and(left))
        .map(|table| format!("add table {table}\ndelete table {table}\n"))
        .collect();
    if script.is_empty() {
        return Ok(());
    }
    nft::apply(&script).await
}

/// The device of one of our tables, given as family and name.
fn device_of(table: &str) -> Option<String> {
    let (family, name) = table.split_once(' ')?;
    if !["ip", "arp"].contains(&family) {
        return None;
    }
    let mut prefixes = PREFIXES.iter();
    prefixes.find_map(|prefix| nft::device_of(prefix, name))
}
