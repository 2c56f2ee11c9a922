//! The repair of a client's routes, rules and tables after other programs removed them.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use qdt_host::{
    HostLinks, HostRoutes, Links, Restored, RouteError, RouteIdentity, RouteMode, RoutePlan,
    Routes, TunnelOwner,
};

use crate::{
    client::{Host, open_tun, plan},
    namespace::{mount, private_mounts},
    router::{receive, socket},
};

fn restore(host: &Host, mode: RouteMode) -> Result<Vec<String>, RouteError> {
    restore_all(host, mode).map(|restored| restored.parts)
}

fn restore_all(host: &Host, mode: RouteMode) -> Result<Restored, RouteError> {
    let mut restored = host
        .namespace
        .block_on(async || HostRoutes.restore(&plan(mode)).await);
    match restored.failure.take() {
        None => Ok(restored),
        Some(error) => Err(error),
    }
}

#[test]
fn a_network_that_comes_up_over_the_pool_is_a_warning_and_not_something_that_was_missing() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.namespace.sh(
        "ip link add docker0 type bridge; ip addr add 10.8.0.200/16 dev docker0
         ip link set docker0 up; ip route add 0.0.0.0/1 dev docker0",
    );
    let network = "10.8.0.0/16".parse().unwrap();
    let restored = restore_all(&host, RouteMode::Default).unwrap();
    assert_eq!(restored.parts, [""; 0]);
    assert_eq!(restored.exempted, [network]);
    let warnings: Vec<_> = restored.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("10.8.0.0/24 overlaps 10.8.0.0/16 of interface `docker0`"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("0.0.0.0/1 by `docker0`"),
        "{warnings:?}"
    );
    assert_eq!(host.way("10.8.0.7"), "docker0");
    // While it is there it is a warning, and nothing changes.
    let again = restore_all(&host, RouteMode::Default).unwrap();
    assert_eq!(
        (again.exempted.len(), &again.warnings),
        (0, &restored.warnings)
    );
    host.namespace.sh("ip link del docker0");
    let gone = restore_all(&host, RouteMode::Default).unwrap();
    assert_eq!(
        (gone.parts.len(), gone.exempted.len(), gone.warnings.len()),
        (0, 0, 0)
    );
    assert_eq!(host.way("10.8.0.7"), "qdt0");
}

#[test]
fn an_intact_plan_misses_nothing() {
    let host = Host::new();
    host.namespace
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
    for mode in [
        RouteMode::Default,
        RouteMode::Cidr("10.9.0.0/16".parse().unwrap()),
        RouteMode::Cidr("0.0.0.0/0".parse().unwrap()),
        RouteMode::None,
    ] {
        host.install(mode);
        let before = host.everything();
        assert_eq!(restore(&host, mode).unwrap(), [""; 0], "{mode:?}");
        assert_eq!(host.everything(), before);
    }
}

#[test]
fn whatever_other_programs_remove_is_restored_and_named() {
    let host = Host::new();
    host.namespace
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
    host.install(RouteMode::Default);
    let before = host.everything();
    let identity = RouteIdentity::of("qdt0");
    let table = identity.table();
    let rules = [
        identity.networks_priority(),
        identity.lan_priority(),
        identity.default_priority(),
    ];
    let all_rules = rules.map(|priority| format!("rule {priority}")).join(", ");
    let [first, _, last] = rules;
    let routes = "route 10.8.0.0/24, route 0.0.0.0/0".to_owned();
    for (script, named) in [
        (format!("ip rule del pref {first}"), format!("rule {first}")),
        (format!("ip rule del pref {last}"), format!("rule {last}")),
        (
            "ip rule flush; ip rule add pref 32766 lookup main
             ip rule add pref 32767 lookup default"
                .to_owned(),
            all_rules.clone(),
        ),
        // What systemd-networkd does when it starts: rules that are not the kernel's go.
        (
            "for pref in $(ip rule | sed -n 's/^\\([0-9]*\\):.* proto 113$/\\1/p')
             do ip rule del pref $pref; done"
                .to_owned(),
            all_rules,
        ),
        (format!("ip route flush table {table}"), routes.clone()),
        (
            "ip link set qdt0 down; ip link set qdt0 up".to_owned(),
            routes,
        ),
        (
            format!("ip route replace default via 192.168.1.1 dev eth0 table {table} proto 113"),
            "route 0.0.0.0/0".to_owned(),
        ),
        (
            "nft flush ruleset".to_owned(),
            "nft table arp qdtguard_qdt0, nft table ip qdtguard_qdt0, nft table ip qdtmark_qdt0"
                .to_owned(),
        ),
        (
            "nft flush chain ip qdtguard_qdt0 in".to_owned(),
            "nft table ip qdtguard_qdt0".to_owned(),
        ),
        (
            "nft delete table arp qdtguard_qdt0".to_owned(),
            "nft table arp qdtguard_qdt0".to_owned(),
        ),
    ] {
        host.namespace.sh(&script);
        assert_ne!(host.everything(), before, "{script}");
        let restored = restore(&host, RouteMode::Default).unwrap();
        for part in named.split(", ") {
            assert!(
                restored.contains(&part.to_owned()),
                "{script}: {restored:?}"
            );
        }
        // Tables are listed in the order in which they were made.
        assert_eq!(sorted(&host.everything()), sorted(&before), "{script}");
        assert_eq!(host.way("203.0.113.9"), "qdt0", "{script}");
    }
}

