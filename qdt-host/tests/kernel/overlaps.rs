//! Overlaps of a tunnel's networks with the host's: LANs, containers, other VPNs, a second client.

use qdt_host::{HostRoutes, RouteError, RouteIdentity, RouteMode, RoutePlan, Routes};

use crate::client::{Host, open_tun, plan};

/// The plan of a tunnel whose pool is `network`.
fn pool(network: &str, mode: fn(ipnet::IpNet) -> RouteMode) -> RoutePlan {
    let network = network.parse().expect("a network");
    RoutePlan {
        network,
        ..plan(mode(network))
    }
}

const MODES: [fn(ipnet::IpNet) -> RouteMode; 3] =
    [|_| RouteMode::Default, RouteMode::Cidr, |_| RouteMode::None];

#[test]
fn a_pool_over_the_lan_leaves_the_lan_reachable_with_a_warning() {
    let host = Host::new();
    for mode in MODES {
        let plan = pool("192.168.0.0/16", mode);
        let warnings = host.install_plan(&plan);
        assert_eq!(
            warnings,
            [
                "the tunnel's network 192.168.0.0/16 overlaps 192.168.1.0/24 of interface `eth0`: \
                 what lies in both is reached there and not through the tunnel; set another \
                 `pool_cidr` at the server or give `eth0` another network"
            ]
        );
        assert_eq!(host.way("192.168.1.7"), "eth0");
        for gateway_and_others in ["192.168.0.1", "192.168.77.1", "192.168.2.1"] {
            assert_eq!(host.way(gateway_and_others), "qdt0", "{:?}", plan.mode);
        }
        let once = host.everything();
        assert_eq!(host.install_plan(&plan), warnings);
        assert_eq!(host.everything(), once, "again changes nothing");
    }
    host.namespace
        .block_on(async || HostRoutes.remove("qdt0").await.unwrap());
    assert!(!host.namespace.sh("ip rule").contains("proto 113"));
}

