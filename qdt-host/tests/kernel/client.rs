//! A client's host with its tunnel up, for tests of routes and of the LAN.

use qdt_host::{
    HostLinks, HostRoutes, HostTuns, Links, RouteIdentity, RouteMode, RoutePlan, Routes, Tun,
    TunOpener, TunSpec,
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
        let tun = open_tun(&namespace, "qdt0", "10.8.0.5/32");
        Self {
            namespace,
            lan,
            tun,
        }
    }

    pub(crate) fn install(&self, mode: RouteMode) {
        assert_eq!(self.install_plan(&plan(mode)), [""; 0]);
    }

    /// Returns the warnings.
    pub(crate) fn install_plan(&self, plan: &RoutePlan) -> Vec<String> {
        let warnings = self
            .namespace
            .block_on(async || HostRoutes.install(plan).await)
            .expect("routes can be installed");
        warnings.iter().map(ToString::to_string).collect()
    }

    /// Returns the interface by which this host sends to `destination`.
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

/// A device of a client, up and with its address.
pub(crate) fn open_tun(namespace: &Namespace, name: &str, address: &str) -> Tun {
    let spec = TunSpec {
        name: name.to_owned(),
        queues: 1,
        offload: false,
    };
    let tun = namespace.run(|| HostTuns.open(&spec).expect("root can open a device"));
    namespace.block_on(async || {
        let address = address.parse().expect("an address");
        HostLinks
            .set_address(name, address)
            .await
            .expect("an address can be set");
        HostLinks
            .set_up(name)
            .await
            .expect("the device can be brought up");
    });
    tun
}

pub(crate) fn plan(mode: RouteMode) -> RoutePlan {
    RoutePlan {
        tun: "qdt0".to_owned(),
        address: "10.8.0.5".parse().expect("an address"),
        network: "10.8.0.0/24".parse().expect("a network"),
        mode,
    }
}
