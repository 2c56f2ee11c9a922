//! The routes into the tunnel in each route mode, from `ip route get`.

use std::net::Ipv4Addr;

use qdt_host::{
    HostLinks, HostRoutes, Links, RouteError, RouteIdentity, RouteMode, RoutePlan, Routes,
};

use crate::{
    client::{Host, plan},
    router::{receive, socket},
};

#[test]
fn in_mode_default_all_but_the_lan_and_the_tunnel_itself_goes_into_the_tunnel() {
    let host = Host::new();
    let main = host.namespace.sh("ip route show table main");
    host.install(RouteMode::Default);
    for (destination, way) in [
        ("203.0.113.9", "qdt0"),
        ("10.8.0.1", "qdt0"),
        ("192.168.1.7", "eth0"),
        ("172.16.3.4", "eth0"),
        ("127.0.0.1", "lo"),
    ] {
        assert_eq!(host.way(destination), way, "{destination}");
    }
    assert!(
        host.namespace
            .sh("ip route get 203.0.113.9")
            .contains("src 10.8.0.5")
    );
    assert_eq!(host.tunnel_way("203.0.113.9"), "eth0");
    // A hostile server could name its own address as part of its network.
    assert_eq!(host.tunnel_way("10.8.0.1"), "eth0");
    assert_eq!(host.namespace.sh("ip route show table main"), main);
}

#[test]
fn in_mode_cidr_only_the_networks_named_go_into_the_tunnel() {
    let host = Host::new();
    host.install(RouteMode::Cidr("10.9.0.0/16".parse().unwrap()));
    for (destination, way) in [
        ("203.0.113.9", "eth0"),
        ("10.8.0.1", "qdt0"),
        ("10.9.77.1", "qdt0"),
        ("192.168.1.2", "lo"),
    ] {
        assert_eq!(host.way(destination), way, "{destination}");
    }
    assert_eq!(host.tunnel_way("10.9.77.1"), "eth0");
}

#[test]
fn multicast_and_broadcast_of_the_lan_stay_there_in_every_mode() {
    let host = Host::new();
    let names_no_interface: [Ipv4Addr; 4] = [
        [224, 0, 0, 251].into(),
        [239, 255, 255, 250].into(),
        Ipv4Addr::BROADCAST,
        [192, 168, 1, 255].into(),
    ];
    for mode in [
        RouteMode::Default,
        RouteMode::Cidr("10.9.0.0/16".parse().unwrap()),
        RouteMode::None,
    ] {
        host.install(mode);
        for target in names_no_interface {
            // Any free port: what another test starts keeps a closed socket's one until its exec.
            let listener = socket(&host.lan, "0.0.0.0:0");
            if target.is_multicast() {
                let interface = "192.168.1.1".parse().unwrap();
                listener.join_multicast_v4(&target, &interface).unwrap();
            }
            let program = socket(&host.namespace, "0.0.0.0:0");
            program.set_broadcast(true).unwrap();
            let question = target.to_string();
            let port = listener.local_addr().unwrap().port();
            program
                .send_to(question.as_bytes(), (target, port))
                .unwrap();
            let (said, peer) = receive(&listener);
            assert_eq!(said, question.as_bytes(), "{mode:?}");
            assert_eq!(peer.ip().to_string(), "192.168.1.2", "{target} {mode:?}");
        }
    }
    host.install(RouteMode::Default);
    assert_eq!(host.way("224.1.2.3"), "qdt0", "what routers may carry");
}

#[test]
fn discovery_without_a_lan_to_go_to_does_not_enter_the_tunnel_either() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.namespace.sh("ip route del default");
    for destination in ["224.0.0.251", "239.255.255.250", "255.255.255.255"] {
        let shown = host
            .namespace
            .sh(&format!("ip route get {destination} 2>&1 || true"));
        assert!(shown.contains("unreachable"), "{destination}: {shown}");
    }
    assert_eq!(host.way("203.0.113.9"), "qdt0");
}

#[test]
fn in_mode_none_only_the_tunnels_own_network_is_reached_through_it() {
    let host = Host::new();
    host.install(RouteMode::None);
    assert_eq!(host.way("10.8.0.1"), "qdt0");
    assert_eq!(host.way("203.0.113.9"), "eth0");
    assert_eq!(host.way("192.168.1.1"), "eth0");
}

#[test]
fn a_cidr_of_every_address_is_the_default_mode() {
    let host = Host::new();
    host.install(RouteMode::Cidr("0.0.0.0/0".parse().unwrap()));
    assert_eq!(host.way("203.0.113.9"), "qdt0");
    assert_eq!(host.tunnel_way("203.0.113.9"), "eth0");
}

