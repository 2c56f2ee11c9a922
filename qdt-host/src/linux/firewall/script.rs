//! The nftables scripts: our table put in place as a whole, and taken away.
//!
//! A script is one transaction. It declares the table first so that deleting it cannot fail, and
//! thereby replaces whatever stood there. Names have passed `check_interface_name`.

use super::{super::nft::table_name, TABLE_PREFIX};
use crate::firewall::NatPlan;

/// Replaces the table by what `plan` says.
pub(super) fn install(plan: &NatPlan) -> String {
    let NatPlan {
        tun,
        external_interface: external,
        client_to_client,
        ..
    } = plan;
    let pool = plan.pool.trunc();
    let table = table_name(TABLE_PREFIX, tun);
    let between_clients = if *client_to_client {
        format!("\t\tiifname \"{tun}\" oifname \"{tun}\" accept\n")
    } else {
        String::new()
    };
    format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\tiifname \"{tun}\" oifname \"{external}\" ip saddr {pool} accept\n\
         {between_clients}\
         \t\tiifname \"{tun}\" counter drop\n\
         \t\toifname \"{tun}\" ct state established,related accept\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {pool} oifname \"{external}\" masquerade\n\
         \t}}\n\
         }}\n"
    )
}

/// Takes the table of the device `tun` away, if it is there.
pub(super) fn remove(tun: &str) -> String {
    let table = table_name(TABLE_PREFIX, tun);
    format!("add table ip {table}\ndelete table ip {table}\n")
}
