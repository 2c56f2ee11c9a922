//! Compatibility with strict reverse path filtering.
//!
//! With `rp_filter` 1 the kernel drops a packet whose source is not routed through the incoming
//! interface. Without a mark the route to the server leads into the tunnel. So where a filter is
//! strict, an nftables table copies the mark of the transport's packets to their connection and
//! from there to the server's packets, and `src_valid_mark` makes the filter use it.
//! `src_valid_mark` stays on: it affects marked packets only. Without a strict filter this module
//! changes nothing.

use std::{fs, io};

use super::{
    identity::RouteIdentity,
    nft,
    nft_table::{Chain, Family, Table},
    sysctl,
};
use crate::{routes::RouteWarning, sysctl::SysctlError};

pub(super) const TABLE_PREFIX: &str = "qdtmark";

/// Returns the table that the current filters require; `None` where no filter is strict.
pub(super) fn table(tun: &str) -> Option<Table> {
    // An unreadable parameter means a kernel without the filter.
    if !is_strict().unwrap_or(false) {
        return None;
    }
    let mark = RouteIdentity::of(tun).mark();
    let chain = |name, hook, rule| Chain {
        name,
        hook,
        rules: vec![rule],
    };
    Some(Table {
        family: Family::Ip,
        name: nft::table_name(TABLE_PREFIX, tun),
        chains: vec![
            chain(
                "out",
                "filter hook postrouting priority mangle",
                format!("meta mark {mark:#x} ct mark set meta mark"),
            ),
            chain(
                "in",
                "filter hook prerouting priority mangle",
                format!("ct mark {mark:#x} meta mark set ct mark"),
            ),
        ],
    })
}

/// Makes the filter use the mark.
pub(super) fn use_mark() -> Result<(), SysctlError> {
    sysctl::ensure("conf/all/src_valid_mark", "1")
}

/// Installs the table where a filter is strict, so that it does not drop the server's packets.
pub(super) async fn install(tun: &str) -> Vec<RouteWarning> {
    let Some(table) = table(tun) else {
        return Vec::new();
    };
    let marked = match table.install().await {
        Ok(()) => use_mark().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match marked {
        Ok(()) => Vec::new(),
        Err(reason) => vec![RouteWarning::StrictReversePath { reason }],
    }
}

/// Removes the table, if there is one.
pub(super) async fn remove(tun: &str) {
    let table = nft::table_name(TABLE_PREFIX, tun);
    // Ignore errors: without `nft` there is no table, and a leftover one only sets an unused mark.
    let _ = nft::apply(&format!("add table ip {table}\ndelete table ip {table}\n")).await;
}

/// Returns whether an existing or future interface filters strictly. The kernel applies the greater
/// of the interface's value and that of `all`.
pub(super) fn is_strict() -> io::Result<bool> {
    let mut values = Vec::new();
    for entry in fs::read_dir("/proc/sys/net/ipv4/conf")? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != "lo") else {
            continue;
        };
        match sysctl::read(&format!("conf/{name}/rp_filter")) {
            Ok(value) => values.push((name == "all", value)),
            // The interface was removed concurrently.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let loose = values.iter().any(|(all, value)| *all && value == "2");
    Ok(!loose && values.iter().any(|(_, value)| value == "1"))
}
