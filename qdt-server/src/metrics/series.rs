//! The `qdt_*` series: a snapshot of all counters, turned into metric families.

use std::collections::HashMap;
use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use qdt_transport::{Counters, DropReason, UdpReject};

/// The values behind the `qdt_*` series at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Active sessions.
    pub sessions: usize,
    /// The workers' counters, summed.
    pub traffic: Counters,
    /// Label `result` and count of every handshake outcome.
    pub handshakes: Vec<(&'static str, u64)>,
    /// Addresses held for sessions whose connection is gone.
    pub addresses_held: usize,
    /// Addresses without a lease.
    pub addresses_free: u32,
    /// Entries in the table of the limit on wrong tokens.
    pub guess_entries: usize,
    /// Entries in the table of the handshake limit.
    pub handshake_entries: usize,
    /// Connections from inside the tunnel that the control listeners refused.
    pub control_refused: u64,
    /// Failed deletions of the conntrack entries of former owners of addresses.
    pub conntrack_failures: u64,
    /// Whether NAT is enabled but does not work.
    pub nat_missing: bool,
    /// Log lines that were dropped.
    pub log_lines_dropped: u64,
    /// Repairs of the host's network.
    pub host_repairs: HostRepairs,
}

/// How often each setting was restored after another program had changed it.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRepairs {
    /// The TUN device's address.
    pub address: u64,
    /// IPv4 forwarding.
    pub forwarding: u64,
    /// The TUN device's state, which must be up.
    pub link: u64,
    /// The TUN device's MTU.
    pub mtu: u64,
    /// The NAT rules.
    pub nat: u64,
}

struct Series {
    name: &'static str,
    help: &'static str,
    label: Option<&'static str>,
    kind: MetricType,
    values: fn(&Snapshot) -> Vec<(&'static str, f64)>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the text format has 64-bit floats only"
)]
fn float(value: u64) -> f64 {
    value as f64
}

fn size(value: usize) -> f64 {
    float(value as u64)
}

