//! NAT and forwarding of a server, with real traffic and foreign rules.

use std::time::{Duration, Instant};

use qdt_host::{Firewall, FirewallError, FirewallWarning, HostFirewall, NatPlan};

use crate::{
    namespace::{Namespace, hide},
    router::{Router, nothing_waits, plan, receive, socket},
};

/// Sends a request of the client, which `listener` answers; returns the source that it saw.
fn seen(router: &Router, listener: &std::net::UdpSocket) -> String {
    let client = socket(&router.client, "10.8.0.5:0");
    client
        .send_to(b"question", listener.local_addr().expect("it is bound"))
        .expect("it can be sent");
    let (_, source) = receive(listener);
    listener.send_to(b"answer", source).expect("it can be sent");
    assert_eq!(receive(&client).0, b"answer");
    source.ip().to_string()
}

#[test]
fn clients_reach_the_internet_under_the_address_of_the_server() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    assert_eq!(router.install(&plan()), []);
    assert_eq!(seen(&router, &internet), "203.0.113.1");
}

#[test]
fn clients_reach_the_internet_where_the_iptables_forward_policy_is_drop() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    router
        .host
        .sh("iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 -j ACCEPT");
    let before = router.host.sh("iptables -S FORWARD");
    for _ in 0..3 {
        router.install(&plan());
    }
    assert_eq!(
        router.host.sh("iptables -S FORWARD"),
        "-P FORWARD DROP\n\
         -A FORWARD -s 10.8.0.0/24 -i qdt0 -o eth0 -m comment --comment \"qdt qdt0\" -j ACCEPT\n\
         -A FORWARD -d 10.8.0.0/24 -i eth0 -o qdt0 -m conntrack --ctstate RELATED,ESTABLISHED \
         -m comment --comment \"qdt qdt0\" -j ACCEPT\n\
         -A FORWARD -i docker0 -j ACCEPT\n"
    );
    assert_eq!(seen(&router, &internet), "203.0.113.1");
    router.remove();
    assert_eq!(router.host.sh("iptables -S FORWARD"), before);
}

#[test]
fn a_forward_chain_that_rejects_the_rest_is_as_closed_as_one_that_drops() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    router
        .host
        .sh("iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited");
    router.install(&plan());
    assert_eq!(seen(&router, &internet), "203.0.113.1");
}

#[test]
fn the_servers_lan_is_not_reachable_and_the_attempt_is_counted() {
    let router = Router::new();
    let lan = socket(&router.lan, "192.168.7.7:9");
    let internet = socket(&router.internet, "203.0.113.9:9");
    router.install(&plan());
    let client = socket(&router.client, "10.8.0.5:0");
    client.send_to(b"probe", lan.local_addr().unwrap()).unwrap();
    // What was sent after it has arrived, so what did not arrive was dropped.
    seen(&router, &internet);
    let table = router.host.sh("nft list table ip qdt_qdt0");
    assert!(table.contains("counter packets 1 bytes 33 drop"), "{table}");
    nothing_waits(&lan);
}

#[test]
fn no_host_outside_opens_a_connection_to_a_client_and_the_attempts_are_counted() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    let lan = socket(&router.lan, "192.168.7.7:9");
    let service = socket(&router.client, "10.8.0.5:80");
    router
        .internet
        .sh("ip route add 10.8.0.0/24 via 203.0.113.1");
    router.install(&plan());
    for neighbour in [&internet, &lan] {
        neighbour.send_to(b"knock", "10.8.0.5:80").unwrap();
        // What was sent after it has arrived, so what did not arrive was dropped.
        assert_eq!(seen(&router, &internet), "203.0.113.1");
        nothing_waits(&service);
    }
    let counter = || router.host.sh("nft list counter ip qdt_qdt0 inbound");
    assert!(counter().contains("packets 2 "), "{}", counter());
}

