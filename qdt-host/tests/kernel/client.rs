//! A client's host with its tunnel up, for the tests of routes and of what the LAN sees.

use qdt_host::{
    HostLinks, HostRoutes, Links, RouteIdentity, RouteMode, RoutePlan, Routes, Tun, TunSpec,
};

use crate::namespace::Namespace;

/// A client's host on a LAN with a router, its tunnel up but without routes yet.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) lan: Namespace,
    pub(crate) tun: Tun,
}

impl Host {
    pub(crate) fn new() -> Self {
        let namespace = Namespace::new();
        let lan = Namespace::new();
        namespace.connect("eth0", &lan, "lan0");
        namespace.sh(
            "ip addr add 192.168.1.2/24 dev eth0; ip route add default via 192.168.1.1
             ip route add 172.16.0.0/12 via 192.168.1.9",
        );
        lan.sh("ip addr add 192.168.1.1/24 dev lan0; ip addr add 203.0.113.9/32 dev lo");
        let spec = TunSpec {
            name: "qdt0".to_owned(),
            queues: 1,
            offload: false,
        };
        let tun = namespace.run(|| Tun::open(&spec).expect("root can open a device"));
        namespace.block_on(async || {
            let address = "10.8.0.5/32".parse().expect("an address");
            HostLinks
                .set_address("qdt0", address)
                .await
                .expect("an address can be set");
            HostLinks
                .set_up("qdt0")
                .await
                .expect("the device can be brought up");
        });
        Self {
            namespace,
            lan,
            tun,
        }
    }

    pub(crate) fn install(&self, mode: RouteMode) {
        let warnings = self
            .namespace
            .block_on(async || HostRoutes.install(&plan(mode)).await);
        assert_eq!(warnings.expect("routes can be installed"), []);
    }

    /// The interface by which this host sends to `destination`.
    pub(crate) fn way(&self, destination: &str) -> String {
        let shown = self.namespace.sh(&format!("ip route get {destination}"));
        let mut words = shown.split_whitespace().skip_while(|word| *word != "dev");
        words.nth(1).expect("every route has a device").to_owned()
    }

    pub(crate) fn tunnel_way(&self, destination: &str) -> String {
        let mark = RouteIdentity::of("qdt0").mark();
        self.way(&format!("{destination} mark {mark:#x}"))
    }

    pub(crate) fn everything(&self) -> String {
        self.namespace
            .sh("ip -4 rule; ip -4 route show table all; nft list ruleset")
    }
}

pub(crate) fn plan(mode: RouteMode) -> RoutePlan {
    RoutePlan {
        tun: "qdt0".to_owned(),
        address: "10.8.0.5".parse().expect("an address"),
        network: "10.8.0.0/24".parse().expect("a network"),
        mode,
    }
}
