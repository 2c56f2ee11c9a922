//! Strict reverse path filtering, and how the server's answers pass it.
//!
//! With `rp_filter` 1 the kernel drops a packet unless the way back to its source leads out of the
//! interface it came in by. Without a mark the way back to the server leads into the tunnel. So
//! where a strict filter is on, one small nftables table writes the mark of the tunnel's packets
//! onto their connection and from there onto the answers, and `src_valid_mark` lets the filter use
//! it. Where no filter is strict nothing is done. `src_valid_mark` is left on: it only matters to
//! packets that carry a mark.

use std::{fs, io};

use super::{
    identity::RouteIdentity,
    nft,
    nft_table::{Chain, Family, Table},
    sysctl,
};
use crate::{routes::RouteWarning, sysctl::SysctlError};

pub(super) const TABLE_PREFIX: &str = "qdtmark";

/// What has to be there at this moment; `None` where no filter is strict.
pub(super) fn table(tun: &str) -> Option<Table> {
    // Where this cannot be read there is no filter to be told about anything either.
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

/// Lets the filter use the mark.
pub(super) fn use_mark() -> Result<(), SysctlError> {
    sysctl::ensure("conf/all/src_valid_mark", "1")
}

/// Arranges that strict filtering does not drop the server's answers.
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
    // Without `nft` there never was a table, and a table that stays behind only sets a mark that
    // nobody asks for any more.
    let _ = nft::apply(&format!("add table ip {table}\ndelete table ip {table}\n")).await;
}

/// Whether any interface, or one that is still to come, filters strictly: the kernel takes the
/// greater of the interface's value and that of `all`.
pub(super) fn is_strict() -> io::Result<bool> {
    let mut values = Vec::new();
    for entry in fs::read_dir("/proc/sys/net/ipv4/conf")? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != "lo") else {
            continue;
        };
        match sysctl::read(&format!("conf/{name}/rp_filter")) {
            Ok(value) => values.push((name == "all", value)),
            // The interface was removed after the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let loose = values.iter().any(|(all, value)| *all && value == "2");
    Ok(!loose && values.iter().any(|(_, value)| value == "1"))
}