#[test]
fn no_host_outside_reaches_a_client_by_ipv6() {
    let router = Router::new();
    router
        .host
        .sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
         ip addr add fd00:8::1/64 dev qdt0 nodad; ip addr add 2001:db8::1/64 dev eth0 nodad");
    router
        .client
        .sh("ip addr add fd00:8::5/64 dev tun0 nodad; ip -6 route add default via fd00:8::1");
    router.internet.sh(
        "ip addr add 2001:db8::9/64 dev eth0 nodad; ip -6 route add fd00:8::/64 via 2001:db8::1",
    );
    let service = socket(&router.client, "[fd00:8::5]:80");
    let internet = socket(&router.internet, "[2001:db8::9]:9");
    router.install(&plan());
    internet.send_to(b"knock", "[fd00:8::5]:80").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let counted = || {
        let counter = router
            .host
            .sh("nft list counter ip6 qdt_qdt0 inbound 2>&1 || true");
        counter.contains("packets 1 ")
    };
    while !counted() {
        assert!(Instant::now() < deadline, "nothing was counted");
    }
    // What was sent after it has arrived, so what did not arrive was dropped.
    let host = socket(&router.host, "[fd00:8::1]:9");
    host.send_to(b"later", "[fd00:8::5]:80").unwrap();
    assert_eq!(receive(&service).0, b"later");
}

#[test]
fn a_port_that_the_host_forwards_to_a_client_is_open() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    let service = socket(&router.client, "10.8.0.5:80");
    router.install(&plan());
    router.host.sh("nft add table ip ports
         nft 'add chain ip ports pre { type nat hook prerouting priority dstnat; }'
         nft add rule ip ports pre iifname eth0 udp dport 8080 dnat to 10.8.0.5:80");
    internet.send_to(b"question", "203.0.113.1:8080").unwrap();
    let (question, from) = receive(&service);
    assert_eq!(question, b"question");
    service.send_to(b"answer", from).unwrap();
    assert_eq!(receive(&internet).0, b"answer");
}

#[test]
fn while_the_external_interface_is_unknown_nothing_leaves_and_nothing_enters() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    let client = socket(&router.client, "10.8.0.5:80");
    router
        .internet
        .sh("ip route add 10.8.0.0/24 via 203.0.113.1");
    let waiting = NatPlan {
        external_interface: None,
        ..plan()
    };
    assert_eq!(router.install(&waiting), []);
    client.send_to(b"probe", "203.0.113.9:9").unwrap();
    internet.send_to(b"knock", "10.8.0.5:80").unwrap();
    router.install(&plan());
    assert_eq!(seen(&router, &internet), "203.0.113.1");
    nothing_waits(&internet);
    nothing_waits(&client);
}

#[test]
fn the_lan_is_reachable_where_it_is_the_external_interface() {
    let router = Router::new();
    let lan = socket(&router.lan, "192.168.7.7:9");
    router.install(&NatPlan {
        external_interface: Some("lan0".to_owned()),
        ..plan()
    });
    assert_eq!(seen(&router, &lan), "192.168.7.1");
}

#[test]
fn nat_rules_do_not_pile_up_after_kill_9() {
    for policy in ["ACCEPT", "DROP"] {
        let router = Router::new();
        router.host.sh(&format!(
            "nft add table inet firewalld
             nft 'add chain inet firewalld f {{ type filter hook forward priority 5; }}'
             nft add rule inet firewalld f iifname wan0 counter drop
             iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -o eth0 -m comment --comment 'qdt' \
             -j MASQUERADE
             iptables -A FORWARD -m comment --comment 'not qdt qdt0' -j ACCEPT
             iptables -P FORWARD {policy}"
        ));
        let before = router.host.sh("nft list ruleset");
        for _ in 0..10 {
            // Start and kill, without a clean-up.
            router
                .host
                .block_on(async || HostFirewall.remove_leftovers("qdt0").await.unwrap());
            router.install(&plan());
            let ours = router.host.sh("nft list table ip qdt_qdt0");
            assert_eq!(ours.matches("masquerade").count(), 1, "{ours}");
            let others = router.ruleset().matches("masquerade").count();
            assert_eq!(others, 2, "ours and one that was there before");
            let rules = router
                .host
                .sh("iptables -S")
                .matches("--comment \"qdt qdt0\"")
                .count();
            assert_eq!(rules, if policy == "DROP" { 2 } else { 0 });
        }
        router.remove();
        assert_eq!(router.host.sh("nft list ruleset"), before, "{policy}");
        router.remove();
        assert_eq!(router.host.sh("nft list ruleset"), before, "{policy}");
    }
}

