//! The host in memory behaves like a real host, as seen through the traits.

use std::io::ErrorKind;

use qdt_host::{
    Changes, Dns, DnsPlan, Firewall, LinkError, Links, NatPlan, RouteMode, RoutePlan, Routes,
    TunError, TunOpener, TunSpec, Watch,
    memory::{Call, MemoryHost},
};

fn spec() -> TunSpec {
    TunSpec {
        name: "qdt0".to_owned(),
        queues: 2,
        offload: true,
    }
}

#[test]
fn what_is_written_into_a_queue_comes_out_of_its_far_end_packet_by_packet() {
    let host = MemoryHost::new();
    let tun = host.open(&spec()).unwrap();
    let far = host.take_far_ends();
    assert_eq!((tun.queues.len(), far.len()), (2, 2));
    let mut buffer = [0; 64];
    assert_eq!(
        tun.queues[0].read(&mut buffer).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    tun.queues[1].write(b"one").unwrap();
    tun.queues[1].write(b"three").unwrap();
    assert_eq!(far[1].read(&mut buffer).unwrap(), 3);
    assert_eq!(far[1].read(&mut buffer).unwrap(), 5);
    far[0].write(b"down").unwrap();
    assert_eq!(tun.queues[0].read(&mut buffer).unwrap(), 4);
}

#[tokio::test]
async fn everything_that_is_installed_is_seen_and_gone_when_it_is_removed() {
    let host = MemoryHost::new();
    let routes = RoutePlan {
        tun: "qdt0".to_owned(),
        address: "10.8.0.5".parse().unwrap(),
        network: "10.8.0.0/24".parse().unwrap(),
        mode: RouteMode::Default,
    };
    let nat = NatPlan {
        tun: "qdt0".to_owned(),
        pool: "10.8.0.0/24".parse().unwrap(),
        external_interface: Some("eth0".to_owned()),
        client_to_client: false,
    };
    let dns = DnsPlan {
        tun: "qdt0".to_owned(),
        servers: vec!["10.8.0.1".parse().unwrap()],
    };
    host.set_address("qdt0", "10.8.0.5/32".parse().unwrap())
        .await
        .unwrap();
    host.set_mtu("qdt0", 1312).await.unwrap();
    host.set_up("qdt0").await.unwrap();
    Routes::install(&host, &routes).await.unwrap();
    Firewall::install(&host, &nat).await.unwrap();
    Dns::install(&host, &dns).await.unwrap();

    let state = host.state();
    let link = &state.links["qdt0"];
    assert_eq!((link.mtu, link.up), (Some(1312), true));
    assert_eq!(state.routes["qdt0"], routes);
    assert_eq!(state.nat["qdt0"], nat);
    assert_eq!(state.dns["qdt0"], dns.servers);

    Routes::remove(&host, "qdt0").await.unwrap();
    Firewall::remove(&host, "qdt0").await.unwrap();
    Dns::remove(&host, "qdt0").await.unwrap();
    let state = host.state();
    assert!(state.routes.is_empty() && state.nat.is_empty() && state.dns.is_empty());
    let calls: Vec<_> = host.take_calls().iter().map(Call::name).collect();
    assert_eq!(
        calls,
        [
            "set_address",
            "set_mtu",
            "set_up",
            "install_routes",
            "install_nat",
            "install_dns",
            "remove_routes",
            "remove_nat",
            "remove_dns"
        ]
    );
    assert_eq!(host.take_calls(), []);
}

#[tokio::test]
async fn a_call_fails_as_often_as_requested() {
    let host = MemoryHost::new();
    host.fail_next("set_up");
    host.fail_next("open_tun");
    assert!(matches!(
        host.set_up("qdt0").await,
        Err(LinkError::Permission { .. })
    ));
    assert!(matches!(
        host.open(&spec()),
        Err(TunError::Permission { .. })
    ));
    host.set_up("qdt0").await.unwrap();
    host.open(&spec()).unwrap();
}

#[tokio::test]
async fn what_a_test_changes_is_reported_to_watches() {
    let host = MemoryHost::new();
    let mut watch = host.watch();
    host.change(|state| state.routes.clear());
    host.announce(Changes::NONE);
    assert_eq!(watch.changed().await, Changes::ALL);
    let rules = Changes {
        rules: true,
        ..Changes::NONE
    };
    host.announce(rules);
    assert_eq!(watch.changed().await, rules);
}
