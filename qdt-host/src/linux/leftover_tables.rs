//! Removal of nftables tables of killed clients.
//!
//! The guard of an address would block a later tunnel that gets this address on another device.
//!
//! Invariants: a table is removed only if it is the caller's own, or if its device does not exist
//! and no client owns it.

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
/// [`FirewallError`] where `nft` lists such tables but cannot remove them.
pub(super) async fn remove(tun: &str) -> Result<(), FirewallError> {
    // Without a list (no `nft`, or a kernel without nftables) there are no tables.
    let Ok(tables) = nft::tables_of(&["ip", "arp"], &PREFIXES).await else {
        return Ok(());
    };
    let left = |device: &str| {
        device == tun || (!exists(device) && !owner::is_owned(RouteIdentity::of(device)))
    };
    // Declare each table first, so that deleting it cannot fail after a concurrent removal.
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