#[test]
fn installing_and_removing_makes_no_table_of_iptables() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        HostFirewall.remove_leftovers("qdt0").await.unwrap();
        HostFirewall.install(&plan()).await.unwrap();
    });
    let installed = namespace.sh("nft list tables");
    assert_eq!(installed, "table ip qdt_qdt0\ntable ip6 qdt_qdt0\n");
    namespace.block_on(async || HostFirewall.remove("qdt0").await.unwrap());
    assert_eq!(namespace.sh("nft list ruleset"), "");
}

#[test]
fn leftovers_of_a_killed_server_with_another_device_are_removed_and_a_running_one_stays() {
    let router = Router::new();
    router.host.sh("iptables -P FORWARD DROP");
    let before = router.ruleset();
    router.install(&NatPlan {
        tun: "old-tun.1".to_owned(),
        ..plan()
    });
    router.install(&plan());
    let both = router.ruleset();
    assert!(both.contains("table ip qdt_old_2dtun_2e1"), "{both}");
    router
        .host
        .block_on(async || HostFirewall.remove_leftovers("qdt1").await.unwrap());
    let one = router.ruleset();
    assert!(!one.contains("old") && one.contains("qdt_qdt0"), "{one}");
    assert_eq!(router.host.sh("iptables -S FORWARD").lines().count(), 3);
    router.remove();
    assert_eq!(router.ruleset(), before);
}

#[test]
fn an_external_interface_that_does_not_exist_yet_is_a_warning_and_works_once_it_does() {
    let router = Router::new();
    let internet = socket(&router.internet, "203.0.113.9:9");
    router
        .host
        .sh("ip link set eth0 down; ip link set eth0 name later0");
    let warnings = router.install(&plan());
    assert_eq!(
        warnings,
        [FirewallWarning::ExternalInterfaceMissing {
            name: "eth0".to_owned()
        }]
    );
    router
        .host
        .sh("ip link set later0 name eth0; ip link set eth0 up");
    assert_eq!(seen(&router, &internet), "203.0.113.1");
}

#[test]
fn clients_reach_each_other_through_the_kernel_only_when_allowed() {
    let router = Router::new();
    router.install(&NatPlan {
        client_to_client: true,
        ..plan()
    });
    assert!(
        router
            .ruleset()
            .contains("iifname \"qdt0\" oifname \"qdt0\" accept")
    );
    router.install(&plan());
    assert!(!router.ruleset().contains("oifname \"qdt0\" accept"));
}

#[test]
fn names_that_are_more_than_a_name_never_reach_a_rule() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        for name in ["eth0\" accept; #", "e*", "", "-x"] {
            let bad = NatPlan {
                external_interface: Some(name.to_owned()),
                ..plan()
            };
            let error = HostFirewall.install(&bad).await.unwrap_err();
            assert!(matches!(error, FirewallError::Name(_)), "{name}: {error}");
        }
    });
    assert_eq!(namespace.sh("nft list ruleset"), "");
}

#[test]
fn where_nft_is_missing_the_error_names_the_package() {
    let namespace = Namespace::new();
    let error = namespace.block_on(async || {
        hide("/usr/sbin/nft");
        HostFirewall
            .remove_leftovers("qdt0")
            .await
            .expect("there is nothing left then");
        HostFirewall
            .remove("qdt0")
            .await
            .expect("there is nothing to remove then");
        HostFirewall.install(&plan()).await.unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "nat: the program `nft` is missing: install the package nftables (`apt install nftables`)"
    );
}

#[test]
fn without_the_privilege_the_error_names_it() {
    let namespace = Namespace::new();
    let error = namespace.block_on(async || {
        // Commands started by this thread cannot get it back.
        let net_admin = rustix::thread::CapabilitySet::NET_ADMIN;
        rustix::thread::remove_capability_from_bounding_set(net_admin).unwrap();
        HostFirewall.install(&plan()).await.unwrap_err()
    });
    assert!(
        matches!(error, FirewallError::Permission { program: "nft", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}