#[test]
fn a_container_bridge_over_the_pool_stays_reachable_and_is_named() {
    let host = Host::new();
    host.namespace.sh(
        "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0
             ip link set docker0 up",
    );
    for mode in MODES {
        let warnings = host.install_plan(&pool("172.17.0.0/24", mode));
        assert_eq!(host.way("172.17.0.2"), "docker0");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in ["172.17.0.0/24", "172.17.0.0/16", "`docker0`", "`pool_cidr`"] {
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
    }
}

#[test]
fn a_lan_whose_dhcp_client_writes_the_routes_itself_stays_reachable_and_is_named() {
    let host = Host::new();
    // As dhcpcd and others do it: the kernel makes no route for the address.
    host.namespace
        .sh("ip link add w0 type bridge; ip link set w0 up
         ip addr add 10.8.0.200/25 dev w0 noprefixroute
         ip route add 10.8.0.128/25 dev w0 proto dhcp scope link src 10.8.0.200 metric 202
         ip route add 10.8.0.64/26 dev w0 proto dhcp scope link");
    for mode in MODES {
        let warnings = host.install_plan(&pool("10.8.0.0/24", mode));
        assert_eq!(host.way("10.8.0.201"), "w0");
        for not_connected in ["10.8.0.1", "10.8.0.65"] {
            assert_eq!(host.way(not_connected), "qdt0");
        }
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("10.8.0.128/25 of interface `w0`"),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_network_that_the_host_has_left_enters_the_tunnel_and_a_new_one_is_exempt() {
    let host = Host::new();
    let plan = pool("192.168.0.0/16", |_| RouteMode::Default);
    host.install_plan(&plan);
    host.namespace.sh(
        "ip addr add 192.168.60.2/24 dev eth0; ip addr del 192.168.1.2/24 dev eth0
             ip route replace default via 192.168.60.1",
    );
    assert_eq!(host.way("192.168.1.7"), "qdt0", "never to the new LAN");
    let warnings = host.install_plan(&plan);
    assert!(warnings[0].contains("192.168.60.0/24"), "{warnings:?}");
    assert_eq!(host.way("192.168.60.7"), "eth0");
    assert_eq!(host.way("192.168.1.7"), "qdt0");
    let rules = host.namespace.sh("ip rule");
    assert!(!rules.contains("192.168.1.0"), "{rules}");
}

#[test]
fn another_vpns_part_of_a_wide_pool_stays_its_own_and_what_a_lan_invents_does_not() {
    let host = Host::new();
    host.namespace.sh(
        "ip tuntap add wg0 mode tun; ip link set wg0 up; ip addr add 10.200.0.2/32 dev wg0
         ip route add 10.8.64.0/18 dev wg0
         ip route add 10.8.128.0/18 via 192.168.1.9
         ip route add 10.0.0.0/9 dev wg0",
    );
    for mode in MODES {
        let plan = pool("10.8.0.0/16", mode);
        let warnings = host.install_plan(&plan);
        assert_eq!(host.way("10.8.64.1"), "wg0", "{:?}", plan.mode);
        assert_eq!(host.way("10.8.128.1"), "qdt0");
        assert_eq!(
            host.way("10.8.0.1"),
            "qdt0",
            "more specific than 10.0.0.0/9"
        );
        assert_eq!(host.way("10.9.0.1"), "wg0");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("10.8.64.0/18 of interface `wg0`"),
            "{warnings:?}"
        );
    }
}

#[test]
fn two_halves_of_a_default_route_do_not_empty_the_tunnel() {
    let host = Host::new();
    host.namespace
        .sh("ip route add 0.0.0.0/1 via 192.168.1.9; ip route add 128.0.0.0/1 via 192.168.1.9");
    let warnings = host.install_plan(&plan(RouteMode::Default));
    for destination in ["203.0.113.9", "9.9.9.9", "10.8.0.1"] {
        assert_eq!(host.way(destination), "qdt0");
        assert_eq!(host.tunnel_way(destination), "eth0");
    }
    assert_eq!(host.way("192.168.1.7"), "eth0");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("0.0.0.0/1 by `eth0`"), "{warnings:?}");
    // The other modes do not touch what they do not carry.
    assert_eq!(host.install_plan(&plan(RouteMode::None)), [""; 0]);
    assert_eq!(host.way("203.0.113.9"), "eth0");
}

#[test]
fn two_clients_never_carry_each_other_and_the_second_names_what_both_route() {
    let host = Host::new();
    let _second = open_tun(&host.namespace, "qdt1", "10.9.0.5/32");
    host.install(RouteMode::Default);
    let other = RoutePlan {
        tun: "qdt1".to_owned(),
        address: "10.9.0.5".parse().unwrap(),
        network: "10.9.0.0/24".parse().unwrap(),
        mode: RouteMode::Default,
    };
    let warnings = host.install_plan(&other);
    let winner = host.way("203.0.113.9");
    assert!(["qdt0", "qdt1"].contains(&winner.as_str()), "{winner}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["`qdt0`", "0.0.0.0/0", &format!("into `{winner}`")] {
        assert!(warnings[0].contains(part), "{part}: {warnings:?}");
    }
    assert_eq!(
        (host.way("10.8.0.1"), host.way("10.9.0.1")),
        ("qdt0".into(), "qdt1".into())
    );
    for tun in ["qdt0", "qdt1"] {
        let mark = RouteIdentity::of(tun).mark();
        let way = host.way(&format!("203.0.113.9 mark {mark:#x}"));
        assert_eq!(way, "eth0", "the packets of {tun} itself");
    }
    // One that takes everything leaves the other's network alone, whichever stands first.
    for (everything, network) in [
        (&plan(RouteMode::Default), &other),
        (&other, &plan(RouteMode::Default)),
    ] {
        let network = RoutePlan {
            mode: RouteMode::None,
            ..network.clone()
        };
        host.install_plan(everything);
        assert_eq!(host.install_plan(&network), [""; 0]);
        assert_eq!(
            (host.way("10.8.0.1"), host.way("10.9.0.1")),
            ("qdt0".into(), "qdt1".into())
        );
        assert_eq!(host.way("203.0.113.9"), everything.tun);
    }
    host.install_plan(&plan(RouteMode::Default));
    host.install_plan(&other);
    // The end of one leaves the other as it was.
    host.namespace
        .block_on(async || HostRoutes.remove("qdt1").await.unwrap());
    assert_eq!(host.way("203.0.113.9"), "qdt0");
    assert_eq!(host.install_plan(&plan(RouteMode::Default)), [""; 0]);
}

#[test]
fn two_clients_of_one_pool_report_which_of_them_reaches_it() {
    let host = Host::new();
    let _second = open_tun(&host.namespace, "qdt1", "10.8.0.6/32");
    host.install(RouteMode::None);
    let other = RoutePlan {
        tun: "qdt1".to_owned(),
        address: "10.8.0.6".parse().unwrap(),
        ..plan(RouteMode::None)
    };
    let warnings = host.install_plan(&other);
    let winner = host.way("10.8.0.1");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains(&format!("into `{winner}`")),
        "{warnings:?}"
    );
}

#[test]
fn an_address_that_the_host_has_already_is_refused_before_any_packet_is_dropped() {
    let host = Host::new();
    host.namespace.sh("ip addr add 10.8.0.5/24 dev eth0");
    let before = host.everything();
    let error = host
        .namespace
        .block_on(async || HostRoutes.install(&plan(RouteMode::Default)).await)
        .unwrap_err();
    assert!(matches!(error, RouteError::AddressTaken { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "routes of `qdt0`: the server gave this client 10.8.0.5, which `eth0` has already: set \
         another `pool_cidr` at the server or give `eth0` another address"
    );
    assert_eq!(host.everything(), before);
}
