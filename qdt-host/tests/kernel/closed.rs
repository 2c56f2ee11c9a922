//! Foreign chains that drop what a server's NAT accepts, as `nft` itself prints them.

use qdt_host::{Firewall, HostFirewall, InstalledRules};

use crate::{namespace::Namespace, router::plan};

/// Returns the chains of `script` that are found closed, as `family table chain`.
fn closed(script: &str) -> Vec<String> {
    let namespace = Namespace::new();
    namespace.sh(&format!("nft -f - <<'END'\n{script}\nEND"));
    let found = namespace.block_on(async || {
        HostFirewall
            .closed_chains(&plan())
            .await
            .expect("nft can be asked")
    });
    found
        .iter()
        .map(|one| format!("{} {} {}", one.family, one.table, one.chain))
        .collect()
}

/// A table `inet filter` with this chain `forward`, and chains to jump to.
fn filter(head: &str, rules: &str) -> String {
    format!(
        "table inet filter {{
            set servers {{ type ipv4_addr; }}
            chain dropping {{ drop; }}
            chain accepting {{ accept; }}
            chain returning {{ return; drop; }}
            chain forward {{ type filter hook forward priority filter; {head}\n{rules}\n}}
            chain input {{ type filter hook input priority filter; policy drop; }}
        }}"
    )
}

#[test]
fn a_chain_that_drops_by_policy_or_by_a_rule_is_found() {
    for (head, rules) in [
        ("policy drop;", ""),
        ("policy accept;", "drop"),
        (
            "policy accept;",
            "counter reject with icmpx type admin-prohibited",
        ),
        (
            "policy accept;",
            "ct state established,related accept\ncounter log drop",
        ),
        ("policy drop;", "iifname \"qdt0\" accept"),
        (
            "policy drop;",
            "ct state vmap { established : accept, related : accept, invalid : drop }",
        ),
        (
            "policy drop;",
            "iifname \"lan0\" oifname \"eth0\" accept\ntcp dport 443 accept",
        ),
        (
            "policy drop;",
            "ip saddr 10.9.0.0/16 accept\nip6 saddr fd00::/8 accept",
        ),
        (
            "policy drop;",
            "iifname { \"lan0\", \"wg*\" } accept\nlimit rate 5/second accept",
        ),
        (
            "policy accept;",
            "ct state established accept\njump dropping",
        ),
        (
            "policy accept;",
            "iifname vmap { \"lan0\" : accept, \"qdt0\" : goto dropping }",
        ),
        ("policy drop;", "jump returning\nct status dnat accept"),
        ("policy drop;", "goto returning\naccept"),
        ("policy accept;", "iifname != \"lan0\" drop"),
    ] {
        assert_eq!(
            closed(&filter(head, rules)),
            ["inet filter forward"],
            "{head} {rules}"
        );
    }
}

#[test]
fn a_chain_that_accepts_the_tunnel_or_may_accept_it_is_not_found() {
    for (head, rules) in [
        ("policy accept;", ""),
        (
            "policy accept;",
            "iifname \"lan0\" drop\ntcp dport 25 drop\nct state invalid drop",
        ),
        ("policy drop;", "accept"),
        (
            "policy drop;",
            "iifname \"qdt*\" accept\nct state established,related accept",
        ),
        (
            "policy drop;",
            "iifname { \"lan0\", \"qdt0\" } accept\noifname \"qdt0\" accept",
        ),
        (
            "policy drop;",
            "ip saddr 10.0.0.0/8 accept\nip daddr 10.8.0.0/24 ct state established accept",
        ),
        (
            "policy drop;",
            "ct state { established, related } accept\njump accepting",
        ),
        ("policy drop;", "iif != \"lo\" accept"),
        ("policy drop;", "meta mark 7 accept"),
        ("policy drop;", "ip saddr @servers accept"),
        ("policy accept;", "ip saddr 192.168.0.0/16 goto dropping"),
        ("policy drop;", "jump returning\ngoto accepting"),
    ] {
        let none: [&str; 0] = [];
        assert_eq!(closed(&filter(head, rules)), none, "{head} {rules}");
    }
}

#[test]
fn our_own_table_other_families_and_other_hooks_close_nothing() {
    let namespace = Namespace::new();
    namespace.sh("nft add table ip6 six
         nft 'add chain ip6 six f { type filter hook forward priority 0; policy drop; }'
         nft add table bridge b
         nft 'add chain bridge b f { type filter hook forward priority 0; policy drop; }'
         nft add table inet other
         nft 'add chain inet other out { type filter hook output priority 0; policy drop; }'");
    let found = namespace.block_on(async || {
        HostFirewall.install(&plan()).await.unwrap();
        HostFirewall.closed_chains(&plan()).await.unwrap()
    });
    assert_eq!(found, []);
}

#[test]
fn a_closed_chain_is_reported_with_rules_that_open_it() {
    let namespace = Namespace::new();
    namespace.sh(
        "nft add table inet filter
         nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'",
    );
    let look = || namespace.block_on(async || HostFirewall.closed_chains(&plan()).await.unwrap());
    let line = look()[0].to_string();
    assert!(
        line.contains("chain `forward` of the nftables table `inet filter`"),
        "{line}"
    );
    let remedy = line.split("allow it there: ").nth(1).expect("a remedy");
    namespace.sh(remedy);
    assert_eq!(look(), []);
}

#[test]
fn removed_or_changed_rules_differ_from_those_installed() {
    let namespace = Namespace::new();
    let read = || namespace.block_on(async || HostFirewall.installed("qdt0").await.unwrap());
    for change in [
        "nft flush ruleset",
        "nft delete table ip qdt_qdt0",
        "nft flush chain ip qdt_qdt0 forward",
        "nft delete table ip6 qdt_qdt0",
        "nft insert rule ip qdt_qdt0 forward accept",
        "iptables -P FORWARD DROP",
    ] {
        namespace.block_on(async || HostFirewall.install(&plan()).await.unwrap());
        let installed = read();
        namespace.run(|| assert!(installed.is_current(), "{change}"));
        namespace.sh("nft add table inet foreign; nft delete table inet foreign");
        namespace.run(|| assert!(!installed.is_current(), "{change}"));
        assert!(read().has_same_rules(&installed), "{change}");
        namespace.sh(change);
        assert!(!read().has_same_rules(&installed), "{change}");
    }
}
