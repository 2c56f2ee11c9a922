//! Impairments of the path between client and server: loss, a limited rate, a smaller MTU, or an
//! outage.

use std::time::Duration;

use super::topology::Lab;

/// One nft table in each router holds the impairments; replacing it is atomic.
const TABLE: &str = "table inet impairment";

impl Lab {
    /// Loses that share of the packets on the middle link, each way.
    ///
    /// # Panics
    /// When nft refuses it.
    pub fn lose_percent(&self, percent: u32) {
        self.disable_segmentation_offload();
        self.on_middle_link(&format!("numgen random mod 100 < {percent} drop"));
    }

    /// Lets nothing through on the middle link, either way.
    ///
    /// # Panics
    /// When nft refuses it.
    pub fn cut(&self) {
        self.on_middle_link("drop");
    }

    /// Removes loss and outage.
    ///
    /// # Panics
    /// When nft refuses it.
    pub fn heal(&self) {
        for router in [&self.edge, &self.core] {
            router.nft(&format!("add {TABLE}\ndelete {TABLE}\n"));
        }
    }

    /// Limits the middle link to that rate, each way, with a queue of 50 ms.
    ///
    /// # Panics
    /// When tc refuses it.
    pub fn limit_mbit(&self, mbit: u32) {
        self.limit_mbit_with_queue(mbit, Duration::from_millis(50));
    }

    /// As [`Lab::limit_mbit`], with a queue in which a packet may wait for that long.
    ///
    /// # Panics
    /// When tc refuses it.
    pub fn limit_mbit_with_queue(&self, mbit: u32, queue: Duration) {
        for router in [&self.edge, &self.core] {
            let rate = format!("{mbit}mbit");
            let latency = format!("{}ms", queue.as_millis());
            router.run(
                "tc",
                &[
                    "qdisc", "replace", "dev", "mid", "root", "tbf", "rate", &rate, "burst", "64k",
                    "latency", &latency,
                ],
            );
        }
    }

    /// Sets the MTU of the middle link: larger packets are answered with ICMP
    /// too-big (or dropped, see [`Lab::black_hole_icmp`]).
    ///
    /// # Panics
    /// When the kernel refuses it (IPv6 needs 1280).
    pub fn path_mtu(&self, mtu: u32) {
        for router in [&self.edge, &self.core] {
            router.ip(&format!("link set mid mtu {mtu}"));
        }
    }

    /// From now on the routers send no ICMP errors: a path whose MTU has to be
    /// found by probing.
    ///
    /// # Panics
    /// When nft refuses it.
    pub fn black_hole_icmp(&self) {
        for router in [&self.edge, &self.core] {
            router.nft(
                "table inet silence {\n\
                 chain output {\ntype filter hook output priority 0\n\
                 icmp type destination-unreachable drop\n\
                 icmpv6 type packet-too-big drop\n}\n}\n",
            );
        }
    }

    fn on_middle_link(&self, verdict: &str) {
        for router in [&self.edge, &self.core] {
            router.nft(&format!(
                "add {TABLE}\ndelete {TABLE}\n{TABLE} {{\nchain forward {{\n\
                 type filter hook forward priority -10\niifname \"mid\" {verdict}\n}}\n}}\n"
            ));
        }
    }

    /// Switches GSO and TSO off at the senders: a veth pair hands over a batch of segments as one
    /// packet, and a rule that drops a packet would drop the batch.
    fn disable_segmentation_offload(&self) {
        for machine in self.clients.iter().chain([&self.server]) {
            machine.run(
                "ethtool",
                &[
                    "-K",
                    "eth0",
                    "tx-udp-segmentation",
                    "off",
                    "tso",
                    "off",
                    "gso",
                    "off",
                ],
            );
        }
    }
}
