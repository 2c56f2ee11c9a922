//! The nftables scripts that install and remove our tables.
//!
//! Invariants: a script is one transaction. It declares each table before deleting it, so that the
//! deletion cannot fail. Names have passed `check_interface_name`.

use super::{super::nft::table_name, TABLE_PREFIX};
use crate::firewall::NatPlan;

/// The counter of unsolicited packets from outside to a client.
const INBOUND: &str = "\tcounter inbound {\n\t}\n";

/// Returns the script that installs the tables of `plan`. `ip6` tells whether this kernel has IPv6:
/// inner packets are IPv4 only, so the table of that family drops everything.
pub(super) fn install(plan: &NatPlan, ip6: bool) -> String {
    let NatPlan {
        tun,
        external_interface,
        client_to_client,
        ..
    } = plan;
    let pool = plan.pool.trunc();
    let table = table_name(TABLE_PREFIX, tun);
    let (out, masquerade) = match external_interface {
        Some(external) => (
            format!("\t\tiifname \"{tun}\" oifname \"{external}\" ip saddr {pool} accept\n"),
            format!("\t\tip saddr {pool} oifname \"{external}\" masquerade\n"),
        ),
        None => (String::new(), String::new()),
    };
    let between_clients = if *client_to_client {
        format!("\t\tiifname \"{tun}\" oifname \"{tun}\" accept\n")
    } else {
        String::new()
    };
    let mut script = remove(tun, ip6);
    script.push_str(&format!(
        "table ip {table} {{\n\
         {INBOUND}\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         {out}\
         {between_clients}\
         \t\tiifname \"{tun}\" counter drop\n\
         \t\toifname \"{tun}\" ct state established,related accept\n\
         \t\toifname \"{tun}\" ct status dnat accept\n\
         \t\toifname \"{tun}\" counter name \"inbound\" drop\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         {masquerade}\
         \t}}\n\
         }}\n"
    ));
    if ip6 {
        script.push_str(&format!(
            "table ip6 {table} {{\n\
             {INBOUND}\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter; policy accept;\n\
             \t\tiifname \"{tun}\" counter drop\n\
             \t\toifname \"{tun}\" counter name \"inbound\" drop\n\
             \t}}\n\
             }}\n"
        ));
    }
    script
}

/// Returns the script that removes the tables of the device `tun`, if they exist.
pub(super) fn remove(tun: &str, ip6: bool) -> String {
    let table = table_name(TABLE_PREFIX, tun);
    let families: &[&str] = if ip6 { &["ip", "ip6"] } else { &["ip"] };
    families
        .iter()
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"))
        .collect()
}
