//! A server's host between a client, the internet and a LAN, for the tests of NAT.
//!
//! The firewall knows the TUN device by its name only, so here a veth of that name leads to a
//! client: what a packet worker would write into the device comes out of it.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use qdt_host::{Firewall, FirewallWarning, HostFirewall, NatPlan};

use crate::namespace::Namespace;

pub(crate) struct Router {
    pub(crate) host: Namespace,
    pub(crate) client: Namespace,
    pub(crate) internet: Namespace,
    pub(crate) lan: Namespace,
}

impl Router {
    /// Client 10.8.0.5 - (qdt0) host (eth0) - internet 203.0.113.9; (lan0) - LAN 192.168.7.7, which
    /// has a route back to the clients.
    pub(crate) fn new() -> Self {
        let router = Self {
            host: Namespace::new(),
            client: Namespace::new(),
            internet: Namespace::new(),
            lan: Namespace::new(),
        };
        router.host.connect("qdt0", &router.client, "tun0");
        router.host.connect("eth0", &router.internet, "eth0");
        router.host.connect("lan0", &router.lan, "eth0");
        router.host.sh(
            "ip addr add 10.8.0.1/24 dev qdt0; ip addr add 203.0.113.1/24 dev eth0
                        ip addr add 192.168.7.1/24 dev lan0",
        );
        router.client.sh(
            "ip addr add 10.8.0.5/24 dev tun0; ip addr add 10.8.0.6/24 dev tun0
                          ip route add default via 10.8.0.1",
        );
        router.internet.sh("ip addr add 203.0.113.9/24 dev eth0");
        router
            .lan
            .sh("ip addr add 192.168.7.7/24 dev eth0; ip route add default via 192.168.7.1");
        router
            .host
            .run(|| HostFirewall.enable_forwarding().expect("root may forward"));
        router
    }

    pub(crate) fn install(&self, plan: &NatPlan) -> Vec<FirewallWarning> {
        let installed = self
            .host
            .block_on(async || HostFirewall.install(plan).await);
        installed.expect("the plan can be installed")
    }

    pub(crate) fn remove(&self) {
        let removed = self
            .host
            .block_on(async || HostFirewall.remove("qdt0").await);
        removed.expect("the plan can be removed");
    }

    /// Every rule there is, without the counters that traffic moves.
    pub(crate) fn ruleset(&self) -> String {
        self.host.sh("nft -s list ruleset")
    }
}

pub(crate) fn plan() -> NatPlan {
    NatPlan {
        tun: "qdt0".to_owned(),
        pool: "10.8.0.0/24".parse().expect("a network"),
        external_interface: Some("eth0".to_owned()),
        client_to_client: false,
    }
}

/// A UDP socket in `namespace` that waits at most five seconds for anything.
pub(crate) fn socket(namespace: &Namespace, address: &str) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(address).expect("a socket can be bound"));
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a deadline can be set");
    socket
}

/// The next packet that arrives at `socket`, and its source.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            // A child of another test has ended.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => {
                let (len, source) = received.expect("a packet arrives");
                return (buffer[..len].to_vec(), source);
            }
        }
    }
}

/// Asserts that no packet waits at `socket`. What was sent before something that has arrived on the
/// same way would have arrived too.
pub(crate) fn nothing_waits(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a mode");
    let error = socket
        .recv(&mut [0; 2048])
        .expect_err("nothing was to arrive");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("a mode");
}
