//! The `qdt_*` series: a snapshot of all counters, turned into metric families.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricType::{self, COUNTER, GAUGE};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily};
use qdt_transport::{Counters, DropReason, UdpReject};

use Values::{By, One};

/// The values behind the `qdt_*` series at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Active sessions.
    pub sessions: usize,
    /// The workers' counters, summed.
    pub traffic: Counters,
    /// Label `result` and count of every handshake outcome.
    pub handshakes: Labelled,
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
    /// Label `what` and count of every kind of repair of the host's network.
    pub host_repairs: Labelled,
}

/// Values, each with its label's value before it.
type Labelled = Vec<(&'static str, u64)>;

/// Where the values of a family are in a snapshot.
enum Values {
    One(fn(&Snapshot) -> u64),
    /// One for each value of this label.
    By(&'static str, fn(&Snapshot) -> Labelled),
}

impl Values {
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::One(_) => None,
            Self::By(label, _) => Some(label),
        }
    }

    fn read(&self, now: &Snapshot) -> Labelled {
        match self {
            Self::One(read) => vec![("", read(now))],
            Self::By(_, read) => read(now),
        }
    }
}

fn in_out(received: u64, sent: u64) -> Labelled {
    vec![("in", received), ("out", sent)]
}

/// Name, help, kind and values of every family.
const SERIES: [(&str, &str, MetricType, Values); 20] = [
    (
        "qdt_sessions_active",
        "Active QDT sessions",
        GAUGE,
        One(|now| now.sessions as u64),
    ),
    (
        "qdt_packets_total",
        "QDT packets",
        COUNTER,
        By("direction", |now| {
            in_out(now.traffic.packets_in, now.traffic.packets_out)
        }),
    ),
    (
        "qdt_bytes_total",
        "QDT bytes",
        COUNTER,
        By("direction", |now| {
            in_out(now.traffic.bytes_in, now.traffic.bytes_out)
        }),
    ),
    (
        "qdt_drops_total",
        "QDT drops",
        COUNTER,
        By("reason", |now| {
            let labels = DropReason::ALL.iter().map(|reason| reason.label());
            labels.zip(now.traffic.drops).collect()
        }),
    ),
    (
        "qdt_handshakes_total",
        "QDT handshake results",
        COUNTER,
        By("result", |now| now.handshakes.clone()),
    ),
    (
        "qdt_tun_calls_total",
        "Super-packets read from and written to the TUN device; packets by calls is how many share one",
        COUNTER,
        By("call", |now| {
            vec![
                ("read", now.traffic.tun_reads),
                ("write", now.traffic.tun_writes),
            ]
        }),
    ),
    (
        "qdt_udp_trains_total",
        "Batches of UDP datagrams that the kernel delivered or accepted at once (GRO, GSO)",
        COUNTER,
        By("direction", |now| {
            in_out(now.traffic.udp_reads, now.traffic.udp_writes)
        }),
    ),
    (
        "qdt_udp_datagrams_total",
        "UDP datagrams, those of the handshakes and acknowledgements included",
        COUNTER,
        By("direction", |now| {
            in_out(now.traffic.udp_datagrams_in, now.traffic.udp_datagrams_out)
        }),
    ),
    (
        "qdt_udp_handed_over_total",
        "UDP datagrams that the kernel merged into those of another connection and that one packet worker handed over to another",
        COUNTER,
        One(|now| now.traffic.udp_handed_over),
    ),
    (
        "qdt_udp_rejected_total",
        "UDP datagrams dropped before QUIC saw them",
        COUNTER,
        By("reason", |now| {
            let labels = UdpReject::ALL.iter().map(|reason| reason.label());
            labels.zip(now.traffic.udp_rejected).collect()
        }),
    ),
    (
        "qdt_udp_gso_off",
        "Packet workers that send UDP datagrams one by one because the system does not segment",
        GAUGE,
        One(|now| now.traffic.segmentation_off),
    ),
    (
        "qdt_fragments_total",
        "Fragments of inner packets that did not fit the path",
        COUNTER,
        By("direction", |now| {
            in_out(now.traffic.fragments_in, now.traffic.fragments_out)
        }),
    ),
    (
        "qdt_congestion_marks_total",
        "Inner packets to clients that were marked with ECN because a queue stands in the path or the session takes more of the TUN queue than others",
        COUNTER,
        One(|now| now.traffic.congestion_marks),
    ),
    (
        "qdt_addresses",
        "Inner addresses by state, without those of active sessions",
        GAUGE,
        By("state", |now| {
            vec![
                ("free", now.addresses_free.into()),
                ("parked", now.addresses_held as u64),
            ]
        }),
    ),
    (
        "qdt_limiter_entries",
        "Addresses remembered by the limits on handshakes and on wrong tokens",
        GAUGE,
        By("limit", |now| {
            vec![
                ("handshakes", now.handshake_entries as u64),
                ("tokens", now.guess_entries as u64),
            ]
        }),
    ),
    (
        "qdt_control_refused_total",
        "Connections from inside the tunnel to the metrics, health or pprof port, refused",
        COUNTER,
        One(|now| now.control_refused),
    ),
    (
        "qdt_conntrack_failures_total",
        "Failed attempts to delete the kernel's flows of former owners of inner addresses",
        COUNTER,
        One(|now| now.conntrack_failures),
    ),
    (
        "qdt_nat_missing",
        "1 while nat.enabled asks for NAT that does not work: no default route yet, rules refused or removed, or forwarding off",
        GAUGE,
        One(|now| now.nat_missing.into()),
    ),
    (
        "qdt_host_repairs_total",
        "Host settings that the server restored after another program had changed them",
        COUNTER,
        By("what", |now| now.host_repairs.clone()),
    ),
    (
        "qdt_log_lines_dropped_total",
        "Log lines that were dropped because stdout was not read or could not be written",
        COUNTER,
        One(|now| now.log_lines_dropped),
    ),
];

/// Collects the series from a snapshot at each scrape.
pub(super) struct SnapshotCollector {
    descs: Vec<Desc>,
    read: Box<dyn Fn() -> Snapshot + Send + Sync>,
}

impl SnapshotCollector {
    /// Makes a collector that calls `read` at each scrape.
    pub(super) fn new(read: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        Self {
            descs: SERIES
                .iter()
                .map(|(name, help, _, values)| desc(name, help, values.label()))
                .collect(),
            read: Box::new(read),
        }
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the text format has 64-bit floats only"
    )]
    fn collect(&self) -> Vec<MetricFamily> {
        let now = (self.read)();
        SERIES
            .iter()
            .map(|(name, help, kind, values)| {
                let read = values.read(&now).into_iter();
                let read = read.map(|(label, value)| (label, value as f64));
                family(name, help, *kind, values.label(), read)
            })
            .collect()
    }
}

/// Describes a family, which has this label or none.
pub(super) fn desc(name: &str, help: &str, label: Option<&str>) -> Desc {
    let labels = label.map(str::to_owned).into_iter().collect();
    Desc::new(name.into(), help.into(), labels, HashMap::new()).expect("the name is valid")
}

/// Returns a family of counters or gauges from pairs of label value (unused without `label`) and
/// value.
pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    label: Option<&str>,
    values: impl IntoIterator<Item = (&'static str, f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(label_value, value)| {
        let mut metric = Metric::default();
        if let Some(label) = label {
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            pair.set_value(label_value.to_owned());
            metric.set_label(vec![pair]);
        }
        if kind == COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
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
