//! Replies to connections from outside the tunnel, which have to bypass it.
//!
//! With `route_mode: default`, replies to a connection from beyond the LAN (SSH to a machine in a
//! data centre) would enter the tunnel with a source that the server refuses. So on a host with a
//! public address an nftables table marks inbound connections and their replies, and the rules into
//! the tunnel exempt that mark.
//!
//! Invariants:
//!
//! * No connection that this host opened gets the mark. A connection is inbound if its first packet
//!   arrived on an interface other than the tunnel, for an address of the host. For TCP that packet
//!   must be a SYN, because connection tracking that was just enabled takes any packet for the
//!   first.
//! * A connection from a device that is not Ethernet (another tunnel) is inbound only if its
//!   replies leave by that device, so that they never leave another tunnel in the clear.
//! * TCP connections from before the table are inbound if the local port listens. UDP flows to
//!   ephemeral ports that were bound by then are not, since their initiator is unknown.
//! * Packets from the tunnel to an address other than the tunnel's are dropped: no host behind the
//!   server can make this host reply outside the tunnel.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
};

use super::{
    identity::RouteIdentity,
    nft,
    nft_table::{self, Family},
    reverse_path, sockets, sysctl,
};
use crate::routes::{Restored, RoutePlan, RouteWarning};

pub(super) const TABLE_PREFIX: &str = "qdtinbound";
/// The most earlier connections to keep working. A host with more is a server whose clients
/// reconnect.
const MAX_CONNECTIONS: usize = 16_384;

/// Installs the table of `plan`, or replaces the rules of an existing one.
pub(super) async fn install(plan: &RoutePlan) -> Vec<RouteWarning> {
    let table = nft::table_name(TABLE_PREFIX, &plan.tun);
    let applied = match listed(&table).await {
        Some(shown) if is_complete(&shown, plan) => Ok(()),
        // Keep the sets: connections from before the tunnel are known only at the first
        // installation.
        Some(_) => nft::apply(&format!("flush table ip {table}\n{}", chains(&table, plan))).await,
        None => {
            let sets = sets(&table, plan.address);
            let chains = chains(&table, plan);
            nft::apply(&format!(
                "add table ip {table}\ndelete table ip {table}\n{sets}{chains}"
            ))
            .await
        }
    };
    if let Err(error) = applied {
        let reason = error.to_string();
        return vec![RouteWarning::InboundLost { reason }];
    }
    // With this parameter a strict filter looks up the reverse route with the mark.
    if reverse_path::is_strict().unwrap_or(false)
        && let Err(error) = sysctl::ensure("conf/all/src_valid_mark", "1")
    {
        let reason = error.to_string();
        return vec![RouteWarning::InboundLost { reason }];
    }
    Vec::new()
}

/// Restores the table where it is `required` and incomplete, removes it where it is not required.
/// Records that in `restored`.
pub(super) async fn restore(plan: &RoutePlan, required: bool, restored: &mut Restored) {
    let table = nft::table_name(TABLE_PREFIX, &plan.tun);
    // Without an answer the kernel has no such table, or `install` returned a warning.
    let Ok(rules) = nft_table::rule_count(Family::Ip, &table) else {
        return;
    };
    if !required {
        if rules > 0 {
            remove(&plan.tun).await;
        }
    } else if rules < rules_in(&chains(&table, plan)) {
        let lost = install(plan).await;
        if lost.is_empty() {
            restored.parts.push(format!("nft table ip {table}"));
        }
        restored.warnings.extend(lost);
    }
}

/// Counts the rules of a script: every line of a chain except the one with its hook.
fn rules_in(script: &str) -> usize {
    let lines = script.lines().filter(|line| line.starts_with("\t\t"));
    lines.filter(|line| !line.starts_with("\t\ttype ")).count()
}

/// Removes an existing table; causes no event otherwise.
pub(super) async fn remove(tun: &str) {
    let table = nft::table_name(TABLE_PREFIX, tun);
    if listed(&table).await.is_some() {
        // Ignore errors: a leftover table only sets an unused mark.
        let _ = nft::apply(&format!("delete table ip {table}\n")).await;
    }
}

/// Returns the table as `nft` prints it. Without `nft` there is none.
async fn listed(table: &str) -> Option<String> {
    nft::read(&["list", "table", "ip", table]).await.ok()
}

/// Returns whether every chain of the table has its last rule.
fn is_complete(shown: &str, plan: &RoutePlan) -> bool {
    let own = format!("iifname \"{}\" ip daddr != {} drop", plan.tun, plan.address);
    let ends = [
        &own,
        "jump begun",
        "goto tunneled",
        "meta mark set 0x00000000 return",
        "dport @used return",
        "tcp dport @before meta mark set",
    ];
    ends.iter().all(|rule| shown.contains(rule))
}