#[test]
fn one_plan_replaces_another() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.install(RouteMode::Cidr("10.9.0.0/16".parse().unwrap()));
    assert_eq!(
        (host.way("10.9.1.1"), host.way("203.0.113.9")),
        ("qdt0".into(), "eth0".into())
    );
    let once = host.everything();
    host.install(RouteMode::Default);
    host.install(RouteMode::Cidr("10.9.0.0/16".parse().unwrap()));
    assert_eq!(host.everything(), once, "ten plans leave what one leaves");
}

#[test]
fn another_address_becomes_the_source_without_a_moment_outside_the_tunnel() {
    let host = Host::new();
    host.install(RouteMode::Default);
    host.namespace.block_on(async || {
        HostLinks
            .set_address("qdt0", "10.8.0.6/32".parse().unwrap())
            .await
            .unwrap();
    });
    // The routes stood while the address changed.
    let shown = host.namespace.sh("ip route get 203.0.113.9");
    assert!(
        shown.contains("dev qdt0 ") && shown.contains("src 10.8.0.6"),
        "{shown}"
    );
    let moved = RoutePlan {
        address: "10.8.0.6".parse().unwrap(),
        ..plan(RouteMode::Default)
    };
    host.namespace
        .block_on(async || HostRoutes.install(&moved).await.unwrap());
    assert_eq!(host.way("203.0.113.9"), "qdt0");
    assert!(
        !host.everything().contains("10.8.0.5"),
        "{}",
        host.everything()
    );
}

#[test]
fn removal_restores_the_host_and_may_be_repeated() {
    let host = Host::new();
    host.namespace
        .sh("ip rule add pref 300 lookup main; ip route add 10.99.0.0/16 dev eth0 table 7");
    let before = host.everything();
    for mode in [
        RouteMode::Default,
        RouteMode::Cidr("10.9.0.0/16".parse().unwrap()),
        RouteMode::None,
    ] {
        host.install(mode);
        assert_ne!(host.everything(), before);
        for _ in 0..2 {
            host.namespace
                .block_on(async || HostRoutes.remove("qdt0").await.unwrap());
            assert_eq!(host.everything(), before);
        }
    }
}

#[test]
fn a_killed_run_leaves_harmless_rules_that_the_next_start_removes() {
    let host = Host::new();
    let before = host.namespace.sh("ip rule; ip route show table all");
    let rules = host.namespace.sh("ip rule");
    host.install(RouteMode::Default);
    // What a kill does: the device goes with its descriptor, the rules stay.
    host.namespace.sh("ip link del qdt0");
    assert_ne!(host.namespace.sh("ip rule"), rules);
    assert_eq!(host.way("203.0.113.9"), "eth0");
    // Also for a client that has another device now.
    host.namespace
        .block_on(async || HostRoutes.remove_leftovers("other0").await.unwrap());
    let after = host.namespace.sh("ip rule; ip route show table all");
    assert_eq!(after.replace(" \n", "\n"), without_device(&before));
}

/// What remains of this text when the device is gone.
fn without_device(shown: &str) -> String {
    let lines = shown.lines().filter(|line| !line.contains("qdt0"));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_tunnel_of_another_client_is_not_a_leftover() {
    let host = Host::new();
    host.install(RouteMode::Default);
    let before = host.everything();
    host.namespace
        .block_on(async || HostRoutes.remove_leftovers("other0").await.unwrap());
    assert_eq!(host.everything(), before);
    host.namespace
        .block_on(async || HostRoutes.remove_leftovers("qdt0").await.unwrap());
    assert_eq!(host.way("203.0.113.9"), "eth0");
}

#[test]
fn a_plan_that_cannot_be_installed_leaves_nothing() {
    let host = Host::new();
    host.namespace.sh("ip link set qdt0 down");
    let before = host.everything();
    let install = async || {
        HostRoutes
            .install(&plan(RouteMode::Default))
            .await
            .unwrap_err()
    };
    assert_eq!(
        host.namespace.block_on(install).to_string(),
        "routes of `qdt0`: cannot route 10.8.0.0/24 into the tunnel: Network is down (os error 100)"
    );
    assert_eq!(host.everything(), before);
    host.namespace.sh("ip link del qdt0");
    let error = host.namespace.block_on(install);
    assert!(matches!(error, RouteError::TunMissing { .. }), "{error}");
}

#[test]
fn answers_of_the_server_pass_a_strict_reverse_path_filter() {
    let host = Host::new();
    host.namespace
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1");
    host.install(RouteMode::Default);
    let server = socket(&host.lan, "203.0.113.9:443");
    let client = socket(&host.namespace, "0.0.0.0:0");
    let mark = RouteIdentity::of("qdt0").mark();
    socket2::SockRef::from(&client).set_mark(mark).unwrap();

    client.send_to(b"question", "203.0.113.9:443").unwrap();
    let (_, peer) = receive(&server);
    server.send_to(b"answer", peer).unwrap();
    assert_eq!(receive(&client).0, b"answer");
    host.namespace
        .block_on(async || HostRoutes.remove("qdt0").await.unwrap());
    assert_eq!(host.namespace.sh("nft list ruleset"), "");
}
