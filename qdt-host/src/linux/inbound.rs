//! Connections that come in from outside the tunnel, and how they are answered the way they came.
//!
//! With `route_mode: default` the answers to a connection from beyond the LAN (SSH to a machine in
//! a data centre) would go into the tunnel, with a source that the server refuses. So on a host
//! that has a public address one nftables table marks what somebody outside began, on the
//! connection, and from there its answers; the rules that lead into the tunnel spare that mark.
//!
//! Nothing that this host began ever gets the mark. A connection counts as begun outside when its
//! first packet came in on another interface than the tunnel, for an address of the host; for TCP
//! that packet has to be a SYN, because connection tracking that has just been switched on takes
//! the direction of any packet for that of the connection. What comes in by a device that is no
//! Ethernet (another tunnel) counts where its answers leave by that device again, so that they
//! never leave another tunnel for the network in the clear. Connections from before the table are
//! taken from the socket table: TCP where the local port listens. UDP to ports of the ephemeral
//! range that were in use then is left alone, since who began those flows cannot be known. What
//! comes in through the tunnel for any other address than the tunnel's own is dropped: nobody
//! behind the server can have this host answer beside the tunnel.

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
/// How many connections from before are looked after; a host with more is a server whose clients
/// come again.
const MOST: usize = 16_384;

/// Sets the table up for this plan, or renews its rules where it stands. What could not be helped.
pub(super) async fn install(plan: &RoutePlan) -> Vec<RouteWarning> {
    let table = nft::table_name(TABLE_PREFIX, &plan.tun);
    let applied = match listed(&table).await {
        Some(shown) if is_complete(&shown, plan) => Ok(()),
        // What was there before the tunnel is known only when the table is made.
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
    // Only then a strict filter looks the way back up with the mark.
    if reverse_path::is_strict().unwrap_or(false)
        && let Err(error) = sysctl::ensure("conf/all/src_valid_mark", "1")
    {
        let reason = error.to_string();
        return vec![RouteWarning::InboundLost { reason }];
    }
    Vec::new()
}

/// Puts the table back where it is `asked` for and missing, and removes it where it is not; says so
/// in `restored`.
pub(super) async fn restore(plan: &RoutePlan, asked: bool, restored: &mut Restored) {
    let table = nft::table_name(TABLE_PREFIX, &plan.tun);
    // A kernel that cannot tell has no such table, or had a warning when it was installed.
    let Ok(rules) = nft_table::rules_of(Family::Ip, &table) else {
        return;
    };
    if !asked {
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

/// How many rules a script has: every line within a chain but the one with its hook.
fn rules_in(script: &str) -> usize {
    let lines = script.lines().filter(|line| line.starts_with("\t\t"));
    lines.filter(|line| !line.starts_with("\t\ttype ")).count()
}

/// Removes the table where it stands, without an event where it does not.
pub(super) async fn remove(tun: &str) {
    let table = nft::table_name(TABLE_PREFIX, tun);
    if listed(&table).await.is_some() {
        // One that stays behind only sets a mark that nobody asks for any more.
        let _ = nft::apply(&format!("delete table ip {table}\n")).await;
    }
}

/// The table as `nft` shows it. Without `nft` there never was one.
async fn listed(table: &str) -> Option<String> {
    nft::read(&["list", "table", "ip", table]).await.ok()
}

/// Whether every chain of the table has its rules.
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

/// Whether an address can be reached from the internet (RFC 6890). Those for documentation count:
/// nobody has them but who tries such things out. No IPv6 address counts.
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

/// What is known from before: connections that came in, and ports that say nothing.
fn sets(table: &str, inner: IpAddr) -> String {
    let sockets = sockets::ipv4();
    let listening: HashSet<_> = sockets.listening.iter().copied().collect();
    let before: HashSet<_> = sockets
        .established
        .iter()
        .filter(|(local, _)| listening.contains(&local.port()))
        .filter(|(local, _)| !local.ip().is_loopback() && local.ip() != inner)
        .take(MOST)
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

/// The range that the kernel takes ports from; Linux's own default where it cannot be read.
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
