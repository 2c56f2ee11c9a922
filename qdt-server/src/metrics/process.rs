//! The `process_*` series of Go's client library.
//!
//! The prometheus crate's own collector counts whole CPU seconds only and lacks three series, so
//! this one reads /proc (proc(5)). A value that cannot be read is left out.

use std::collections::HashMap;
use std::fs;
use std::str::FromStr;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType::{self, COUNTER, GAUGE};

use super::series::{desc, family};

const SERIES: [(&str, &str, MetricType); 9] = [
    (
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        COUNTER,
    ),
    (
        "process_max_fds",
        "Maximum number of open file descriptors.",
        GAUGE,
    ),
    (
        "process_network_receive_bytes_total",
        "Number of bytes received by the process over the network.",
        COUNTER,
    ),
    (
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the process over the network.",
        COUNTER,
    ),
    (
        "process_open_fds",
        "Number of open file descriptors.",
        GAUGE,
    ),
    (
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        GAUGE,
    ),
    (
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        GAUGE,
    ),
    (
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        GAUGE,
    ),
    (
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        GAUGE,
    ),
];

/// Reads the values of this process at each scrape.
pub(super) struct ProcessCollector {
    descs: Vec<Desc>,
}

impl ProcessCollector {
    /// Makes a collector for the running process.
    pub(super) fn new() -> Self {
        let descs = SERIES.iter().map(|(name, help, _)| desc(name, help, None));
        Self {
            descs: descs.collect(),
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = values();
        SERIES
            .iter()
            .filter_map(|(name, help, kind)| {
                let value = *values.get(name)?;
                Some(family(name, help, *kind, None, [("", value)]))
            })
            .collect()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the text format has 64-bit floats only"
)]
fn values() -> HashMap<&'static str, f64> {
    let mut values = HashMap::new();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    // The command name in parentheses may contain anything; field 3 follows it.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, fields)| fields.split_ascii_whitespace().collect())
        .unwrap_or_default();
    let field = |number: usize| {
        fields
            .get(number - 3)
            .and_then(|text| f64::from_str(text).ok())
    };
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        values.insert("process_cpu_seconds_total", (user + system) / ticks);
    }
    if let (Some(started), Some(boot)) = (field(22), boot_time()) {
        values.insert("process_start_time_seconds", boot + started / ticks);
    }
    if let Some(virtual_bytes) = field(23) {
        values.insert("process_virtual_memory_bytes", virtual_bytes);
    }
    if let Some(pages) = field(24) {
        let bytes = pages * rustix::param::page_size() as f64;
        values.insert("process_resident_memory_bytes", bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The directory's own descriptor is among them.
        values.insert("process_open_fds", open.count().saturating_sub(1) as f64);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for (line, name) in [
        ("Max open files", "process_max_fds"),
        ("Max address space", "process_virtual_memory_max_bytes"),
    ] {
        if let Some(limit) = soft_limit(&limits, line) {
            values.insert(name, limit);
        }
    }
    let netstat = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    for (column, name) in [
        ("InOctets", "process_network_receive_bytes_total"),
        ("OutOctets", "process_network_transmit_bytes_total"),
    ] {
        if let Some(octets) = ip_ext(&netstat, column) {
            values.insert(name, octets);
        }
    }
    values
}

/// Returns the boot time of the system, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// Returns the soft limit in the line that begins with `name`; as in Go, 2^64 is no limit.
fn soft_limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(18_446_744_073_709_551_615.0),
        number => number.parse().ok(),
    }
}

/// Returns one column of the two `IpExt:` lines, of which the first has the names.
fn ip_ext(netstat: &str, column: &str) -> Option<f64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("IpExt: "));
    let index = lines
        .next()?
        .split_ascii_whitespace()
        .position(|name| name == column)?;
    lines
        .next()?
        .split_ascii_whitespace()
        .nth(index)?
        .parse()
        .ok()
}
