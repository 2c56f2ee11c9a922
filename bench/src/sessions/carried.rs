//! What connections carried between two moments, who used the processors for it, and where packets
//! were lost.
//!
//! Invariants: all counters of a reading are taken while the connections run, and only
//! differences are told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use conformance::Machine;

use super::server::{self, Server};
use super::simulated;
use crate::cpu::CpuReading;
use crate::tcp::Direction;
use crate::veth_link::VethLink;

/// What was carried.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    /// Payload that arrived per second, in Gbit/s.
    pub(super) gbit_per_second: f64,
    /// Processor seconds of the whole machine per Gbit of payload.
    pub(super) machine_seconds_per_gbit: f64,
    /// What the server had to do with it, in the direction of the payload; `None` for connections
    /// outside the tunnel.
    pub(super) server: Option<ServerWork>,
    /// How evenly connections were served, 0 to 1 (Jain, Chiu, Hawe 1984).
    pub(super) jain_index: f64,
    /// What the connection that got least and the one that got most had of an equal share.
    pub(super) least_and_most: [f64; 2],
    /// Packets and super-packets that a full TUN device dropped, at either end.
    pub(super) dropped_by_devices: f64,
    /// Segments that TCP sent again, of a million.
    pub(super) resent_per_million: f64,
    /// Share of the machine that other programs used, 0 to 1.
    pub(super) foreign: f64,
}

/// The server's work for what was carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerWork {
    /// Processor seconds per Gbit of payload.
    pub(super) seconds_per_gbit: f64,
    /// Packets that share a call at its TUN device.
    pub(super) packets_per_tun_call: f64,
    /// Datagrams that share a call at its UDP sockets.
    pub(super) datagrams_per_train: f64,
}

/// Everything that is counted, at one moment.
pub(super) struct Reading {
    at: Instant,
    processor: Duration,
    machine: CpuReading,
    packets: [f64; 2],
    calls: [f64; 2],
    datagrams: [f64; 2],
    trains: [f64; 2],
    dropped_by_devices: u64,
    tcp: Tcp,
    bytes: Vec<u64>,
}

impl Reading {
    /// Reads everything now; `counts` are the bytes that each connection has received.
    ///
    /// # Errors
    /// When the server has ended or a counter cannot be read.
    pub(super) fn take(veth: &VethLink, server: &Server<'_>, counts: &[AtomicU64]) -> Result<Self> {
        let counters = server.counters()?;
        let value = |series: &str, label: &str, values: [&str; 2]| {
            values.map(|value| counters.value(&format!("{series}{{{label}=\"{value}\"}}")))
        };
        let ways = ["in", "out"];
        Ok(Self {
            packets: value("qdt_packets_total", "direction", ways),
            calls: value("qdt_tun_calls_total", "call", ["write", "read"]),
            datagrams: value("qdt_udp_datagrams_total", "direction", ways),
            trains: value("qdt_udp_trains_total", "direction", ways),
            dropped_by_devices: dropped_by(&veth.client, simulated::DEVICE_NAME)?
                + dropped_by(&veth.server, server::DEVICE)?,
            tcp: Tcp::of(&veth.client)? + Tcp::of(&veth.server)?,
            at: Instant::now(),
            processor: server.processor_time()?,
            machine: CpuReading::take(&[server.pid()])?,
            bytes: counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
        })
    }

    /// What was carried since `earlier`.
    ///
    /// # Errors
    /// When that is nothing.
    pub(super) fn since(
        &self,
        earlier: &Self,
        direction: Direction,
        through_tunnel: bool,
    ) -> Result<Carried> {
        let bytes: Vec<f64> = self
            .bytes
            .iter()
            .zip(&earlier.bytes)
            .map(|(now, then)| (now - then) as f64)
            .collect();
        let sum: f64 = bytes.iter().sum();
        ensure!(sum > 0.0, "not a byte arrived");
        let gbit = sum * 8e-9;
        let way = match direction {
            Direction::Up => 0,
            Direction::Down => 1,
        };
        let each = |now: [f64; 2], then: [f64; 2], calls: [f64; 2], calls_then: [f64; 2]| {
            (now[way] - then[way]) / (calls[way] - calls_then[way]).max(1.0)
        };
        let server = through_tunnel.then(|| ServerWork {
            seconds_per_gbit: (self.processor - earlier.processor).as_secs_f64() / gbit,
            packets_per_tun_call: each(self.packets, earlier.packets, self.calls, earlier.calls),
            datagrams_per_train: each(
                self.datagrams,
                earlier.datagrams,
                self.trains,
                earlier.trains,
            ),
        });
        let share = |bytes: f64| bytes * self.bytes.len() as f64 / sum;
        let machine = self.machine.since(&earlier.machine);
        Ok(Carried {
            gbit_per_second: gbit / (self.at - earlier.at).as_secs_f64(),
            machine_seconds_per_gbit: machine.whole / gbit,
            server,
            jain_index: jain_index(&bytes),
            least_and_most: [
                share(bytes.iter().copied().fold(f64::INFINITY, f64::min)),
                share(bytes.iter().copied().fold(0.0, f64::max)),
            ],
            dropped_by_devices: (self.dropped_by_devices - earlier.dropped_by_devices) as f64,
            resent_per_million: (self.tcp.resent - earlier.tcp.resent) as f64 * 1e6
                / ((self.tcp.sent - earlier.tcp.sent) as f64).max(1.0),
            foreign: machine.foreign,
        })
    }
}

/// (sum of x)^2 / (n * sum of x^2): 1 where all are equal, 1/n where one has everything.
fn jain_index(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 0.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

fn dropped_by(machine: &Machine, device: &str) -> Result<u64> {
    let file = format!("/sys/class/net/{device}/statistics/tx_dropped");
    let text = machine.run("cat", &[&file]);
    text.trim()
        .parse()
        .with_context(|| format!("{file} of the {}: {text}", machine.name()))
}

/// What the TCP of a machine sent (RFC 4022: tcpOutSegs, which has nothing of what was sent again,
/// and tcpRetransSegs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tcp {
    sent: u64,
    resent: u64,
}

impl Tcp {
    fn of(machine: &Machine) -> Result<Self> {
        let text = machine.run("cat", &["/proc/net/snmp"]);
        Self::parse(&text)
            .with_context(|| format!("/proc/net/snmp of the {}: {text}", machine.name()))
    }

    /// Of a line of names and a line of figures behind it.
    fn parse(snmp: &str) -> Option<Self> {
        let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp: "));
        let names = lines.next()?.split(' ');
        let figures: Vec<_> = names.zip(lines.next()?.split(' ')).collect();
        let figure = |wanted| {
            let found = figures.iter().find(|(name, _)| *name == wanted)?;
            found.1.parse().ok()
        };
        Some(Self {
            sent: figure("OutSegs")?,
            resent: figure("RetransSegs")?,
        })
    }
}

impl std::ops::Add for Tcp {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            resent: self.resent + other.resent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jain_index_is_1_for_equal_shares_and_1_over_n_for_a_single_receiver() {
        assert_eq!(jain_index(&[3.0; 7]), 1.0);
        assert_eq!(jain_index(&[5.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain_index(&[0.0; 3]), 0.0);
    }

    #[test]
    fn tcp_counters_are_found_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoMin OutSegs RetransSegs\nTcp: 200 70 4\nUdp: InDatagrams\nUdp: 9\n";
        let found = Tcp {
            sent: 70,
            resent: 4,
        };
        assert_eq!(Tcp::parse(snmp), Some(found));
        assert_eq!(Tcp::parse("Tcp: RtoMin\nTcp: 200\n"), None);
    }
}
