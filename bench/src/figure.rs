//! The names of figures: which run they belong to and what they tell. Everything measured is a
//! number under two such names, so that medians, spreads, ratios and the JSON document are made in
//! one place.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::tcp::Direction;

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Run {
    /// Nothing but pings, each sent when the one before it was answered: the processors stay awake.
    Awake,
    /// Nothing but pings, some time apart: the processors sleep in between and have to wake up for
    /// each.
    Asleep,
    /// TCP streams, all of them one way.
    Tcp {
        /// How many at a time.
        streams: u32,
        /// Which way.
        direction: Direction,
    },
    /// UDP from client to server at the highest rate that arrives.
    Udp(UdpLoad),
    /// The processes after everything else.
    Memory,
}

/// What a UDP sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UdpLoad {
    /// Length of one inner IPv4 packet, headers and all.
    pub(crate) bytes: usize,
    /// Handed to the kernel as trains (UDP_SEGMENT, as QUIC does it) instead of packet by packet.
    pub(crate) trains: bool,
}

/// What a figure tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Payload received, Gbit/s.
    GbitPerSecond,
    /// Packets received per second.
    PacketsPerSecond,
    /// Share of packets that did not arrive, 0 to 1.
    Loss,
    /// 1 where the sender could not send more, else 0: then the path's own limit is higher.
    SenderLimited,
    /// CPU of both ends of the tunnel, s/Gbit of payload.
    EndsCpuSecondsPerGbit,
    /// CPU of the machine without that of others, s/Gbit: the ends, the senders and receivers, and
    /// the kernel's work that is put down to no process.
    MachineCpuSecondsPerGbit,
    /// Share of the machine that others used, 0 to 1.
    Foreign,
    /// Segments that TCP sent again.
    Retransmits,
    /// Median round-trip time, ms.
    RttP50Ms,
    /// 99th percentile of the round-trip time, ms.
    RttP99Ms,
    /// Pings without an answer.
    RttLost,
    /// What the tunnel adds to the bare link's median, ms.
    RttAddedP50Ms,
    /// At our server: packets per call that reads from the TUN.
    PacketsPerTunRead,
    /// At our server: packets per call that writes to the TUN.
    PacketsPerTunWrite,
    /// At our server: datagrams per train sent.
    DatagramsPerSend,
    /// At our server: datagrams per train received.
    DatagramsPerReceive,
    /// At our server: datagrams in the payload's direction per packet.
    DatagramsPerPacket,
    /// At our server: packets dropped for that reason.
    Drops(String),
    /// Resident memory of the client, MiB.
    ClientMib,
    /// Resident memory of the server, MiB.
    ServerMib,
    /// The most that the client ever had, MiB.
    ClientPeakMib,
    /// The most that the server ever had, MiB.
    ServerPeakMib,
}

/// The figures of one run.
pub(crate) type RunFigures = BTreeMap<Metric, f64>;
/// The figures of one tunnel in one round.
pub(crate) type Round = BTreeMap<Run, RunFigures>;

impl Run {
    /// TCP streams.
    pub(crate) const fn tcp(streams: u32, direction: Direction) -> Self {
        Self::Tcp { streams, direction }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Awake => to.write_str("idle_awake"),
            Self::Asleep => to.write_str("idle_asleep"),
            Self::Tcp { streams, direction } => write!(to, "tcp{streams}_{direction}"),
            Self::Udp(UdpLoad { bytes, trains }) => {
                write!(to, "udp{bytes}{}", if *trains { "_trains" } else { "" })
            }
            Self::Memory => to.write_str("memory"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::GbitPerSecond => "gbit_per_second",
            Self::PacketsPerSecond => "packets_per_second",
            Self::Loss => "loss",
            Self::SenderLimited => "sender_limited",
            Self::EndsCpuSecondsPerGbit => "ends_cpu_seconds_per_gbit",
            Self::MachineCpuSecondsPerGbit => "machine_cpu_seconds_per_gbit",
            Self::Foreign => "foreign",
            Self::Retransmits => "retransmits",
            Self::RttP50Ms => "rtt_p50_ms",
            Self::RttP99Ms => "rtt_p99_ms",
            Self::RttLost => "rtt_lost",
            Self::RttAddedP50Ms => "rtt_added_p50_ms",
            Self::PacketsPerTunRead => "packets_per_tun_read",
            Self::PacketsPerTunWrite => "packets_per_tun_write",
            Self::DatagramsPerSend => "datagrams_per_send",
            Self::DatagramsPerReceive => "datagrams_per_receive",
            Self::DatagramsPerPacket => "datagrams_per_packet",
            Self::Drops(reason) => return write!(to, "drops_{reason}"),
            Self::ClientMib => "client_mib",
            Self::ServerMib => "server_mib",
            Self::ClientPeakMib => "client_peak_mib",
            Self::ServerPeakMib => "server_peak_mib",
        })
    }
}

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_a_document_of_names_and_numbers() {
        let trains = Run::Udp(UdpLoad {
            bytes: 1300,
            trains: true,
        });
        let round = Round::from([
            (
                Run::tcp(4, Direction::Down),
                RunFigures::from([(Metric::GbitPerSecond, 7.5)]),
            ),
            (
                trains,
                RunFigures::from([(Metric::Drops("queue_full".to_owned()), 3.0)]),
            ),
        ]);
        assert_eq!(
            serde_json::to_value(round).expect("names are strings"),
            serde_json::json!({
                "tcp4_down": {"gbit_per_second": 7.5},
                "udp1300_trains": {"drops_queue_full": 3.0},
            })
        );
    }
}
