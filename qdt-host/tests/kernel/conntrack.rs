//! The deletion of an inner address's flows before another client gets it.

use std::net::{IpAddr, Ipv4Addr};

use qdt_host::{Conntrack, ConntrackError, HostConntrack};

use crate::{
    namespace::Namespace,
    router::{Router, nothing_waits, plan, receive, socket},
};

const OWNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 5));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 6));

#[test]
fn replies_of_a_previous_owner_never_reach_a_reused_address() {
    let router = Router::new();
    router.install(&plan());
    let internet = socket(&router.internet, "203.0.113.9:9");
    let previous = socket(&router.client, "10.8.0.5:7000");
    previous.send_to(b"question", "203.0.113.9:9").unwrap();
    let (_, flow) = receive(&internet);
    internet.send_to(b"in time", flow).unwrap();
    assert_eq!(
        receive(&previous).0,
        b"in time",
        "as long as it has the address, answers come"
    );

    let forgotten = router
        .host
        .block_on(async || HostConntrack::open().delete_flows(&[OWNER]).await.unwrap());
    assert_eq!(forgotten, 1);

    internet.send_to(b"late", flow).unwrap();
    // An answer to the new owner takes the same path after it.
    let next = socket(&router.client, "10.8.0.5:7001");
    next.send_to(b"question", "203.0.113.9:9").unwrap();
    let (_, flow) = receive(&internet);
    internet.send_to(b"fresh", flow).unwrap();
    assert_eq!(receive(&next).0, b"fresh");
    nothing_waits(&previous);
}

#[test]
fn the_connections_of_other_addresses_stay() {
    let router = Router::new();
    router.install(&plan());
    let internet = socket(&router.internet, "203.0.113.9:9");
    for address in ["10.8.0.5:7001", "10.8.0.5:7002", "10.8.0.6:7001"] {
        let client = socket(&router.client, address);
        client.send_to(b"question", "203.0.113.9:9").unwrap();
        receive(&internet);
    }
    // One that comes from outside, to a port that the host forwards to the address.
    router.host.sh("nft add table ip ports
         nft 'add chain ip ports pre { type nat hook prerouting priority dstnat; }'
         nft add rule ip ports pre iifname eth0 udp dport 8000 dnat to 10.8.0.5");
    let inside = socket(&router.client, "10.8.0.5:8000");
    internet.send_to(b"knock", "203.0.113.1:8000").unwrap();
    receive(&inside);

    let list = || router.host.sh("conntrack -L -p udp 2>/dev/null");
    assert_eq!(list().lines().count(), 4);
    assert_eq!(
        router
            .host
            .block_on(async || HostConntrack::open().delete_flows(&[OWNER]).await.unwrap()),
        3
    );
    let left = list();
    assert!(
        left.lines().count() == 1 && left.contains("src=10.8.0.6"),
        "{left}"
    );
    assert_eq!(
        router
            .host
            .block_on(async || HostConntrack::open().delete_flows(&[OWNER]).await.unwrap()),
        0
    );
    let both = router.host.block_on(async || {
        HostConntrack::open()
            .delete_flows(&[OWNER, OTHER])
            .await
            .unwrap()
    });
    assert_eq!((both, list().as_str()), (1, ""));
}

#[test]
fn a_table_larger_than_one_answer_is_read_whole() {
    let router = Router::new();
    router.install(&plan());
    let socket = socket(&router.client, "10.8.0.5:7000");
    for port in 1..=1000 {
        socket.send_to(b"probe", ("203.0.113.9", port)).unwrap();
    }
    let forgotten = router
        .host
        .block_on(async || HostConntrack::open().delete_flows(&[OWNER]).await.unwrap());
    assert_eq!(forgotten, 1000);
}

#[test]
fn one_socket_serves_any_number_of_queries() {
    let router = Router::new();
    router.install(&plan());
    let socket = socket(&router.client, "10.8.0.5:7000");
    let (flows, counts) = router.host.block_on(async || {
        let flows = HostConntrack::open();
        let mut counts = Vec::new();
        for port in 1..=3 {
            socket.send_to(b"probe", ("203.0.113.9", port)).unwrap();
            counts.push(flows.delete_flows(&[OWNER]).await.unwrap());
        }
        (flows, counts)
    });
    assert_eq!(counts, [1, 1, 1]);
    // The socket belongs to the namespace that it was opened in, wherever it is used.
    socket.send_to(b"probe", "203.0.113.9:9").unwrap();
    let elsewhere = Namespace::new();
    let forgotten = elsewhere.block_on(async || flows.delete_flows(&[OWNER]).await.unwrap());
    assert_eq!(forgotten, 1);
}

#[test]
fn without_the_privilege_the_error_names_it() {
    let namespace = Namespace::new();
    let error = namespace.run(|| {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective
            .remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime
            .block_on(HostConntrack::open().delete_flows(&[OWNER]))
            .unwrap_err()
    });
    assert!(matches!(error, ConntrackError::Permission), "{error}");
}