#[test]
fn a_route_that_another_one_in_our_table_replaced_is_removed() {
    let host = Host::new();
    host.install(RouteMode::Default);
    let before = host.everything();
    let table = RouteIdentity::of("qdt0").table();
    // As an earlier plan could have left it.
    host.namespace.sh(&format!(
        "ip route add 198.51.100.0/24 dev eth0 table {table} proto 113"
    ));
    assert_eq!(restore(&host, RouteMode::Default).unwrap(), [""; 0]);
    assert_eq!(host.everything(), before);
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_strict_filter_that_is_enabled_later_gets_the_mark() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.namespace
        .sh("sysctl -qw net.ipv4.conf.eth0.rp_filter=1");
    assert_eq!(
        restore(&host, RouteMode::Default).unwrap(),
        ["nft table ip qdtmark_qdt0"]
    );
    let switch = host
        .namespace
        .sh("sysctl -n net.ipv4.conf.all.src_valid_mark");
    assert_eq!(switch.trim(), "1");
}

#[test]
fn a_repair_that_cannot_be_made_removes_nothing() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.namespace.sh("ip link set qdt0 down");
    let rules = host.namespace.sh("ip rule");
    let error = restore(&host, RouteMode::Default).unwrap_err();
    assert!(error.to_string().contains("Network is down"), "{error}");
    assert_eq!(host.namespace.sh("ip rule"), rules);
    host.namespace.sh("ip link del qdt0");
    let error = restore(&host, RouteMode::Default).unwrap_err();
    assert!(matches!(error, RouteError::TunMissing { .. }), "{error}");
}

#[test]
fn the_state_of_a_device_is_reported_as_other_programs_left_it() {
    let host = Host::new();
    host.namespace
        .sh("ip link set qdt0 mtu 1300; ip addr add 192.0.2.7/24 dev qdt0");
    let ask = async || HostLinks.status("qdt0").await.unwrap();
    let status = host.namespace.block_on(ask);
    let addresses: Vec<_> = status.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.8.0.5/32", "192.0.2.7/24"]);
    assert_eq!((status.mtu, status.up), (1300, true));
    host.namespace
        .sh("ip link set qdt0 down; ip addr flush dev qdt0");
    let status = host.namespace.block_on(ask);
    assert_eq!((status.addresses.len(), status.up), (0, false));
}

#[test]
fn a_refusal_of_nft_is_reported_with_its_text_and_the_remedy() {
    let host = Host::new();
    host.install(RouteMode::None);
    host.namespace.sh("nft flush ruleset");
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nft");
    std::fs::write(
        &program,
        "#!/bin/sh\necho 'Operation not permitted' >&2; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    // What was restored before the failure is reported with it.
    host.namespace
        .sh("ip rule del pref $(ip rule | grep -m1 'proto 113' | cut -d: -f1)");
    let restored = host.namespace.block_on(async || {
        private_mounts();
        mount(&["--bind", program.to_str().unwrap(), "/usr/sbin/nft"]);
        HostRoutes.restore(&plan(RouteMode::None)).await
    });
    assert_eq!(restored.parts.len(), 1, "{:?}", restored.parts);
    let error = restored.failure.unwrap();
    assert_eq!(
        error.to_string(),
        "routes of `qdt0`: cannot put back the nft table arp qdtguard_qdt0: nat: `nft` was refused \
         by the kernel: run as root or give the program CAP_NET_ADMIN (Operation not permitted)"
    );
    assert!(matches!(error, RouteError::Table { .. }), "{error:?}");
}

#[test]
fn leftovers_of_a_killed_run_with_another_device_do_not_block_the_new_tunnel() {
    let host = Host::new();
    host.namespace
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1; ip addr add 198.51.100.7/24 dev eth0");
    let device = |tun: &str| RoutePlan {
        tun: tun.to_owned(),
        ..plan(RouteMode::Default)
    };
    host.namespace.sh("ip addr del 10.8.0.5/32 dev qdt0");
    let killed = open_tun(&host.namespace, "qdt-1", "10.8.0.5/32");
    host.install_plan(&device("qdt-1"));
    drop(killed);
    host.namespace.sh("ip addr add 10.8.0.5/32 dev qdt0");
    // Of a running client whose device was just deleted.
    let owner = host.namespace.run(|| TunnelOwner::claim("qdt2").unwrap());
    let deleted = open_tun(&host.namespace, "qdt2", "10.8.0.78/32");
    let other = RoutePlan {
        address: "10.8.0.78".parse().unwrap(),
        ..device("qdt2")
    };
    host.install_plan(&other);
    drop(deleted);
    // And of programs that are not ours.
    host.namespace
        .sh("nft 'table ip qdtguard; table ip qdtguardian_qdt9 { }; table arp qdt_mine { }'");
    let left = host.namespace.sh("nft list tables");
    for table in [
        "ip qdtguard_qdt_2d1",
        "arp qdtguard_qdt_2d1",
        "ip qdtinbound_qdt_2d1",
    ] {
        assert!(
            left.contains(&format!("table {table}\n")),
            "{table}: {left}"
        );
    }

    host.namespace
        .block_on(async || HostRoutes.remove_leftovers("qdt0").await.unwrap());
    let left = host.namespace.sh("nft list tables");
    assert!(!left.contains("qdt_2d1"), "{left}");
    for table in [
        "ip qdtguard_qdt2",
        "arp qdtguard_qdt2",
        "ip qdtmark_qdt2",
        "ip qdtguard",
        "ip qdtguardian_qdt9",
        "arp qdt_mine",
    ] {
        assert!(
            left.contains(&format!("table {table}\n")),
            "{table}: {left}"
        );
    }
    // With the address that the killed run had.
    host.install(RouteMode::Default);
    let service = socket(&host.namespace, "10.8.0.5:9");
    host.tun.queues[0]
        .write(&crate::inbound::udp([10, 8, 0, 1], [10, 8, 0, 5]))
        .unwrap();
    assert_eq!(receive(&service).0, b"inner");
    drop(owner);
}