/// Returns whether an IPv4 address is reachable from the internet (RFC 6890). Documentation
/// addresses count, since only tests use them. IPv6 addresses do not.
pub(super) fn is_public(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    let [first, second, ..] = address.octets();
    let shared = first == 100 && second & 0xc0 == 64;
    let benchmarks = first == 198 && second & 0xfe == 18;
    let not_global = address.is_private() || address.is_link_local() || shared || benchmarks;
    !not_global && first != 0 && first != 127 && first < 224
}

/// Returns the sets of inbound connections and of bound UDP ports from before the table.
fn sets(table: &str, inner: IpAddr) -> String {
    let sockets = sockets::ipv4();
    let listening: HashSet<_> = sockets.listening.iter().copied().collect();
    let before: HashSet<_> = sockets
        .established
        .iter()
        .filter(|(local, _)| listening.contains(&local.port()))
        .filter(|(local, _)| !local.ip().is_loopback() && local.ip() != inner)
        .take(MAX_CONNECTIONS)
        .map(|(local, peer)| elements(local, peer))
        .collect();
    let ephemeral = ephemeral_ports();
    let used: HashSet<_> = sockets
        .udp_ports
        .iter()
        .filter(|port| ephemeral.contains(port))
        .map(ToString::to_string)
        .collect();
    let mut text = format!("table ip {table} {{\n");
    let four = "ipv4_addr . inet_service . ipv4_addr . inet_service";
    for (name, kind, elements) in [("before", four, before), ("used", "inet_service", used)] {
        let _ = writeln!(text, "\tset {name} {{\n\t\ttype {kind}");
        if !elements.is_empty() {
            let elements: Vec<_> = elements.into_iter().collect();
            let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
        }
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    text
}

fn elements(local: &SocketAddr, peer: &SocketAddr) -> String {
    let (from, to) = ((local.ip(), local.port()), (peer.ip(), peer.port()));
    format!("{} . {} . {} . {}", from.0, from.1, to.0, to.1)
}

/// Reads the range of ephemeral ports; Linux's default where it is unreadable.
fn ephemeral_ports() -> std::ops::RangeInclusive<u16> {
    let read = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = read.split_whitespace().map(str::parse);
    match (bounds.next(), bounds.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32_768..=60_999,
    }
}

fn chains(table: &str, plan: &RoutePlan) -> String {
    let (tun, inner) = (&plan.tun, plan.address);
    let mark = RouteIdentity::of(tun).inbound_mark();
    let [any, mask] = [RouteIdentity::ANY_MARK, RouteIdentity::ANY_MASK];
    format!(
        "table ip {table} {{\n\
         \tchain in {{\n\
         \t\ttype filter hook prerouting priority mangle; policy accept;\n\
         \t\tiifname {{ \"lo\", \"{tun}\" }} return\n\
         \t\tip daddr . tcp dport . ip saddr . tcp sport @before meta mark set {mark:#x} return\n\
         \t\tct state new fib daddr type local jump begun\n\
         \t\tct mark {mark:#x} meta mark set {mark:#x}\n\
         \t}}\n\
         \tchain begun {{\n\
         \t\tct mark != 0 return\n\
         \t\tip daddr {inner} return\n\
         \t\ttcp flags & (syn | ack) != syn return\n\
         \t\tudp dport @used return\n\
         \t\tmeta iiftype != ether goto tunneled\n\
         \t\tct mark set {mark:#x}\n\
         \t}}\n\
         \tchain tunneled {{\n\
         \t\tmeta mark != 0 return\n\
         \t\tmeta mark set {mark:#x}\n\
         \t\tfib saddr . mark . iif oif missing meta mark set 0 return\n\
         \t\tct mark set {mark:#x}\n\
         \t}}\n\
         \tchain own {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tiifname \"{tun}\" ip daddr != {inner} drop\n\
         \t}}\n\
         \tchain out {{\n\
         \t\ttype route hook output priority mangle; policy accept;\n\
         \t\toifname \"lo\" return\n\
         \t\tmeta mark & {mask:#x} == {any:#x} return\n\
         \t\tip saddr {inner} return\n\
         \t\tct direction reply ct mark {mark:#x} meta mark set {mark:#x} return\n\
         \t\tip saddr . tcp sport . ip daddr . tcp dport @before meta mark set {mark:#x}\n\
         \t}}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn what_the_internet_can_reach_is_public_and_nothing_else() {
        for public in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.2.1",
            "223.255.255.1",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_public(other.parse().expect("an address")), "{other}");
        }
    }
}
