//! nftables tables of tunnels whose client was killed.
//!
//! Invariants: a table goes only where no device has its name and no client owns it, or where it is
//! the caller's own; the guard of an address would otherwise make a later tunnel deaf that gets the
//! same address by another device.

use super::{
    address_guard, identity::RouteIdentity, inbound, nft, owner, reverse_path, tun::exists,
};
use crate::firewall::FirewallError;

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
    let Ok(tables) = nft::tables_of(&["ip", "arp"], &PREFIXES).await else {
        return Ok(());
    };
    let left = |device: &str| {
        device == tun || (!exists(device) && !owner::is_owned(RouteIdentity::of(device)))
    };
    // Declared first, so that deleting cannot fail where somebody was faster.
    let script: String = tables
        .iter()
        .filter(|(_, device)| left(device))
        .map(|(table, _)| format!("add table {table}\ndelete table {table}\n"))
        .collect();
    if script.is_empty() {
        return Ok(());
    }
    nft::apply(&script).await
}