const SERIES: [Series; 20] = [
    Series {
        name: "qdt_sessions_active",
        help: "Active QDT sessions",
        label: None,
        kind: MetricType::GAUGE,
        values: |now| vec![("", size(now.sessions))],
    },
    Series {
        name: "qdt_packets_total",
        help: "QDT packets",
        label: Some("direction"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("in", float(now.traffic.packets_in)),
                ("out", float(now.traffic.packets_out)),
            ]
        },
    },
    Series {
        name: "qdt_bytes_total",
        help: "QDT bytes",
        label: Some("direction"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("in", float(now.traffic.bytes_in)),
                ("out", float(now.traffic.bytes_out)),
            ]
        },
    },
    Series {
        name: "qdt_drops_total",
        help: "QDT drops",
        label: Some("reason"),
        kind: MetricType::COUNTER,
        values: |now| {
            DropReason::ALL
                .iter()
                .zip(now.traffic.drops)
                .map(|(reason, count)| (reason.label(), float(count)))
                .collect()
        },
    },
    Series {
        name: "qdt_handshakes_total",
        help: "QDT handshake results",
        label: Some("result"),
        kind: MetricType::COUNTER,
        values: |now| {
            now.handshakes
                .iter()
                .map(|(result, count)| (*result, float(*count)))
                .collect()
        },
    },
    Series {
        name: "qdt_tun_calls_total",
        help: "Super-packets read from and written to the TUN device; packets by calls is how many share one",
        label: Some("call"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("read", float(now.traffic.tun_reads)),
                ("write", float(now.traffic.tun_writes)),
            ]
        },
    },
    Series {
        name: "qdt_udp_trains_total",
        help: "Batches of UDP datagrams that the kernel delivered or accepted at once (GRO, GSO)",
        label: Some("direction"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("in", float(now.traffic.udp_reads)),
                ("out", float(now.traffic.udp_writes)),
            ]
        },
    },
    Series {
        name: "qdt_udp_datagrams_total",
        help: "UDP datagrams, those of the handshakes and acknowledgements included",
        label: Some("direction"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("in", float(now.traffic.udp_datagrams_in)),
                ("out", float(now.traffic.udp_datagrams_out)),
            ]
        },
    },
    Series {
        name: "qdt_udp_handed_over_total",
        help: "UDP datagrams that the kernel merged into those of another connection and that one packet worker handed over to another",
        label: None,
        kind: MetricType::COUNTER,
        values: |now| vec![("", float(now.traffic.udp_handed_over))],
    },
    Series {
        name: "qdt_udp_rejected_total",
        help: "UDP datagrams dropped before QUIC saw them",
        label: Some("reason"),
        kind: MetricType::COUNTER,
        values: |now| {
            UdpReject::ALL
                .iter()
                .zip(now.traffic.udp_rejected)
                .map(|(reason, count)| (reason.label(), float(count)))
                .collect()
        },
    },
    Series {
        name: "qdt_udp_gso_off",
        help: "Packet workers that send UDP datagrams one by one because the system does not segment",
        label: None,
        kind: MetricType::GAUGE,
        values: |now| vec![("", float(now.traffic.segmentation_off))],
    },
    Series {
        name: "qdt_fragments_total",
        help: "Fragments of inner packets that did not fit the path",
        label: Some("direction"),
        kind: MetricType::COUNTER,
        values: |now| {
            vec![
                ("in", float(now.traffic.fragments_in)),
                ("out", float(now.traffic.fragments_out)),
            ]
        },
    },
    Series {
        name: "qdt_congestion_marks_total",
        help: "Inner packets to clients that were marked with ECN because a queue stands in the path or the session takes more of the TUN queue than others",
        label: None,
        kind: MetricType::COUNTER,
        values: |now| vec![("", float(now.traffic.congestion_marks))],
    },
    Series {
        name: "qdt_addresses",
        help: "Inner addresses by state, without those of active sessions",
        label: Some("state"),
        kind: MetricType::GAUGE,
        values: |now| {
            vec![
                ("free", float(u64::from(now.addresses_free))),
                ("parked", size(now.addresses_held)),
            ]
        },
    },
    Series {
        name: "qdt_limiter_entries",
        help: "Addresses remembered by the limits on handshakes and on wrong tokens",
        label: Some("limit"),
        kind: MetricType::GAUGE,
        values: |now| {
            vec![
                ("handshakes", size(now.handshake_entries)),
                ("tokens", size(now.guess_entries)),
            ]
        },
    },
    Series {
        name: "qdt_control_refused_total",
        help: "Connections from inside the tunnel to the metrics, health or pprof port, refused",
        label: None,
        kind: MetricType::COUNTER,
        values: |now| vec![("", float(now.control_refused))],
    },
    Series {
        name: "qdt_conntrack_failures_total",
        help: "Failed attempts to delete the kernel's flows of former owners of inner addresses",
        label: None,
        kind: MetricType::COUNTER,
        values: |now| vec![("", float(now.conntrack_failures))],
    },
    Series {
        name: "qdt_nat_missing",
        help: "1 while nat.enabled asks for NAT that does not work: no default route yet, rules refused or removed, or forwarding off",
        label: None,
        kind: MetricType::GAUGE,
        values: |now| vec![("", f64::from(u8::from(now.nat_missing)))],
    },
    Series {
        name: "qdt_host_repairs_total",
        help: "Host settings that the server restored after another program had changed them",
        label: Some("what"),
        kind: MetricType::COUNTER,
        values: |now| {
            let HostRepairs {
                address,
                forwarding,
                link,
                mtu,
                nat,
            } = now.host_repairs;
            vec![
                ("address", float(address)),
                ("forwarding", float(forwarding)),
                ("link", float(link)),
                ("mtu", float(mtu)),
                ("nat", float(nat)),
            ]
        },
    },
    Series {
        name: "qdt_log_lines_dropped_total",
        help: "Log lines that were dropped because stdout was not read or could not be written",
        label: None,
        kind: MetricType::COUNTER,
        values: |now| vec![("", float(now.log_lines_dropped))],
    },
];

/// Collects the series from a snapshot at each scrape.
pub struct SnapshotCollector {
    descs: Vec<Desc>,
    read: Box<dyn Fn() -> Snapshot + Send + Sync>,
}

impl fmt::Debug for SnapshotCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotCollector").finish_non_exhaustive()
    }
}

impl SnapshotCollector {
    /// Makes a collector that calls `read` at each scrape.
    #[must_use]
    pub fn new(read: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let descs = SERIES
            .iter()
            .map(|series| {
                let labels = series.label.map(str::to_owned).into_iter().collect();
                Desc::new(
                    series.name.into(),
                    series.help.into(),
                    labels,
                    HashMap::new(),
                )
                .expect("the table above holds valid names")
            })
            .collect();
        Self {
            descs,
            read: Box::new(read),
        }
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = (self.read)();
        SERIES
            .iter()
            .map(|series| {
                family(
                    series.name,
                    series.help,
                    series.kind,
                    series.label,
                    &(series.values)(&now),
                )
            })
            .collect()
    }
}

/// Returns a family of counters or gauges from pairs of label value (unused without `label`) and
/// value.
pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    label: Option<&str>,
    values: &[(&str, f64)],
) -> MetricFamily {
    let metrics = values.iter().map(|(label_value, value)| {
        let mut metric = Metric::default();
        if let Some(label) = label {
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            pair.set_value((*label_value).to_owned());
            metric.set_label(vec![pair]);
        }
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}
