//! The metrics page.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use qdt_server::metrics::{Metrics, Snapshot};

fn page(snapshot: Snapshot) -> String {
    Metrics::new(move || snapshot.clone()).render().unwrap()
}

fn handshakes() -> Vec<(&'static str, u64)> {
    vec![("ok", 3), ("unauthorized", 0)]
}

#[test]
fn the_help_and_type_lines_are_the_go_servers() {
    let page = page(Snapshot {
        handshakes: handshakes(),
        ..Snapshot::default()
    });
    for lines in [
        "# HELP qdt_sessions_active Active QDT sessions\n# TYPE qdt_sessions_active gauge\n",
        "# HELP qdt_packets_total QDT packets\n# TYPE qdt_packets_total counter\n",
        "# HELP qdt_bytes_total QDT bytes\n# TYPE qdt_bytes_total counter\n",
        "# HELP qdt_drops_total QDT drops\n# TYPE qdt_drops_total counter\n",
        "# HELP qdt_handshakes_total QDT handshake results\n# TYPE qdt_handshakes_total counter\n",
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n\
         # TYPE process_cpu_seconds_total counter\n",
        "# HELP process_open_fds Number of open file descriptors.\n# TYPE process_open_fds gauge\n",
        "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n\
         # TYPE process_start_time_seconds gauge\n",
    ] {
        assert!(page.contains(lines), "{lines}\nis not in\n{page}");
    }
    assert!(!page.contains("\ngo_"));
}

#[test]
fn each_value_has_its_name_and_label() {
    let mut snapshot = Snapshot {
        handshakes: handshakes(),
        sessions: 2,
        log_lines_dropped: 30,
        ..Snapshot::default()
    };
    snapshot.traffic.packets_in = 11;
    snapshot.traffic.packets_out = 12;
    snapshot.traffic.bytes_in = 1_000_000_000_001;
    snapshot.traffic.drops[1] = 7;
    snapshot.traffic.tun_reads = 21;
    snapshot.traffic.tun_writes = 22;
    snapshot.traffic.udp_reads = 23;
    snapshot.traffic.udp_writes = 24;
    snapshot.traffic.udp_datagrams_in = 25;
    snapshot.traffic.udp_datagrams_out = 26;
    snapshot.traffic.fragments_in = 27;
    snapshot.traffic.fragments_out = 28;
    snapshot.traffic.congestion_marks = 29;
    snapshot.traffic.udp_handed_over = 30;
    snapshot.traffic.udp_rejected = [31, 32];
    snapshot.traffic.segmentation_off = 3;
    snapshot.conntrack_failures = 31;
    snapshot.nat_missing = true;
    snapshot.host_repairs = vec![("mtu", 32), ("nat", 0)];
    let page = page(snapshot);
    for line in [
        "\nqdt_sessions_active 2\n",
        "\nqdt_packets_total{direction=\"in\"} 11\n",
        "\nqdt_packets_total{direction=\"out\"} 12\n",
        "\nqdt_bytes_total{direction=\"in\"} 1000000000001\n",
        "\nqdt_bytes_total{direction=\"out\"} 0\n",
        "\nqdt_drops_total{reason=\"replay\"} 7\n",
        "\nqdt_tun_calls_total{call=\"read\"} 21\n",
        "\nqdt_tun_calls_total{call=\"write\"} 22\n",
        "\nqdt_udp_trains_total{direction=\"in\"} 23\n",
        "\nqdt_udp_trains_total{direction=\"out\"} 24\n",
        "\nqdt_udp_datagrams_total{direction=\"in\"} 25\n",
        "\nqdt_udp_datagrams_total{direction=\"out\"} 26\n",
        "\nqdt_udp_handed_over_total 30\n",
        "\nqdt_udp_rejected_total{reason=\"port_zero\"} 31\n",
        "\nqdt_udp_rejected_total{reason=\"queue_full\"} 32\n",
        "\nqdt_udp_gso_off 3\n",
        "\nqdt_fragments_total{direction=\"in\"} 27\n",
        "\nqdt_fragments_total{direction=\"out\"} 28\n",
        "\nqdt_congestion_marks_total 29\n",
        "\nqdt_conntrack_failures_total 31\n",
        "\nqdt_nat_missing 1\n",
        "\nqdt_host_repairs_total{what=\"mtu\"} 32\n",
        "\nqdt_host_repairs_total{what=\"nat\"} 0\n",
        "\nqdt_log_lines_dropped_total 30\n",
        "\nqdt_handshakes_total{result=\"ok\"} 3\n",
        "\nqdt_handshakes_total{result=\"unauthorized\"} 0\n",
    ] {
        assert!(page.contains(line), "{line:?} is not in\n{page}");
    }
}

#[test]
fn every_drop_reason_exists_at_zero_from_the_start() {
    let page = page(Snapshot {
        handshakes: handshakes(),
        ..Snapshot::default()
    });
    for reason in [
        "rate_in",
        "replay",
        "decode",
        "decode_oversize",
        "bad_packet",
        "src_mismatch",
        "tun_backpressure",
        "rate_out",
        "datagram_oversize",
        "no_session",
        "queue_full",
        "client_to_client",
        "link_local",
        "congestion",
    ] {
        let line = format!("\nqdt_drops_total{{reason=\"{reason}\"}} 0\n");
        assert!(page.contains(&line), "{line:?} is not in\n{page}");
    }
}

#[test]
fn the_process_series_describe_this_process() {
    let page = page(Snapshot {
        handshakes: handshakes(),
        ..Snapshot::default()
    });
    let value = |name: &str| -> f64 {
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in\n{page}"))
            .parse()
            .unwrap()
    };
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_start_time_seconds") > 1.6e9);
    assert!(value("process_cpu_seconds_total") >= 0.0);
}
